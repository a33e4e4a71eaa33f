/*
 * cuda_stub - stands where kernels/cuda/ would be in a build without the CUDA toolkit.
 */
#include "kernels/backend.h"

enum err_code backend_cuda_open(enum precision precision, struct backend **ret, struct err *err)
{
    (void)precision, (void)ret;
    return err_set(err, ERR_UNAVAILABLE, "cuda: this program was built without it");
}
