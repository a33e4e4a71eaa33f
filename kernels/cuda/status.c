/* status.c - a CUDA status as an error. */
#include "kernels/cuda/cuda.h"

enum err_code cuda_status(cudaError_t status, const char *what, struct err *err)
{
    if (status == cudaSuccess)
        return ERR_OK;
    (void)cudaGetLastError(); /* clears the status of a call; a fault of the device stays and is reported again */
    return err_set(err, status == cudaErrorMemoryAllocation ? ERR_NOMEM : ERR_GPU, "cuda: %s: %s (%s)", what,
                   cudaGetErrorString(status), cudaGetErrorName(status));
}
