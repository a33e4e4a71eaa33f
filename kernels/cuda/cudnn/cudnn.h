/*
 * cudnn - the functions of cuDNN 9, looked up when a device is opened, like those of cuBLASLt. So the program starts,
 * and computes, where the library is missing.
 */
#ifndef KERNELS_CUDA_CUDNN_CUDNN_H
#define KERNELS_CUDA_CUDNN_CUDNN_H

#include "kernels/base/err.h"
#include "kernels/cuda/cudnn/cudnn_abi.h"

struct cudnn {
    void *shared_object;
    void *handle;     /* for the card of this process; or, where it is NULL, */
    void *properties; /* the description of a card that is not there: plans for it can be made, but cannot run */
#define X(type, name, args) type(*name) args;
    CUDNN_FUNCTIONS(X)
#undef X
};

/* Opens the library without a handle. ERR_UNAVAILABLE with the reason: it is missing, older than 9.13.1, or built for
 * another major version of CUDA, whose cuBLASLt it would need. It is searched for like cuBLASLt, which must be loaded
 * before. */
MUST_CHECK enum err_code cudnn_open(int cuda_major, struct cudnn *ret, struct err *err);
/* Makes the handle for the current device; it queues on `stream`, a cudaStream_t. On failure the library is closed. */
MUST_CHECK enum err_code cudnn_use_device(struct cudnn *lib, void *stream, struct err *err);
void cudnn_close(struct cudnn *lib); /* takes a zeroed struct; the library stays mapped */

#endif
