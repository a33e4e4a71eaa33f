# gpu.mk - the tests and benchmarks of the CUDA backend: on a card, and on stand-ins for CUDA and cuDNN where there is
# none. Included by the Makefile. The programs are built without the libraries for HTTP, pictures and Unicode, because a
# machine with a card may not have them.

.PHONY: gpu-test gpu-bench gpu-programs gpu-check gpu-check-test gpu-dry cuda-check cudnn-check cuda-libs

GPU_FOREIGN := $(call probe,grep -lE '<(utf8proc|zlib|openssl/.*|microhttpd|curl/.*|cjson/.*)\.h>' $(SRC_MODELS)) \
    $(filter models/codec/% models/jail/% models/notes/% models/picture/%,$(SRC_MODELS))
GPU_SUPPORT := $(patsubst %,test/support/%.c,bytes check child golden model sample)
GPU_MODELS  := $(call obj,$(filter-out $(GPU_FOREIGN),$(SRC_MODELS)))
GPU_TESTS   := $(call obj,$(wildcard test/gpu/*.c) $(GPU_SUPPORT))
# test/gpu/device.c counts what is allocated
GPU_LDLIBS  := -Wl,--wrap=cudaMalloc,--wrap=cudaMallocHost $(if $(filter 1,$(ONEDNN)),-ldnnl) -lm

$(BUILD)/libgpumodels.a: $(GPU_MODELS)
$(call obj,$(wildcard test/gpu/*.c test/gpu/dry/*.c)): CPPFLAGS += $(CUDA_CPPFLAGS)
$(BUILD)/gpu-tests: $(GPU_TESTS) $(BUILD)/libgpumodels.a $(LIB_KERNELS)
	$(Q)echo "link  $@"; $(CC) $(LDFLAGS) -o $@ $^ $(GPU_LDLIBS) $(CUDA_LDLIBS)

gpu-test: ## on a GPU: every CUDA operation against the CPU, networks and whole jobs against the golden sets; T=...
ifneq ($(SRC_CUDA),)
	$(Q)$(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$$(nproc)) WARN='-Wall -Wextra' $(BUILD)/gpu-tests
	$(Q)$(BUILD)/gpu-tests $(T)
else
	$(Q)echo "gpu-test: needs nvcc and cuBLASLt (CUDA toolkit, or make cuda-libs)"; exit 1
endif

# `inpaint-worker bench` for a machine without libraries; test/gpu/unicode.c replaces utf8proc in its tokenizers.
GPU_BENCH := $(call obj,test/bench/gpu_bench.c worker/cli/bench_command.c worker/cli/cli.c test/gpu/unicode.c)

$(BUILD)/gpu-bench: $(GPU_BENCH) $(BUILD)/libgpumodels.a $(LIB_KERNELS)
	$(Q)echo "link  $@"; $(CC) $(LDFLAGS) -o $@ $^ $(if $(filter 1,$(ONEDNN)),-ldnnl) -lm $(CUDA_LDLIBS)

gpu-programs: $(BUILD)/gpu-tests $(BUILD)/gpu-bench

gpu-check: ## on a GPU, with gcc, make and nvcc alone: all its tests and benchmarks in ten minutes, and a table
	$(Q)scripts/gpu_check.sh

gpu-check-test: ## the reports of gpu-check, with stand-ins, and its build on a machine without packages (root, debootstrap)
	$(Q)python3 test/gpu/check_script.py
	$(Q)test/gpu/bare_root.sh

gpu-bench: ## build/release/gpu-bench: the benchmarks without the libraries for HTTP and pictures
ifneq ($(SRC_CUDA),)
	$(Q)$(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$$(nproc)) WARN='-Wall -Wextra' $(BUILD)/gpu-bench
else
	$(Q)echo "gpu-bench: needs nvcc and cuBLASLt (CUDA toolkit, or make cuda-libs)"; exit 1
endif

# The same tests without a GPU: the kernels on the shim, the host code on a stand-in for CUDA (test/gpu/dry).
DRY_OBJ := $(call obj,$(filter-out kernels/cuda/cublaslt.c kernels/cuda/expand.c kernels/cuda/cudnn/cudnn.c,$(SRC_CUDA)) $(wildcard test/gpu/dry/*.c)) \
           $(SHIM_OBJ)

$(BUILD)/gpu-dry: $(GPU_TESTS) $(DRY_OBJ) $(BUILD)/libgpumodels.a $(BUILD)/libdrykernels.a
	$(Q)echo "link  $@"; $(CC) $(LDFLAGS) -o $@ $^ $(GPU_LDLIBS) -lstdc++
$(BUILD)/libdrykernels.a: $(call obj,$(SRC_KERNELS))
# A driver's management library that reports made-up figures.
$(BUILD)/dry/libnvidia-ml.so.1: test/gpu/dry/stub/nvml.c
	$(Q)mkdir -p $(@D); $(CC) -O1 -shared -fPIC -Wall -Wextra -Wl,-soname,libnvidia-ml.so.1 $< -o $@

# Some tests take a minute on an idle machine.
DRY_TIMEOUT_S := 900

gpu-dry: ## the GPU tests on a stand-in for CUDA, where there are its headers; T="parts of names"; all of them take four minutes
ifneq ($(SRC_CUDA),)
	$(Q)$(MAKE) --no-print-directory $(BUILD)/gpu-dry $(BUILD)/dry/libnvidia-ml.so.1
	$(Q)CHECK_TIMEOUT_S=$${CHECK_TIMEOUT_S:-$(DRY_TIMEOUT_S)} LD_LIBRARY_PATH=$(BUILD)/dry GPU_TEST_DRY=1 GPU_TEST_REPEATS=2 OMP_WAIT_POLICY=passive $(BUILD)/gpu-dry $(T)
else
	$(Q)echo "gpu-dry: skipped, there are no headers of CUDA and cuBLASLt here"
endif

# cuDNN makes plans for cards that it only has a description of; a stand-in for the driver lets it start without a
# device.
$(BUILD)/plans/libcuda.so.1: test/gpu/plans/stub_cuda.c
	$(Q)mkdir -p $(@D); $(CC) -O1 -shared -fPIC -Wl,-soname,libcuda.so.1 $< -o $@
$(BUILD)/plans/plan-tests: $(call obj,test/gpu/plans/test_plans.c kernels/cuda/cublaslt.c \
                           $(wildcard kernels/cuda/cudnn/*.c) test/support/check.c test/support/child.c) \
                           $(BUILD)/libdrykernels.a
	$(Q)mkdir -p $(@D); echo "link  $@"; $(CC) $(LDFLAGS) -o $@ $^ -ldl -lm
$(call obj,test/gpu/plans/test_plans.c): CPPFLAGS += $(CUDA_CPPFLAGS)

cudnn-check: ## cuDNN's plans for Hopper and Ada, without a GPU, and how it closes (CUDNN=1 make cuda-libs)
ifneq ($(and $(SRC_CUDA),$(CUDNN_LIB)),)
	$(Q)$(MAKE) --no-print-directory $(BUILD)/plans/plan-tests $(BUILD)/plans/libcuda.so.1
	$(Q)LD_LIBRARY_PATH=$(BUILD)/plans:$(CUBLASLT_LIB):$(CUDNN_LIB) $(BUILD)/plans/plan-tests $(T)
else
	$(Q)echo "cudnn-check: skipped, there is no cuDNN here"
endif

cuda-check: ## the CUDA files compile for every generation, with nvcc and against CUDA 12.2; no kernel spills by CUDA 12.6, either
	$(Q)scripts/cuda_check.sh

cuda-libs: ## cuBLASLt of nvcc's version into build/cuda-libs, for machines whose toolkit lacks it; CUDNN=1 cuDNN, too
	$(Q)scripts/cuda_libs.sh
