/*
 * cublaslt - the functions of cuBLASLt, looked up when a device is opened. So the program starts where the library is
 * missing, and reports that instead of failing to load.
 */
#ifndef KERNELS_CUDA_CUBLASLT_H
#define KERNELS_CUDA_CUBLASLT_H

#include <cublasLt.h>
#include <stdbool.h>

#include "kernels/base/err.h"

#define CUBLASLT_FUNCTIONS(X)               \
    X(cublasLtCreate)                       \
    X(cublasLtDestroy)                      \
    X(cublasLtMatmul)                       \
    X(cublasLtMatmulAlgoGetHeuristic)       \
    X(cublasLtMatmulDescCreate)             \
    X(cublasLtMatmulDescDestroy)            \
    X(cublasLtMatmulDescSetAttribute)       \
    X(cublasLtMatmulPreferenceCreate)       \
    X(cublasLtMatmulPreferenceDestroy)      \
    X(cublasLtMatmulPreferenceSetAttribute) \
    X(cublasLtMatrixLayoutCreate)           \
    X(cublasLtMatrixLayoutDestroy)          \
    X(cublasLtGetStatusString)              \
    X(cublasLtGetVersion)

struct cublaslt {
    void *handle;
#define X(name) __typeof__(&name) name;
    CUBLASLT_FUNCTIONS(X)
#undef X
};

/* ERR_UNAVAILABLE with the loader's reason. It searches the program's run path, LD_LIBRARY_PATH and the system. */
MUST_CHECK enum err_code cublaslt_open(struct cublaslt *ret, struct err *err);
void cublaslt_close(struct cublaslt *lt); /* takes a zeroed struct; the library stays mapped */

/* Whether the library has no algorithm for a shape or type. All other failures are faults. */
static inline bool cublaslt_refused(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE ||
           status == CUBLAS_STATUS_ARCH_MISMATCH;
}

/* A fault as an error: CUBLAS_STATUS_ALLOC_FAILED is ERR_NOMEM, all else ERR_GPU. CUBLAS_STATUS_SUCCESS is ERR_OK. */
static inline enum err_code cublaslt_status(const struct cublaslt *lt, cublasStatus_t status, const char *what,
                                            struct err *err)
{
    if (status == CUBLAS_STATUS_SUCCESS)
        return ERR_OK;
    return err_set(err, status == CUBLAS_STATUS_ALLOC_FAILED ? ERR_NOMEM : ERR_GPU, "cuda: %s: %s", what,
                   lt->cublasLtGetStatusString(status));
}

#endif
