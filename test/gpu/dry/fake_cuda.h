/* fake_cuda - the stand-in's own switches. */
#ifndef TEST_GPU_DRY_FAKE_CUDA_H
#define TEST_GPU_DRY_FAKE_CUDA_H

#include <stdbool.h>

/* true: from now on nearly every call fails as on a device after an illegal memory access; false: calls work again. */
void fake_cuda_fault(bool faulty);

long fake_cublaslt_products(void); /* number of products that have run so far */
long fake_cuda_expansions(void);   /* number of expansions of weights that were queued so far */

#endif
