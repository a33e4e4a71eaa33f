/*
 * conv_mma.cu - a convolution on tensor cores that reads the picture directly.
 *
 * Maths      y[p, o] = b[o] + sum_{ky, kx, c} x[oy * stride + ky - pad_top, ox * stride + kx - pad_left, c] *
 *            w[o, (ky * kw + kx) * c_in + c] + residual[p, o], 0 outside x; (oy, ox) = pixel p of the output
 * Shapes     x [H, W, c_in], bf16, c_in a multiple of 32; w [c_out, kh * kw * c_in] bf16; b [c_out] f32; y, residual
 *            [H', W', c_out] f32 or bf16; kh, kw of 1 to 3, stride 1 or 2, any H, W and c_out
 * Launch     grid (c_out / CHANNELS, W' / 16, H' / 8), block (128): a block owns 8 x 16 pixels and CHANNELS (128, or 32
 *            where c_out is no more) channels. Blocks of the same pixels are neighbours and share them in the
 *            second-level cache, where the weights of all (4.7 MB at most) stay
 *            A step is 32 channels of one tap. Its copies from memory start two steps ahead:
 *                wait for step t; barrier; start the copies for step t+2; sums += pixels[t] weights[t]'
 *            Its weights, CHANNELS x 32, alternate between three buffers. Its pixels come from a patch of the picture:
 *                WINDOW: 10 x 18 pixels, copied once for all taps (stride 1), in two buffers: a tap is a shift in it
 *                else:   the 8 x 16 pixels that this tap reads (stride 2, or a single tap), in three buffers
 *            Both take 24 KB, 48 KB with the weights: two blocks fit the 100 KB of an sm_89 multiprocessor, so that one
 *            begins or ends while the other computes. A warp owns 64 pixels x 64 channels (32 x 32 of the narrow
 *            form): 128 registers of sums, 64 of fragments, some 20 for addresses (-Xptxas -v: 206 to 211 of the 255 of
 *            two blocks on sm_80, 89 and 90, nothing spilled). A step of a warp is 64 products, 16 reads of fragments,
 *            and about 270 other instructions where a patch begins, 110 elsewhere: 1024 cycles of a tensor core of the
 *            L4 for the products
 * Moves      from the second-level cache, for a block, 32 channels and 9 taps: 180 pixels (11.5 KB) and the weights
 *            (74 KB), so 85 KB for 4.7 M multiplications and sums. Decoding 1024 x 1024 (9.9 TFLOP) reads 88 GB, of
 *            which 77 are weights; from memory x, y and the residual are read or written once
 *            FLOPs 2 H' W' c_out kh kw c_in: bound by the tensor cores
 * Numerics   products bf16, sums f32 that start as the bias; rounded once at the store. The order of all sums is fixed:
 *            the same input gives the same bytes
 * Reference  kernels/plain/conv.c          Test  test_cuda_shim_conv.c, test/gpu/test_ops.c
 */
#include "kernels/cuda/gpu/kernel.cuh"
#include "kernels/cuda/gpu/product_kernels.h"
#include "kernels/cuda/gpu/tile.cuh"

#include <limits.h>

enum { THREADS = 128, ROWS = 8, COLS = 16, STEP = 32, STAGES = 3, NARROW = 32, WIDE = 128, MAX_SIDE = 1 << 18 };

/* The rows of STEP values that the block copies at a time, 16 bytes a thread. */
enum { ROWS_AT_ONCE = THREADS / (STEP / 8) };

struct conv {
    const uint16_t *x, *w;
    const float *bias;
    const char *add; /* NULL: none */
    char *y;
    int height, width, c_in, out_height, out_width, c_out, kh, kw, stride, pad_top, pad_left;
    bool add_f32, y_f32;
    bool paired; /* two values from an even channel are one aligned access in y and the residual */
};

/* One step multiplies STEP channels, from `channel` on, of one tap. */
struct step {
    int ky, kx, channel;
};

