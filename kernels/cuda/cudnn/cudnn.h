/*
 * cudnn - the functions of cuDNN 9, looked up when a device is opened, as those of cuBLASLt are: the program starts,
 * and computes, where the library is missing.
 */
#ifndef KERNELS_CUDA_CUDNN_CUDNN_H
#define KERNELS_CUDA_CUDNN_CUDNN_H

#include "kernels/base/err.h"
#include "kernels/cuda/cudnn/cudnn_abi.h"

struct cudnn {
    void *shared_object;
    void *handle;     /* of the card; or */
    void *properties; /* the description of one that is not there: plans for it cannot run */
#define X(type, name, args) type(*name) args;
    CUDNN_FUNCTIONS(X)
#undef X
};

/* The library alone. ERR_UNAVAILABLE with the reason: it is not there, older than 9.13.1, or made for another major
 * version of CUDA, whose cuBLASLt it would miss. Searched as cuBLASLt is, which has to be loaded before. */
MUST_CHECK enum err_code cudnn_open(int cuda_major, struct cudnn *ret, struct err *err);
/* A handle of the current device, which queues on `stream`, a cudaStream_t. On failure the library is closed. */
MUST_CHECK enum err_code cudnn_use_device(struct cudnn *lib, void *stream, struct err *err);
void cudnn_close(struct cudnn *lib); /* takes a zeroed one; the library stays mapped */

#endif
