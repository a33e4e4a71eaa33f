/*
 * cuda_stub - replaces kernels/cuda/ in a build without the CUDA toolkit. It is separate from rate_stub.c, because a
 * program with a backend_cuda_open() of its own still needs that one.
 */
#include "kernels/backend.h"

enum err_code backend_cuda_open(enum precision precision, struct backend **ret, struct err *err)
{
    (void)precision, (void)ret;
    return err_set(err, ERR_UNAVAILABLE, "cuda: this program was built without it");
}
