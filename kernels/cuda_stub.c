/*
 * cuda_stub - replaces kernels/cuda/ in a build without the CUDA toolkit. Not one file with rate_stub.c: a program that
 * brings a backend_cuda_open() of its own still links the other.
 */
#include "kernels/backend.h"

enum err_code backend_cuda_open(enum precision precision, struct backend **ret, struct err *err)
{
    (void)precision, (void)ret;
    return err_set(err, ERR_UNAVAILABLE, "cuda: this program was built without it");
}
