# inpaint-worker: `make help` lists what can be typed.
# Every flavour of the objects has its own folder under build/, so flags never mix. V=1 shows the commands.

FLAVOUR ?= release
BUILD   := build/$(FLAVOUR)
CC      ?= gcc
PKGS    := libmicrohttpd libcurl libcjson openssl libpng libjpeg lcms2 zlib libutf8proc
WARN    := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wvla -Werror
Q       := $(if $(V),,@)

CFLAGS_release := -O3 -g
CFLAGS_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
CFLAGS  += -std=gnu17 -ffp-contract=off -fopenmp -pthread $(WARN) $(CFLAGS_$(FLAVOUR))
CPPFLAGS += -I. -D_GNU_SOURCE -MMD -MP
LDFLAGS += -fopenmp -pthread $(if $(filter asan,$(FLAVOUR)),-fsanitize=address$(comma)undefined)
comma   := ,

# oneDNN where it is installed (ONEDNN=0 builds the plain C operations alone).
ONEDNN  ?= $(if $(wildcard /usr/include/dnnl.h),1,0)
ifeq ($(ONEDNN),1)
CPPFLAGS += -DHAVE_ONEDNN
LDLIBS   += -ldnnl
else
SKIP_SRC += kernels/cpu/onednn.c kernels/cpu/row.c kernels/cpu/fast%
endif

CPPFLAGS += $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LDLIBS   += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm

SRC_KERNELS := $(filter-out $(SKIP_SRC),$(wildcard kernels/base/*.c kernels/*.c kernels/cpu/*.c))
SRC_MODELS  := $(wildcard models/*.c models/image/*.c)
SRC_WORKER  := $(filter-out worker/main.c,$(wildcard worker/*.c))
SRC_TEST    := $(wildcard test/unit/*/*.c test/support/*.c)

obj = $(patsubst %.c,$(BUILD)/%.o,$(1))
LIB_KERNELS := $(BUILD)/libkernels.a
LIB_MODELS  := $(BUILD)/libmodels.a
LIB_WORKER  := $(BUILD)/libworker.a
LIBS        := $(LIB_WORKER) $(LIB_MODELS) $(LIB_KERNELS)

.PHONY: all test asan clean help
all: build/inpaint-worker ## build what this machine can (CUDA too where nvcc is)

build/inpaint-worker: $(BUILD)/inpaint-worker
	$(Q)cp $< $@

$(BUILD)/inpaint-worker: $(call obj,worker/main.c) $(LIBS)
	$(Q)echo "link  $@"; $(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/unit-tests: $(call obj,$(SRC_TEST)) $(LIBS)
	$(Q)echo "link  $@"; $(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# tools/some_name.c is the program build/some-name: helpers for people and tests, no part of the product.
$(foreach t,$(wildcard tools/*.c),$(eval $(BUILD)/$(subst _,-,$(basename $(notdir $t))): $(call obj,$t) $(LIBS)))
TOOLS := $(foreach t,$(wildcard tools/*.c),$(subst _,-,$(basename $(notdir $t))))
$(TOOLS:%=$(BUILD)/%):
	$(Q)echo "link  $@"; $(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(TOOLS:%=build/%): build/%: $(BUILD)/%
	$(Q)cp $< $@

$(LIB_KERNELS): $(call obj,$(SRC_KERNELS))
$(LIB_MODELS): $(call obj,$(SRC_MODELS))
$(LIB_WORKER): $(call obj,$(SRC_WORKER))
$(BUILD)/%.a:
	$(Q)rm -f $@; ar rcs $@ $^

$(BUILD)/%.o: %.c
	$(Q)mkdir -p $(@D); echo "cc    $<"; $(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@

test: $(BUILD)/unit-tests ## unit tests; T=part-of-a-name runs some
	$(Q)$(BUILD)/unit-tests $(T)

asan: ## the unit tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(Q)$(MAKE) --no-print-directory FLAVOUR=asan test

clean: ## remove everything built
	$(Q)rm -rf build

help: ## this list
	$(Q)sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | sort | column -t -s '	'

-include $(shell find build -name '*.d' 2>/dev/null)
