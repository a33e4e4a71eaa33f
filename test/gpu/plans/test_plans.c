/*
 * The real cuDNN without a card: it plans for a card that is described to it. So a mistake in a graph, or a shape
 * without an engine, is found on any machine that has the library. No plan runs.
 */
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/cudnn/cudnn_attention.h"
#include "test/support/check.h"

enum {
    WORKSPACE_BYTES = 64 << 20,
    CUDA_MAJOR = 13,
    PLAN_JSON = 405 /* CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION */
};

struct card {
    const char *name, *kernel; /* kernel: a part of the name of the kernel that is expected */
    int sm, n_multiprocessors, shared_bytes, blocks, threads, l2_bytes;
    long long memory_bytes;
};
static const struct card h200 = { "NVIDIA H200", "sm90_flash_fprop_wgmma", 900, 132, 232448, 32, 2048, 62914560,
                                  150754820096 };
static const struct card l4 = { "NVIDIA L4", "flash_fprop", 890, 58, 101376, 24, 1536, 50331648, 23605739520 };

static void describe(struct cudnn *lib, const struct card *c)
{
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,"
                     "\"multiProcessorCount\":%d,\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,"
                     "\"maxSharedMemoryPerBlockOptin\":%d,\"reservedSharedMemoryPerBlock\":1024,"
                     "\"maxRegistersPerSM\":65536,\"maxCtasPerSM\":%d,\"maxThreadsPerBlock\":1024,"
                     "\"maxThreadsPerSM\":%d,\"pciDeviceId\":0,\"isTccDriver\":0,\"supportCoopLaunch\":1,"
                     "\"totalGlobalMem\":%lld,\"smClockRateKHz\":1980000,\"memClockRateKHz\":3201000,"
                     "\"memoryBusWidth\":5120,\"l2CacheSize\":%d,\"cudaDeviceId\":0,\"deviceVer\":%d,"
                     "\"driverVer\":13000,\"deviceName\":\"%s\"}",
                     c->n_multiprocessors, c->shared_bytes, c->blocks, c->threads, c->memory_bytes, c->l2_bytes, c->sm,
                     c->name);

    CHECK(n > 0 && n < (int)sizeof text);
    CHECK_INT(lib->cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &lib->properties), 0);
    CHECK_INT(lib->cudnnBackendSetAttribute(lib->properties, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                            n, text),
              0);
    CHECK_INT(lib->cudnnBackendFinalize(lib->properties), 0);
}

/* The plan contains the name of its kernel as text. */
static void check_kernel(const struct cudnn *lib, const struct cudnn_plan *p, const char *name)
{
    static char text[4 << 20];
    int64_t n = 0;

    CHECK_INT(lib->cudnnBackendGetAttribute(p->plan, PLAN_JSON, CUDNN_TYPE_CHAR, sizeof text - 1, &n, text), 0);
    CHECK(strstr(text, name));
}

static void plan_attention(const struct card *card)
{
    static const struct cudnn_shape shapes[] = {
        { 4608, 4608, 24, 128, 3072, 3072, 3072, 3072 },
        { 4608, 4608, 24, 128, 9216, 9216, 9216, 15360 },
        { 4609, 4609, 24, 128, 9280, 9280, 9280, 3072 },
        { 1536, 1536, 24, 128, 9216, 9216, 9216, 3072 },
        { 528, 528, 24, 128, 9216, 9216, 9216, 3072 },
        { 77, 77, 12, 64, 2304, 2304, 2304, 768 },
        { 1, 1, 1, 128, 384, 384, 384, 128 },
        { 129, 65, 2, 128, 832, 832, 832, 320 },
        { 100, 300, 2, 64, 384, 384, 384, 128 },
    };
    struct cudnn lib = { 0 };
    struct err err = { 0 };

    if (cudnn_open(CUDART_VERSION / 1000, &lib, &err))
        SKIP(err.msg);
    describe(&lib, card);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct cudnn_plan p = { 0 };

        CHECK_OK(cudnn_attention_plan(&lib, &shapes[i], WORKSPACE_BYTES, &p, &err), err);
        CHECK(p.workspace_bytes <= 4096);
        if (shapes[i].n_q > 1)
            check_kernel(&lib, &p, card->kernel);
        cudnn_plan_done(&lib, &p);
    }
    CHECK_INT(lib.cudnnBackendDestroyDescriptor(lib.properties), 0);
    cudnn_close(&lib);
}

TEST(plans__attention_on_hopper_has_a_kernel_of_its_instructions)
{
    plan_attention(&h200);
}

TEST(plans__attention_on_ada)
{
    plan_attention(&l4);
}

/* --- libraries after closing --- */

#define TEXT(x)    #x
#define TEXT_OF(x) TEXT(x)

static bool is_mapped(const char *library)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);

    if (handle)
        CHECK_INT(dlclose(handle), 0); /* the reference that dlopen() above has taken */
    return handle != NULL;
}

TEST(plans__closed_libraries_stay_mapped)
{
    struct err err = { 0 };

    for (int i = 0; i < 2; i++) {
        struct cublaslt lt = { 0 };
        struct cudnn lib = { 0 };

        CHECK_OK(cublaslt_open(&lt, &err), err);
        CHECK_OK(cudnn_open(CUDART_VERSION / 1000, &lib, &err), err);
        cudnn_close(&lib);
        cublaslt_close(&lt);
        CHECK(is_mapped("libcublasLt.so." TEXT_OF(CUBLAS_VER_MAJOR)));
        CHECK(is_mapped("libcudnn.so.9"));
    }
}
