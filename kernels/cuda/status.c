/* status.c - a CUDA status as an error; apart from device.c, for what uses a device without opening one. */
#include "kernels/cuda/cuda.h"

enum err_code cuda_status(cudaError_t status, const char *what, struct err *err)
{
    if (status == cudaSuccess)
        return ERR_OK;
    (void)cudaGetLastError(); /* a fault of the device stays and comes again; this takes back what does not stay */
    return err_set(err, status == cudaErrorMemoryAllocation ? ERR_NOMEM : ERR_GPU, "cuda: %s: %s (%s)", what,
                   cudaGetErrorString(status), cudaGetErrorName(status));
}
