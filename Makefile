# inpaint-worker: the product, its tests and tools. `make help` lists the goals, V=1 shows the commands.
# Every flavour of the objects has its own folder under build/, so that flags never mix.

FLAVOUR ?= release
BUILD   := build/$(FLAVOUR)
CC      ?= gcc
PKGS    := libmicrohttpd libcurl libcjson openssl libjwt libpng libjpeg libwebp lcms2 zlib libutf8proc
WARN    := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wvla -Werror
Q       := $(if $(V),,@)

# Goals that install what is missing and start make again ($(AGAIN)); they, and those that do not depend on the machine, look
# nothing up.
AGAIN_GOALS := run demo test asan tsan integration browser-test monitoring-test examples-test load-test
BLIND_GOALS := help clean deps lint fmt golden fetch-test $(AGAIN_GOALS) deploy-test
LOOK  := $(filter-out $(BLIND_GOALS),$(or $(MAKECMDGOALS),all))
comma := ,
probe  = $(if $(LOOK),$(shell $(1)))

# What is missing is said here, not by the compiler. The programs for a card need no libraries (test/gpu/gpu.mk).
ifneq ($(filter-out cud% gpu% %/gpu-tests %/gpu-bench %/gpu-dry %/plan-tests %.so.1 tidy version,$(LOOK)),)
MISSING := $(shell for c in $(CC) pkg-config; do command -v $$c > /dev/null || echo $$c; done; \
    pkg-config --exists $(PKGS) 2> /dev/null || for p in $(PKGS); do pkg-config --exists $$p 2> /dev/null || echo $$p; done)
ifneq ($(MISSING),)
$(info Missing here: $(MISSING).)
$(info On Debian and Ubuntu `make deps` installs what is missing; elsewhere install it with its headers.)
$(error nothing was built)
endif
endif

CFLAGS_release := -O3 -g
CFLAGS_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
# Built with clang, for libFuzzer: its warnings differ from gcc's, and OpenMP, which it may lack, is not needed to read
# files.
CFLAGS_fuzz    := -O1 -g -fno-omit-frame-pointer -w -fsanitize=fuzzer-no-link,address,undefined \
                  -fno-sanitize-recover=undefined -Itest/fuzz/without_openmp
# Without OpenMP, whose locks ThreadSanitizer does not know.
CFLAGS_tsan    := -O1 -g -fsanitize=thread -Wno-unknown-pragmas
OPENMP  := $(if $(filter fuzz tsan,$(FLAVOUR)),,-fopenmp)
# Results are the same on every processor (no fused multiply-add), and NaN and infinity follow IEEE 754. No code reads
# errno or the exception flags after arithmetic, so the compiler may vectorise conditional expressions.
FLOAT   := -ffp-contract=off -fno-math-errno -fno-trapping-math
# No function of ours stands in for one of the same name inside a library: libjwt calls jansson's json_string, and
# worker/base/json.h has one, too.
HIDDEN  := -fvisibility=hidden
CFLAGS  += -std=gnu17 $(HIDDEN) $(FLOAT) $(OPENMP) -pthread $(WARN) $(CFLAGS_$(FLAVOUR))
CPPFLAGS += -I. -D_GNU_SOURCE -MMD -MP
LDFLAGS_asan := -fsanitize=address,undefined
LDFLAGS_tsan := -fsanitize=thread -lgomp
LDFLAGS += $(OPENMP) -pthread $(LDFLAGS_$(FLAVOUR))

# oneDNN 2 or 3 where it is installed (ONEDNN=0 builds the plain C operations alone).
ifndef ONEDNN
ONEDNN  := $(call probe,printf '\043include <dnnl.h>\nDNNL_VERSION_MAJOR' | $(CC) -E -P - 2>/dev/null | tail -n 1 | grep -cx '[23]')
endif
ifeq ($(ONEDNN),1)
CPPFLAGS += -DHAVE_ONEDNN
LDLIBS   += -ldnnl
else
SKIP_SRC += kernels/cpu/onednn.c kernels/cpu/row.c kernels/cpu/fast%
endif

