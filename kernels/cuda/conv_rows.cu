/*
 * conv_rows.cu - the pixels that a convolution sees, as rows of a matrix (im2col).
 *
 * Maths      dst[p, (ky * kw + kx) * C + c] = x[oy * stride + ky - pad_top, ox * stride + kx - pad_left, c], 0 outside;
 *            (oy, ox) = pixel first + p of the output
 * Shapes     x [H, W, C] f32 or bf16; dst [n, cols] bf16, cols a multiple of 8, at least kh * kw * C
 * Launch     grid over groups of eight columns, block (256); where C is a multiple of 8 a group lies in one tap and is
 *            one or two accesses of 16 bytes, neighbouring threads read neighbouring channels
 * Moves      x once for every tap, dst once. Tiles of dst are made to stay in the second-level cache (conv2d.c)
 * Numerics   one rounding to bf16 where x is f32
 * Reference  kernels/cpu/conv.c          Test  test_cuda_shim_product.c, test/gpu/test_ops.c
 */
#include "kernels/cuda/kernel.cuh"
#include "kernels/cuda/product_kernels.h"

enum { THREADS = 256, MAX_BLOCKS = 1 << 30 };

struct window {
    struct rows dst, x; /* x: a row a pixel */
    int64_t first, out_width, height, width;
    int kh, kw, stride, pad_top, pad_left;
};

/* The pixel that tap `tap` of output pixel p sees, as a row of x; -1 outside. */
DEVICE int64_t pixel_of(const struct window &w, int64_t p, int64_t tap)
{
    int64_t y = (w.first + p) / w.out_width * w.stride + tap / w.kw - w.pad_top;
    int64_t x = (w.first + p) % w.out_width * w.stride + tap % w.kw - w.pad_left;

    return y >= 0 && y < w.height && x >= 0 && x < w.width ? y * w.width + x : -1;
}

DEVICE float value_of(const struct window &w, int64_t p, int64_t col)
{
    int64_t tap = col / w.x.n_cols, pixel = tap < w.kh * w.kw ? pixel_of(w, p, tap) : -1;

    return pixel < 0 ? 0.0f : load1(w.x, pixel, col % w.x.n_cols);
}

static __global__ void __launch_bounds__(THREADS) conv_rows(struct window w)
{
    int64_t eights = w.dst.n_cols / 8, n = w.dst.n_rows * eights, step = (int64_t)gridDim.x * THREADS;

    for (int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x; at < n; at += step) {
        int64_t p = at / eights, col = at % eights * 8, tap = col / w.x.n_cols;
        float v[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };

        if (w.x.n_cols % 8 == 0) {
            int64_t pixel = tap < w.kh * w.kw ? pixel_of(w, p, tap) : -1;

            if (pixel >= 0) {
                load4(w.x, pixel, col % w.x.n_cols, v);
                load4(w.x, pixel, col % w.x.n_cols + 4, v + 4);
            }
        } else {
            for (int i = 0; i < 8; i++)
                v[i] = value_of(w, p, col + i);
        }
        store4(w.dst, p, col, v);
        store4(w.dst, p, col + 4, v + 4);
    }
}

extern "C" int k_conv_rows(struct tensor *dst, const struct tensor *x, int64_t first, int64_t out_width, int kh, int kw,
                           const struct conv_args *args, cudaStream_t stream)
{
    struct window w = { rows_of(dst), rows_of(x), first,        out_width,     x->dims[0],    x->dims[1],
                        kh,           kw,         args->stride, args->pad_top, args->pad_left };

    return LAUNCH(conv_rows, (unsigned)least(div_up(tensor_count(dst) / 8, THREADS), MAX_BLOCKS), THREADS, 0, stream,
                  w);
}
