/* fake_cuda - the stand-in's own switches. */
#ifndef TEST_GPU_DRY_FAKE_CUDA_H
#define TEST_GPU_DRY_FAKE_CUDA_H

#include <stdbool.h>

/* From now on nearly every call ends as on a device that was reached by an illegal access; false: no more. */
void fake_cuda_fault(bool faulty);

long fake_cublaslt_products(void); /* run so far */
long fake_cuda_expansions(void);   /* of weights, queued so far */

#endif