# HEIC photos where libheif is installed (HEIF=0 leaves them out), and the decoders' jail where libseccomp is (JAIL=0).
HEIF ?= $(call probe,pkg-config --exists libheif 2>/dev/null && echo 1)
JAIL ?= $(call probe,pkg-config --exists libseccomp 2>/dev/null && echo 1)
ifeq ($(HEIF),1)
CPPFLAGS += -DHAVE_HEIF
PKGS     += libheif
endif
ifeq ($(JAIL),1)
CPPFLAGS += -DHAVE_SECCOMP
PKGS     += libseccomp
endif

# CUDA where nvcc and cuBLASLt are; CUDA=0 leaves it out. Machine code for the three generations that have bf16 tensor
# cores, and PTX for those to come. The library is loaded when a device is opened, so the program starts without it.
CUDA       ?= $(if $(filter release,$(FLAVOUR)),1,0)
CUDA_ARCHS ?= 80 89 90
ifneq ($(and $(LOOK),$(filter-out 0,$(CUDA))),)
$(shell mkdir -p build && scripts/cuda_paths.sh > build/cuda_paths.mk)
include build/cuda_paths.mk
endif
ifneq ($(and $(CUDA_HOME),$(CUBLASLT_LIB)),)
SKIP_SRC   += kernels/cuda_stub.c kernels/rate_stub.c
SRC_CUDA   := $(wildcard kernels/cuda/*.c kernels/cuda/cudnn/*.c)
SRC_CU     := $(wildcard kernels/cuda/gpu/*.cu)
NVCC       := $(CUDA_HOME)/bin/nvcc
CUDA_NEWEST := $(lastword $(CUDA_ARCHS))
NVCCFLAGS  := -std=c++17 -O3 -lineinfo -I. -ccbin $(lastword $(CXX)) -Xcompiler -Wall,-Wextra \
    $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$a,code=sm_$a) -gencode arch=compute_$(CUDA_NEWEST),code=compute_$(CUDA_NEWEST)
CUDA_LDLIBS := -L$(CUDA_LIB) -lcudart_static -lstdc++ -ldl -lrt $(foreach l,$(CUBLASLT_LIB) $(CUDNN_LIB),-Wl,-rpath,$l)
CUDA_CPPFLAGS := $(foreach i,$(CUDA_INC) $(CUBLASLT_INC) $(CUDNN_INC),-isystem $i)
LDLIBS     += $(CUDA_LDLIBS)
else ifneq ($(and $(filter-out version,$(LOOK)),$(CUDA_HOME)),)
$(info cuda: nvcc is here but cuBLASLt is not: building without CUDA. `make cuda-libs` fetches it (400 MB))
endif

CPPFLAGS += $(call probe,pkg-config --cflags $(PKGS) 2>/dev/null)
LDLIBS   += $(call probe,pkg-config --libs $(PKGS) 2>/dev/null) -lm

SRC_KERNELS := $(filter-out $(SKIP_SRC),$(wildcard kernels/base/*.c kernels/*.c \
               $(if $(filter fuzz,$(FLAVOUR)),,kernels/plain/*.c kernels/cpu/*.c)))
SRC_MODELS  := $(wildcard models/*/*.c)
SRC_WORKER  := $(wildcard worker/*/*.c)
SRC_TEST    := $(call probe,find test/unit test/support -name '*.c' 2>/dev/null)

obj = $(patsubst %.c,$(BUILD)/%.o,$(1))

# CUDA kernels for the unit tests: the files that need only kernel.cuh, compiled as C++ for the host
# (test/support/shim/cuda_shim.h).
SHIM_SRC := $(call probe,grep -l 'include "kernels/cuda/gpu/kernel.cuh"' kernels/cuda/gpu/*.cu)
SHIM_OBJ := $(SHIM_SRC:%.cu=$(BUILD)/shim/%.o) $(BUILD)/shim/test/support/shim/cuda_shim.o
SHIM_CXXFLAGS := -x c++ -std=c++17 -ffp-contract=off -fno-strict-aliasing -fno-exceptions -Wall -Wextra -Werror \
    $(CFLAGS_$(FLAVOUR)) -I. -MMD -MP -DCUDA_SHIM='"test/support/shim/cuda_shim.h"'

LIB_KERNELS := $(BUILD)/libkernels.a
LIB_MODELS  := $(BUILD)/libmodels.a
LIB_WORKER  := $(BUILD)/libworker.a
LIBS        := $(LIB_WORKER) $(LIB_MODELS) $(LIB_KERNELS)

.PHONY: all deps test unit asan fuzz integration browser-test tsan golden run demo lint fmt tidy tiny-model unit-programs \
    fetch-test monitoring-test examples-test load-test deploy-test image-check harness-test version clean help FORCE
all: build/inpaint-worker ## build build/inpaint-worker, with CUDA where nvcc is
	$(Q)$(if $(filter 0,$(MAKELEVEL)),echo "build/inpaint-worker is ready. Next: \`make run\` makes a picture$(comma) \`make test\` runs the tests",:)

# Goals that people type on a fresh machine install the missing packages and then start make again, because the variables
# above were set without these packages.
deps: ## install what the build and all tests need (apt)
	$(Q)scripts/install_deps.sh && echo "everything is installed"

# The packages that a goal needs, as sets of scripts/install_deps.sh.
NEEDS := build test
run demo: NEEDS := build demo
integration browser-test examples-test load-test monitoring-test tsan: NEEDS := build integration
# With all processors, unless make was told how many, and without a word about what is up to date.
AGAIN = $(Q)scripts/install_deps.sh $(NEEDS) && $(MAKE) --no-print-directory $(if $(V),,-s) $(JOBS)
JOBS  = $(or $(filter -j%,$(MAKEFLAGS)),-j$$(nproc))

build/inpaint-worker: $(BUILD)/inpaint-worker
	$(Q)cp --remove-destination $< $@

$(BUILD)/inpaint-worker: $(call obj,worker/main.c) $(LIBS)
	$(Q)echo "link  $@"; $(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# What --version says; the file is new only when the text is. The version is that of the newest tag vN.N.N, with the number
# of commits since then; without tags it is that of the newest release in CHANGELOG.md. A build without git, as in an image,
# may be told: VERSION=... COMMIT=...
VERSION  ?= $(call probe,git describe --tags --match='v[0-9]*' 2>/dev/null | sed 's/-g[0-9a-f]*$$//')
RELEASED := $(call probe,sed -n 's/^.. \[\([0-9.]*\)\].*/\1/p' CHANGELOG.md 2>/dev/null | head -n 1)
RELEASE   = $(or $(patsubst v%,%,$(VERSION)),$(RELEASED),0.0.0)
COMMIT   ?= $(call probe,git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null)
BACKENDS := cpu $(if $(filter 1,$(ONEDNN)),(oneDNN),(plain C))$(comma) plain$(if $(SRC_CUDA),$(comma) cuda)
$(call obj,worker/cli/commands.c): CPPFLAGS += -DVERSION='"$(RELEASE)"' -DCOMMIT='"$(or $(COMMIT),unknown)"' \
    -DBACKENDS='"$(BACKENDS)"'
$(call obj,worker/cli/commands.c): $(BUILD)/version
# The assembler puts this file into the object.
$(call obj,models/layout/known_files.c): models/known_files
$(BUILD)/version: FORCE
	$(Q)mkdir -p $(@D); echo '$(RELEASE) $(COMMIT) $(BACKENDS)' > $@.new; cmp -s $@.new $@ && rm $@.new || mv $@.new $@

version: ## the version that a build has now
	$(Q)echo '$(RELEASE)'

# The program with a fake device that breaks: test/support/fake/fake_device.h.
$(BUILD)/faulty-worker: $(call obj,worker/main.c test/support/fake/fake_device.c) $(LIBS)
	$(Q)echo "link  $@"; $(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
build/faulty-worker: $(BUILD)/faulty-worker
	$(Q)cp --remove-destination $< $@

# Maps host names to ports of this machine, for a program under test (its own comment says how).
build/hosts-shim.so: test/integration/hosts_shim.c
	$(Q)mkdir -p $(@D); echo "link  $@"; $(CC) -std=gnu17 -O1 -g -D_GNU_SOURCE $(WARN) -fPIC -shared -o $@ $< -ldl

# test/fuzz/fuzz_x.c is a libFuzzer program by `make fuzz ENTRY=x`; the unit tests replay test/fuzz/corpus/x through it.
FUZZ_ENTRIES := $(patsubst test/fuzz/fuzz_%.c,%,$(wildcard test/fuzz/fuzz_*.c))
FUZZ_REPLAY  := $(FUZZ_ENTRIES:%=$(BUILD)/replay/fuzz_%.o)

$(BUILD)/unit-tests: $(call obj,$(SRC_TEST)) $(FUZZ_REPLAY) $(SHIM_OBJ) $(LIBS)
	$(Q)echo "link  $@"; $(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# test/tools/some_name.c is the program build/some-name: helpers for people and tests, not part of the product.
$(BUILD)/score-table: $(call obj,$(patsubst %,test/support/scenes/%.c,score_scenes score_latents))
$(foreach t,$(wildcard test/tools/*.c),$(eval $(BUILD)/$(subst _,-,$(basename $(notdir $t))): $(call obj,$t) $(LIBS)))
TOOLS := $(foreach t,$(wildcard test/tools/*.c),$(subst _,-,$(basename $(notdir $t))))
$(BUILD)/shadow-table: $(call obj,test/support/scenes/scene.c)
$(TOOLS:%=$(BUILD)/%):
	$(Q)echo "link  $@"; $(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(TOOLS:%=build/%): build/%: $(BUILD)/%
	$(Q)cp --remove-destination $< $@

$(LIB_KERNELS): $(call obj,$(SRC_KERNELS) $(SRC_CUDA)) $(SRC_CU:%=$(BUILD)/%.o)
$(call obj,$(SRC_CUDA)): CPPFLAGS += $(CUDA_CPPFLAGS)
$(LIB_MODELS): $(call obj,$(SRC_MODELS))
$(LIB_WORKER): $(call obj,$(SRC_WORKER))
$(BUILD)/%.a:
	$(Q)rm -f $@; ar rcs $@ $^

$(BUILD)/shim/%.o: %.cu
	$(Q)mkdir -p $(@D); echo "shim  $<"; $(CXX) $(SHIM_CXXFLAGS) -c $< -o $@
$(BUILD)/shim/%.o: %.cc
	$(Q)mkdir -p $(@D); echo "c++   $<"; $(CXX) $(SHIM_CXXFLAGS) -c $< -o $@

$(BUILD)/%.o: %.c
	$(Q)mkdir -p $(@D); echo "cc    $<"; $(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@

$(BUILD)/%.cu.o: %.cu
	$(Q)mkdir -p $(@D); echo "nvcc  $<"; $(NVCC) $(NVCCFLAGS) -MMD -MP -c $< -o $@

# The image is built without test/.
-include test/gpu/gpu.mk

test: ## unit tests, no network, GPU or weights; T="parts of names" runs some
	$(AGAIN) unit-programs && $(MAKE) --no-print-directory $(if $(T),,harness-test) unit T='$(T)'

# The tests themselves run when everything is built: some of them count time.
unit-programs: $(BUILD)/unit-tests $(BUILD)/harness-stand-in

# The harness itself, on tests that crash, hang and skip.
$(BUILD)/harness-stand-in: $(call obj,test/harness/stand_in.c $(patsubst %,test/support/%.c,check child golden))
	$(Q)echo "link  $@"; $(CC) $(LDFLAGS) -o $@ $^ -lm
harness-test: $(BUILD)/harness-stand-in
	$(Q)python3 test/harness/check_harness.py $<

# Passive waiting: threads that spin for each other make a busy machine slower by an order of magnitude.
# oneDNN 2.6 reads past an array of its own while it generates kernels for AMX. Under ASan that memory may be unmapped: one run
# in ten then died, so those runs do without AMX.
UNIT_ENV_asan := ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16
unit: $(BUILD)/unit-tests
	$(Q)OMP_WAIT_POLICY=passive $(UNIT_ENV_$(FLAVOUR)) $(BUILD)/unit-tests $(T)

asan: ## the unit tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(AGAIN) FLAVOUR=asan unit-programs && $(MAKE) --no-print-directory FLAVOUR=asan $(if $(T),,harness-test) unit T='$(T)'

tsan: ## the program with a faulty cloud under ThreadSanitizer; wants a quiet machine, for time counts in some tests
	$(AGAIN) tiny-model build/demo-inputs build/faulty-worker build/hosts-shim.so
	$(Q)$(MAKE) --no-print-directory FLAVOUR=tsan build/tsan/inpaint-worker
	$(Q)OMP_NUM_THREADS=1 PROGRAM=build/tsan/inpaint-worker python3 test/integration/faults.py $(T)

DEMO_TOOLS := $(filter demo-inputs resave,$(TOOLS)) # the photo; the page's comparison
integration: ## the program in the local cloud, in the real emulators and in a faulty cloud; T="parts of names" runs some
	$(AGAIN) all tiny-model $(DEMO_TOOLS:%=build/%) build/faulty-worker build/hosts-shim.so
	$(Q)python3 test/integration/everything.py $(T)

browser-test: ## the local cloud's page in Chromium, with the real worker; T="parts of names" runs some
	$(AGAIN) all $(DEMO_TOOLS:%=build/%)
	$(Q)python3 test/browser/test_page.py $(T)

fetch-test: ## scripts/fetch_weights.sh against a server with faults; T="parts of names" runs some
	$(Q)scripts/install_deps.sh python3 curl && python3 test/fetch/test_fetch.py $(T)
monitoring-test: ## metrics, alerts and dashboard against real lines of the log, costs, version; T="parts of names" runs some
	$(AGAIN) all tiny-model
	$(Q)python3 test/monitoring/everything.py $(T)
examples-test: ## the clients, functions and rules of examples/ in the local cloud and in Google's emulators; T="parts of names"
	$(AGAIN) all $(DEMO_TOOLS:%=build/%)
	$(Q)python3 test/examples/everything.py $(T)
load-test: ## workers, jobs, duplicates and a kill in the local cloud, small (scripts/load.sh does it at length); T="parts of names"
	$(AGAIN) all tiny-model
	$(Q)python3 test/load/test_load.py $(T)

tiny-model: build/tiny-model ## a complete random model folder of a few MB in build/models/tiny
	$(Q)mkdir -p build/models && build/tiny-model build/models/tiny

SET ?= build/golden/random
golden: ## a new golden set from the official libraries (scripts/golden.py tells which): SET=folder ARGS="heads=3 ..."
	$(Q)python3 scripts/golden.py $(SET) $(ARGS)

run: ## a Pub/Sub message becomes edited.jpg and preview.jpg, in a cloud on this machine (CLOUD=emulators: Google's emulators)
	$(AGAIN) all $(DEMO_TOOLS:%=build/%)
	$(Q)scripts/demo.sh run

demo: ## the same, and a page in the browser to try it on photos of your own; Ctrl-C ends it
	$(AGAIN) all $(DEMO_TOOLS:%=build/%)
	$(Q)scripts/demo.sh demo

deploy-test: ## scripts/deploy.sh with a stand-in for gcloud: first runs, repeats, failures; T="parts of names" runs some
	$(Q)python3 test/deploy/test_deploy.py $(T)
image-check: tiny-model ## the image, built without a daemon and run; root, buildah, debootstrap; T="parts of names" runs some, ALL=1 more
	$(Q)scripts/image/check.sh $(if $(ALL),--all) $(T)

lint: ## the rules that no compiler knows: layers, libraries, exits, headers, layout, shell
	$(Q)scripts/lint.sh

fmt: ## format the C code (not the tables of test/unit)
	$(Q)git ls-files '*.c' '*.h' '*.cu' '*.cuh' | xargs clang-format-19 -i

TIDY ?= $(filter-out $(SKIP_SRC),$(wildcard kernels/base/*.c kernels/*.c kernels/plain/*.c kernels/cpu/*.c)) $(SRC_MODELS) $(SRC_WORKER)
# gcc's omp.h is used where clang's is not installed; clang does not know one of its attributes
TIDY_OPENMP = '-D__malloc__(...)=__malloc__' -idirafter build/tidy
tidy: ## clang-tidy over the C code (.clang-tidy says what it looks for); TIDY='some files'
	$(Q)mkdir -p build/tidy && ln -sf $$(gcc -print-file-name=include/omp.h) build/tidy/
	$(Q)printf '%s\n' $(TIDY) | xargs -P$$(nproc) -I{} clang-tidy-19 --quiet {} -- -std=gnu17 $(CPPFLAGS) $(TIDY_OPENMP) 2>/dev/null

$(FUZZ_REPLAY): $(BUILD)/replay/%.o: test/fuzz/%.c
	$(Q)mkdir -p $(@D); echo "cc    $<"; $(CC) $(CPPFLAGS) $(CFLAGS) -DLLVMFuzzerTestOneInput=$* -c $< -o $@

$(call obj,test/unit/fuzz/test_corpus.c): build/fuzz_entries.h
build/fuzz_entries.h: FORCE
	$(Q)mkdir -p $(@D); echo '#define FUZZ_ENTRIES(X) $(foreach e,$(FUZZ_ENTRIES),X($e))' > $@.new; \
	cmp -s $@.new $@ && rm $@.new || mv $@.new $@
FORCE:

FUZZ_CC ?= clang-19
SECONDS ?= 60
# more examples of the files that an entry reads
FUZZ_SEEDS_jpeg := test/golden/pictures
FUZZ_SEEDS_png  := test/golden/pictures
FUZZ_SEEDS_splice := test/golden/pictures

$(BUILD)/fuzz_%: $(BUILD)/test/fuzz/fuzz_%.o $(LIBS)
	$(Q)echo "link  $@"; $(CC) $(LDFLAGS) -fsanitize=fuzzer,address,undefined -o $@ $^ $(LDLIBS)

fuzz: ## fuzz a reader for a while: ENTRY=gguf SECONDS=60
	$(Q)test -f test/fuzz/fuzz_$(ENTRY).c || { echo "fuzz: ENTRY=... is one of: $(FUZZ_ENTRIES)"; exit 2; }
	$(Q)command -v $(FUZZ_CC) > /dev/null || { echo "fuzz: $(FUZZ_CC) is not installed: apt-get install" \
	    "clang-19 llvm-19, or FUZZ_CC=another clang with libFuzzer"; exit 1; }
	$(Q)$(MAKE) --no-print-directory FLAVOUR=fuzz CC=$(FUZZ_CC) build/fuzz/fuzz_$(ENTRY)
	$(Q)mkdir -p build/fuzz/corpus/$(ENTRY)
	$(Q)build/fuzz/fuzz_$(ENTRY) -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 \
	    -artifact_prefix=build/fuzz/$(ENTRY)- build/fuzz/corpus/$(ENTRY) \
	    $(wildcard test/fuzz/corpus/$(ENTRY)) $(FUZZ_SEEDS_$(ENTRY))

clean: ## remove everything built
	$(Q)rm -rf build

# The groups of the list of goals, and their order in it; a goal that is in none comes last.
HELP_start   := run demo all deps clean help
HELP_test    := test integration browser-test asan tsan fuzz fetch-test monitoring-test examples-test load-test deploy-test image-check
HELP_develop := lint fmt tidy golden tiny-model version
HELP_GPU     := gpu-check gpu-test gpu-bench cuda-libs gpu-dry cuda-check cudnn-check gpu-check-test

help: ## this list
	$(Q)awk -F ':.*## ' -v groups='$(foreach g,start test develop GPU,$g: $(HELP_$g))' ' \
	    function line(goal) { if (goal in text) printf "  make %-15s %s\n", goal, text[goal]; delete text[goal] } \
	    /^[a-z-]+:.*## / { text[$$1] = $$2; goals[++n] = $$1 } \
	    END { m = split(groups, word, " "); \
	          for (i = 1; i <= m; i++) if (word[i] ~ /:$$/) print (i > 1 ? "\n" : "") word[i]; else line(word[i]); \
	          for (i = 1; i <= n; i++) line(goals[i]) }' Makefile $(wildcard test/gpu/gpu.mk)

# build/fresh holds whole systems (test/fresh/fresh.sh)
-include $(call probe,find build -path build/fresh -prune -o -type f -name '*.d' -print 2>/dev/null)
