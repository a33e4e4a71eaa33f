/*
 * conv_rows.cu - the inputs of each output pixel of a convolution as rows of a matrix (im2col), where conv_mma.cu does
 * not fit: the three channels of a picture, the sixteen of its latents.
 *
 * Maths      dst[p, (ky * kw + kx) * C + c] = x[oy * stride + ky - pad_top, ox * stride + kx - pad_left, c], 0 outside;
 *            (oy, ox) = pixel first + p of the output
 * Shapes     x [H, W, C] f32 or bf16; dst [n, cols] bf16, cols a multiple of 8, at least kh * kw * C
 * Launch     grid over groups of eight columns, block (256); where C is a multiple of 8, a group belongs to one tap and
 *            is one or two accesses of 16 bytes; neighbouring threads read neighbouring channels.
 *            Indices have 32 bits and are divided once for a group of eight; only addresses have 64 bits
 * Moves      x once for every tap, dst once. Tiles of dst are small enough to stay in the second-level cache (conv2d.c)
 * Numerics   one rounding to bf16 where x is f32
 * Reference  kernels/plain/conv.c          Test  test_cuda_shim_conv.c, test/gpu/test_ops.c
 */
#include "kernels/cuda/gpu/kernel.cuh"
#include "kernels/cuda/gpu/product_kernels.h"

#include <limits.h>

enum { THREADS = 256 };

struct window {
    struct rows dst, x; /* x has one row for each pixel */
    int first, out_width, height, width, channels, kh, kw, stride, pad_top, pad_left;
};

/* A column of dst as tap and channel, for an output pixel whose window starts at (y, x) of the picture. */
struct place {
    int y, x, ky, kx, channel;
};

DEVICE struct place place_of(const struct window &w, int p, int col)
{
    int tap = col / w.channels, row = (w.first + p) / w.out_width;
    struct place at = { row * w.stride - w.pad_top, (w.first + p - row * w.out_width) * w.stride - w.pad_left,
                        tap / w.kw, tap % w.kw, col - tap * w.channels };

    return at;
}

/* The pixel that the tap reads, as a row of x; -1 outside the picture and after the last tap. */
DEVICE int pixel_of(const struct window &w, const struct place &at)
{
    int y = at.y + at.ky, x = at.x + at.kx;

    return at.ky < w.kh && y >= 0 && y < w.height && x >= 0 && x < w.width ? y * w.width + x : -1;
}

DEVICE void next_column(const struct window &w, struct place &at)
{
    if (++at.channel < w.channels)
        return;
    at.channel = 0;
    if (++at.kx < w.kw)
        return;
    at.kx = 0;
    at.ky++;
}

static __global__ void __launch_bounds__(THREADS) conv_rows(struct window w)
{
    int eights = (int)w.dst.n_cols / 8, i = (int)(blockIdx.x * THREADS + threadIdx.x);
    int p = i / eights, col = (i - p * eights) * 8, pixel;
    struct place at = place_of(w, p, col);
    float v[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };

    if (p >= w.dst.n_rows)
        return;
    if (w.channels % 8 == 0) {
        pixel = pixel_of(w, at);
        if (pixel >= 0) {
            load4(w.x, pixel, at.channel, v);
            load4(w.x, pixel, at.channel + 4, v + 4);
        }
    } else {
        for (int k = 0; k < 8; k++, next_column(w, at)) {
            pixel = pixel_of(w, at);
            if (pixel >= 0)
                v[k] = load1(w.x, pixel, at.channel);
        }
    }
    store4(w.dst, p, col, v);
    store4(w.dst, p, col + 4, v + 4);
}

extern "C" int k_conv_rows(struct tensor *dst, const struct tensor *x, int64_t first, int64_t out_width,
                           const struct conv_weight *weight, const struct conv_args *args, cudaStream_t stream)
{
    struct window w = {};

    if (tensor_rows(x) > INT_MAX || tensor_count(dst) > INT_MAX || first + tensor_rows(dst) > INT_MAX)
        return cudaErrorInvalidValue;
    w.dst = rows_of(dst), w.x = rows_of(x);
    w.first = (int)first, w.out_width = (int)out_width;
    w.height = (int)x->dims[0], w.width = (int)x->dims[1], w.channels = (int)x->dims[2];
    w.kh = weight->kh, w.kw = weight->kw, w.stride = args->stride, w.pad_top = args->pad_top,
    w.pad_left = args->pad_left;
    return LAUNCH(conv_rows, (unsigned)div_up(tensor_count(dst) / 8, THREADS), THREADS, 0, stream, w);
}