DEVICE void next_step(struct step &s, const struct conv &c)
{
    if (++s.kx < c.kw)
        return;
    s.kx = 0;
    if (++s.ky < c.kh)
        return;
    s.ky = 0;
    s.channel += STEP;
}

/* A patch has PATCH_ROWS x PATCH_COLS pixels, and its buffer room for whole rounds of the copy. A warp has M x N
 * fragments of sums. */
template <int CHANNELS, bool WINDOW> struct form {
    enum {
        IS_WINDOW = WINDOW,
        PATCH_ROWS = WINDOW ? ROWS + 2 : ROWS,
        PATCH_COLS = WINDOW ? COLS + 2 : COLS,
        N_PIXELS = PATCH_ROWS * PATCH_COLS,
        ROUNDS = (N_PIXELS + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE,
        PATCH = ROUNDS * ROWS_AT_ONCE * STEP,
        N_PATCHES = WINDOW ? 2 : STAGES,
        WEIGHTS = CHANNELS * STEP,
        SHARED_BYTES = (N_PATCHES * PATCH + STAGES * WEIGHTS) * 2,
        WARPS_ACROSS = CHANNELS == WIDE ? 2 : 1,
        M = ROWS * WARPS_ACROSS * 32 / THREADS,
        N = CHANNELS / WARPS_ACROSS / 8
    };
};

template <class F> struct sums {
    float v[F::M][F::N][4];
};

/* Starts the copy of a patch, whose first pixel is (y, x) of the picture. tile_at() permutes pixels by their column in
 * the patch: PATCH_COLS is even, so eight neighbours of a row are in different groups of banks, whatever the row. */
template <class F> DEVICE void start_patch(uint16_t *patch, const struct conv &c, int y, int x, int channel)
{
    int thread = (int)threadIdx.x, first, eight;

    forget(thread); /* otherwise all addresses of a patch stay in registers between copies */
    first = thread / (STEP / 8), eight = thread % (STEP / 8);
    UNROLLED(i, F::ROUNDS) {
        int pixel = first + i * ROWS_AT_ONCE, row = pixel / F::PATCH_COLS, col = pixel % F::PATCH_COLS;
        int from_y = y + row * c.stride, from_x = x + col * c.stride;
        bool wanted = pixel < F::N_PIXELS && from_y >= 0 && from_y < c.height && from_x >= 0 && from_x < c.width;
        int from = wanted ? (from_y * c.width + from_x) * c.c_in + channel + 8 * eight : 0;

        copy_async_16(patch + row * F::PATCH_COLS * STEP + tile_at<STEP>(col, eight), c.x + from, wanted);
    }
}

/* Starts the copy of a step's weights for the output channels from `first_out` on. */
template <int CHANNELS>
DEVICE void start_weights(uint16_t *to, const struct conv &c, int first_out, const struct step &s)
{
    int row = (int)threadIdx.x / (STEP / 8), eight = (int)threadIdx.x % (STEP / 8);
    int cols = c.kh * c.kw * c.c_in, col = (s.ky * c.kw + s.kx) * c.c_in + s.channel + 8 * eight;

    to += tile_at<STEP>(row, eight);
    UNROLLED(i, CHANNELS / ROWS_AT_ONCE) {
        int out = first_out + row + i * ROWS_AT_ONCE;
        bool wanted = out < c.c_out;

        copy_async_16(to + i * ROWS_AT_ONCE * STEP, c.w + (wanted ? out * cols : 0) + col, wanted);
    }
}

/* The places of a step's patch and weights in shared memory; `stage` is the number of the step modulo STAGES. */
template <class F> DEVICE uint16_t *patch_of(uint16_t *shared, const struct step &s, int stage)
{
    return shared + (F::IS_WINDOW ? s.channel / STEP % 2 : stage) * F::PATCH;
}

template <class F> DEVICE uint16_t *weights_of(uint16_t *shared, int stage)
{
    return shared + F::N_PATCHES * F::PATCH + stage * F::WEIGHTS;
}

/* Starts the copies for step s, none after the last step; makes one group of copies in any case. */
template <int CHANNELS, bool WINDOW>
DEVICE void start_step(uint16_t *shared, const struct conv &c, const struct step &s, int stage)
{
    using F = form<CHANNELS, WINDOW>;
    int y = (int)blockIdx.z * ROWS * c.stride - c.pad_top, x = (int)blockIdx.y * COLS * c.stride - c.pad_left;

    if (s.channel < c.c_in) {
        start_weights<CHANNELS>(weights_of<F>(shared, stage), c, (int)blockIdx.x * CHANNELS, s);
        if (!WINDOW)
            start_patch<F>(patch_of<F>(shared, s, stage), c, y + s.ky, x + s.kx, s.channel);
        else if (s.ky == 0 && s.kx == 0)
            start_patch<F>(patch_of<F>(shared, s, stage), c, y, x, s.channel);
    }
    copy_async_group();
}

/* sums += pixels weights'. `patch` points to the row that the warp's first row of pixels reads; col is the lane's
 * column in it. A fragment of 16 pixels is one row of the block. */
template <class F>
DEVICE void multiply(struct sums<F> &sum, const uint16_t *patch, int col, const uint16_t *weights, int lane)
{
    int a_at = tile_at<STEP>(col, lane / 16), b_at = tile_at<STEP>(lane / 16 * 8 + lane % 8, lane / 8 % 2);

    UNROLLED(k, STEP / 16) {
        uint32_t a[F::M][4], b[F::N / 2][4];

        UNROLLED(m, F::M)
            load_matrices(a[m], patch + (a_at ^ 16 * k) + m * F::PATCH_COLS * STEP);
        UNROLLED(n, F::N / 2)
            load_matrices(b[n], weights + (b_at ^ 16 * k) + 16 * n * STEP);
        UNROLLED(n, F::N / 2)
            UNROLLED(m, F::M) {
                matrix_product(sum.v[m][2 * n], a[m], b[n][0], b[n][1]);
                matrix_product(sum.v[m][2 * n + 1], a[m], b[n][2], b[n][3]);
            }
    }
}

DEVICE void load_pair(float v[2], const float *from)
{
    float2 pair = *(const float2 *)from;

    v[0] = pair.x, v[1] = pair.y;
}

DEVICE void load_pair(float v[2], const uint16_t *from)
{
    uint32_t pair = *(const uint32_t *)from;

    v[0] = bf16_low(pair), v[1] = bf16_high(pair);
}

DEVICE float load_one(const float *from)
{
    return *from;
}

DEVICE float load_one(const uint16_t *from)
{
    return bf16_low(*from);
}

DEVICE void store_pair(float *to, const float v[2])
{
    *(float2 *)to = make_float2(v[0], v[1]);
}

DEVICE void store_pair(uint16_t *to, const float v[2])
{
    *(uint32_t *)to = bf16_pair(v[0], v[1]);
}

DEVICE void store_one(float *to, float v)
{
    *to = v;
}

DEVICE void store_one(uint16_t *to, float v)
{
    *to = (uint16_t)bf16_pair(v, 0);
}

/* The place of a lane's sums in the output: pixels x and x + 8 of the rows from y on, two neighbouring channels. */
struct place {
    int y, x, channel;
};

/* Sums start as the bias. Where there is no value, a load takes another valid address, so that it needs no branch and
 * many loads run at once. */
template <class F> DEVICE void start_sums(struct sums<F> &sum, const struct conv &c, const struct place &p)
{
    UNROLLED(n, F::N)
        UNROLLED(i, 2) {
            int out = p.channel + 8 * n + i;
            float b = c.bias[out < c.c_out ? out : 0];

            UNROLLED(m, F::M)
                sum.v[m][n][i] = sum.v[m][n][2 + i] = b;
        }
}

/* The index of the lane's first value of y in a row and half of a fragment; -1 outside the picture. */
DEVICE int64_t value_at(const struct conv &c, const struct place &p, int m, int half)
{
    int y = p.y + m, x = p.x + 8 * half;

    return y < c.out_height && x < c.out_width ? ((int64_t)y * c.out_width + x) * c.c_out + p.channel : -1;
}

/* Adds the residual and stores in aligned pairs, for a warp whose channels all exist. It works a row at a time: the
 * loads of a row run at once, and those of the next row stay behind its stores, which might be to the same memory.
 * Otherwise the loads would take all registers. */
template <class F, class R, class T>
DEVICE void finish(struct sums<F> &sum, const struct conv &c, const struct place &p, const R *residual, T *y)
{
    UNROLLED(m, F::M) {
        int64_t at[2] = { value_at(c, p, m, 0), value_at(c, p, m, 1) };

        if (residual)
            UNROLLED(half, 2)
                UNROLLED(n, F::N) {
                    float v[2];

                    load_pair(v, residual + (at[half] < 0 ? p.channel : at[half]) + 8 * n);
                    sum.v[m][n][2 * half] += v[0];
                    sum.v[m][n][2 * half + 1] += v[1];
                }
        UNROLLED(half, 2)
            if (at[half] >= 0)
                UNROLLED(n, F::N)
                    store_pair(y + at[half] + 8 * n, &sum.v[m][n][2 * half]);
    }
}

/* Adds the residual and stores one value at a time, for channels that end within a warp and for unaligned tensors. */
template <class F, class R, class T>
DEVICE void finish_slowly(struct sums<F> &sum, const struct conv &c, const struct place &p, const R *residual, T *y)
{
    UNROLLED(m, F::M)
        UNROLLED(half, 2) {
            int64_t at = value_at(c, p, m, half);
            int left = at < 0 ? 0 : c.c_out - p.channel;

            UNROLLED(n, F::N)
                UNROLLED(i, 2)
                    if (8 * n + i < left)
                        store_one(y + at + 8 * n + i,
                                  sum.v[m][n][2 * half + i] + (residual ? load_one(residual + at + 8 * n + i) : 0.0f));
        }
}

template <class F, class R>
DEVICE void finish(struct sums<F> &sum, const struct conv &c, const struct place &p, bool whole, const R *residual)
{
    if (whole && c.y_f32)
        finish(sum, c, p, residual, (float *)c.y);
    else if (whole)
        finish(sum, c, p, residual, (uint16_t *)c.y);
    else if (c.y_f32)
        finish_slowly(sum, c, p, residual, (float *)c.y);
    else
        finish_slowly(sum, c, p, residual, (uint16_t *)c.y);
}

template <int CHANNELS, bool WINDOW> static __global__ void __launch_bounds__(THREADS, 2) conv_mma(struct conv c)
{
    using F = form<CHANNELS, WINDOW>;
    DYNAMIC_SHARED(uint16_t, shared);
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    int warp_row = warp / F::WARPS_ACROSS * F::M, warp_out = warp % F::WARPS_ACROSS * F::N * 8, stage = 0;
    struct place place = { (int)blockIdx.z * ROWS + warp_row, (int)blockIdx.y * COLS + lane / 4,
                           (int)blockIdx.x * CHANNELS + warp_out + 2 * (lane % 4) };
    struct step ahead = { 0, 0, 0 };
    struct sums<F> sum;
    bool whole;

    UNROLLED(i, STAGES - 1) {
        start_step<CHANNELS, WINDOW>(shared, c, ahead, i);
        next_step(ahead, c);
    }
    start_sums(sum, c, place);
    for (struct step s = { 0, 0, 0 }; s.channel < c.c_in; next_step(s, c)) {
        const uint16_t *patch = patch_of<F>(shared, s, stage), *weights = weights_of<F>(shared, stage);
        int row = warp_row + (WINDOW ? s.ky : 0), col = lane % 16 + (WINDOW ? s.kx : 0);

        copy_async_wait_but<STAGES - 2>();
        __syncthreads(); /* this step's data have arrived, and no warp reads those of the previous step any more */
        start_step<CHANNELS, WINDOW>(shared, c, ahead, stage == 0 ? STAGES - 1 : stage - 1);
        next_step(ahead, c);
        multiply<F>(sum, patch + row * F::PATCH_COLS * STEP, col, weights + warp_out * STEP, lane);
        stage = stage == STAGES - 1 ? 0 : stage + 1;
    }
    whole = c.paired && (int)blockIdx.x * CHANNELS + warp_out + F::N * 8 <= c.c_out;
    if (c.add_f32)
        finish(sum, c, place, whole, (const float *)c.add);
    else
        finish(sum, c, place, whole, (const uint16_t *)c.add);
}

template <int CHANNELS, bool WINDOW> static int conv_launch(const struct conv &c, cudaStream_t stream)
{
    dim3 grid((unsigned)div_up(c.c_out, CHANNELS), (unsigned)div_up(c.out_width, COLS),
              (unsigned)div_up(c.out_height, ROWS));
    auto kernel = conv_mma<CHANNELS, WINDOW>;
    size_t shared_bytes = form<CHANNELS, WINDOW>::SHARED_BYTES;

    return LAUNCH(kernel, grid, THREADS, shared_bytes, stream, c);
}

static bool aligned(const struct tensor *t, uintptr_t bytes)
{
    return (uintptr_t)t->data % bytes == 0;
}

/*
 * Indices into x and the weights are 32 bits wide, and MAX_SIDE keeps the number of blocks within the limits of a grid.
 */
extern "C" bool k_conv_mma_fits(const struct tensor *x, const struct conv_weight *w)
{
    return x->dtype == DT_BF16 && aligned(x, 16) && (uintptr_t)w->data % 16 == 0 && w->c_in % STEP == 0 && w->kh <= 3 &&
           w->kw <= 3 && x->dims[0] <= MAX_SIDE && x->dims[1] <= MAX_SIDE && tensor_count(x) <= INT_MAX &&
           (int64_t)w->c_out * w->kh * w->kw * w->c_in <= INT_MAX;
}

extern "C" int k_conv_mma(struct tensor *y, const struct tensor *x, const struct conv_weight *w,
                          const struct tensor *bias, const struct conv_args *args, cudaStream_t stream)
{
    const struct tensor *residual = args->residual;
    bool window = args->stride == 1 && w->kh * w->kw > 1;
    struct conv c = {};

    c.x = (const uint16_t *)x->data, c.height = (int)x->dims[0], c.width = (int)x->dims[1];
    c.w = (const uint16_t *)w->data, c.c_in = w->c_in, c.c_out = w->c_out, c.kh = w->kh, c.kw = w->kw;
    c.y = (char *)y->data, c.y_f32 = y->dtype == DT_F32;
    c.out_height = (int)y->dims[0], c.out_width = (int)y->dims[1];
    c.bias = (const float *)bias->data;
    c.add = residual ? (const char *)residual->data : NULL, c.add_f32 = residual && residual->dtype == DT_F32;
    c.stride = args->stride, c.pad_top = args->pad_top, c.pad_left = args->pad_left;
    c.paired = w->c_out % 2 == 0 && aligned(y, 8) && (!residual || aligned(residual, 8));
    if (w->c_out <= NARROW)
        return window ? conv_launch<NARROW, true>(c, stream) : conv_launch<NARROW, false>(c, stream);
    return window ? conv_launch<WIDE, true>(c, stream) : conv_launch<WIDE, false>(c, stream);
}
