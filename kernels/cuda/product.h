/*
 * product - matrix products on the tensor cores: bf16 x bf16, summed in f32, rounded once at the store.
 *
 *   d [m, n] = act(a [m, k] b' + add + bias)     rows may have gaps of any size
 *
 * b is [n, k], or [k, n] with b_transposed. `add` has d's type, shape and stride (it may be d); bias [n] has d's type.
 * cuBLASLt is asked once for the algorithm of a shape, which is kept; its heuristics do not measure, so the choice is
 * the same in every process on the same card. It does not have every epilogue for every type and alignment. A shape
 * that it refuses is computed in parts: the product in f32 by cuBLASLt, then sum, bias and GELU by a kernel of ours,
 * also rounded once. Where it refuses the product, too, k_product_plain computes it, slower by orders of magnitude.
 * struct backend counts both cases, and its warn() reports them.
 */
#ifndef KERNELS_CUDA_PRODUCT_H
#define KERNELS_CUDA_PRODUCT_H

#include "kernels/cuda/cuda.h"

struct cuda_product {
    int64_t m, n, k, a_stride, b_stride, d_stride; /* values */
    const void *a, *b, *add, *bias;                /* add, bias: NULL for none */
    void *d;
    enum dtype d_type; /* F32 or BF16 */
    bool b_transposed, gelu_tanh;
};

MUST_CHECK enum err_code cuda_products_open(struct cuda *cuda, struct err *err);
void cuda_products_close(struct cuda *cuda);

size_t cuda_products_version(const struct cuda *cuda); /* of cuBLASLt: 10000 * major + 100 * minor + patch */

/* Queues the product. ERR_GPU. */
MUST_CHECK enum err_code cuda_product_run(struct cuda *cuda, const struct cuda_product *p, struct err *err);

/* Sets *ret to the aligned values of a bias [n] in type t: the loaded ones, or else a copy at *at, which then moves
 * past the copy to a multiple of 256 bytes. NULL stays NULL. The copy takes at most 4 n + 256 bytes. */
MUST_CHECK enum err_code cuda_product_bias(struct cuda *cuda, const struct bias *bias, enum dtype t, char **at,
                                           const void **ret, struct err *err);

#endif
