/*
 * product_kernels - the launchers of the kernels around matrix products: those that prepare operands or finish results,
 * and a product that takes any shape. As in kernels.h, tensors are device memory, and a cudaError_t is returned as int.
 */
#ifndef KERNELS_CUDA_GPU_PRODUCT_KERNELS_H
#define KERNELS_CUDA_GPU_PRODUCT_KERNELS_H

#ifdef __cplusplus
extern "C" {
#endif

#include "kernels/backend.h"
#include "kernels/cuda/gpu/kernels.h"

/* y = act(x + add + bias), with any types and strides; add of y's shape or NULL, bias [cols] or NULL; y may be x or
 * add. */
int k_activate(struct tensor *y, const struct tensor *x, const struct tensor *add, const struct tensor *bias,
               enum activation act, cudaStream_t stream);

/* d [m, n] = act(a [m, k] b' + add + bias): b [n, k], or [k, n] when transposed; a and b bf16, the rest F32 or BF16. */
struct k_product {
    struct tensor *d;
    const struct tensor *a, *b, *add, *bias; /* add, bias: NULL for none */
    bool b_transposed, gelu_tanh;
};

/* Slow: for shapes that no other kernel takes. */
int k_product_plain(const struct k_product *p, cudaStream_t stream);

/*
 * Writes rows [first, first + rows of dst) of the matrix whose product with a convolution's weights [c_out, cols] is
 * its output. It has a row for each pixel of the output, which is `out_width` wide: taps by channels, then zeros up to
 * dst's columns. x [H, W, C] F32 or BF16, dst BF16, columns a multiple of 8. `weight` gives the size of the window.
 */
int k_conv_rows(struct tensor *dst, const struct tensor *x, int64_t first, int64_t out_width,
                const struct conv_weight *weight, const struct conv_args *args, cudaStream_t stream);

/*
 * A whole convolution on tensor cores, without a matrix of rows. The arguments are those of op_conv2d; y and residual
 * are F32 or BF16 in any mixture and may be the same tensor; weights are bf16 [c_out, kh * kw * c_in]. Only for
 * arguments that k_conv_mma_fits() accepts.
 */
bool k_conv_mma_fits(const struct tensor *x, const struct conv_weight *w);
int k_conv_mma(struct tensor *y, const struct tensor *x, const struct conv_weight *w, const struct tensor *bias,
               const struct conv_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
