/*
 * cublaslt - the functions of cuBLASLt, looked up when a device is opened. So the program starts where the library is
 * missing, and says so instead of failing to load.
 */
#ifndef KERNELS_CUDA_CUBLASLT_H
#define KERNELS_CUDA_CUBLASLT_H

#include <cublasLt.h>

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

/* ERR_UNAVAILABLE with the loader's reason. Searched: the program's run path, LD_LIBRARY_PATH, the system. */
MUST_CHECK enum err_code cublaslt_open(struct cublaslt *ret, struct err *err);
void cublaslt_close(struct cublaslt *lt); /* takes a zeroed one; the library stays mapped */

#endif
