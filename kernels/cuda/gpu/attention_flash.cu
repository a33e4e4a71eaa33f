/*
 * attention_flash.cu - attention on tensor cores, for heads of 64 or 128, without a matrix of logits in memory.
 *
 * Maths      as attention_plain.cu, not causal; p in powers of two: p_ij = 2^(l_ij log2(e) - m_i)
 * Shapes     q, out [n_q, n_heads * D], k, v [n_k, n_heads * D] bf16, rows may have gaps of whole 16 bytes;
 *            bias [n_heads, 2 * max - 1] f32 or none; n_q, n_k of 1 to 2^30
 * Launch     grid (n_q / 128, n_heads), block (128): neighbouring blocks work on one head, whose k and v stay in the
 *            second-level cache. A warp owns 32 queries: two tiles of 16, so that a fragment of k or v read from shared
 *            memory serves two products. Keys come in tiles of KEYS:
 *                wait for k[t]; start v[t]; s = q k[t]'; wait for v[t]; start k[t+1]; softmax; out += p v[t]
 *            so each copy from memory runs under a product. Shared memory is q + k + v = (128 + 2 KEYS) * 2 D bytes:
 *            48 KB (D 128, KEYS 32) or 32 KB (D 64, KEYS 64): two blocks fit the 100 KB of an sm_89 multiprocessor.
 *            Registers a thread at D 128: out 2 x 16 x 4 = 128, s 2 x 4 x 4 = 32, and about 80 for fragments and
 *            addresses: within the 255 of two blocks (-Xptxas -v: nothing is spilled on sm_80, 89 and 90).
 *            KEYS 64 would read q half as often, but s would take 32 more and spill. One round of the loop is 710
 *            instructions a warp, 128 of them products: 2048 cycles of a tensor core of the L4
 * Moves      q and out once; k and v once a block of 128 queries: at 4608 tokens, 24 heads of 128 2 GB from the
 *            second-level cache. FLOPs 4 n_q n_k D a head = 261 G: bound by the tensor cores
 * Numerics   products bf16 with f32 sums; largest logit, sum of p and out in f32, p rounded to bf16 for the second
 *            product only; rounded once at the store. A NaN among the logits reaches the whole row. The order of all
 *            sums is fixed: the same input gives the same bytes
 * Reference  kernels/plain/attention.c          Test  test_cuda_shim_attention.c, test/gpu/test_ops.c
 * Source     Dao 2023 (FlashAttention-2)
 */
#include "kernels/cuda/gpu/kernel.cuh"
#include "kernels/cuda/gpu/tile.cuh"

extern "C" {
#include "kernels/backend.h"
}
#include <limits.h>
#include <math.h>

enum { THREADS = 128, WARP_QUERIES = 32, QUERIES = THREADS / 32 * WARP_QUERIES, MAX_TOKENS = 1 << 30 };

static const float log2_e = 1.44269504088896341f;

struct flash {
    const uint16_t *q, *k, *v;
    uint16_t *out;
    int q_stride, k_stride, v_stride, out_stride, n_q, n_k;
    const float *bias; /* NULL: none */
    int bias_cols;
    float scale;
};

/* Starts the copy of N_ROWS rows from `first` on; rows from n on become zeros. A thread copies one column of every
 * eighth (or sixteenth) row: tile_at() permutes the columns of those rows alike, so its targets are a constant apart.
 */
template <int N_ROWS, int D>
DEVICE void start_copy(uint16_t *tile, const uint16_t *matrix, int stride, int first, int n)
{
    enum { ROWS_AT_ONCE = THREADS / (D / 8) };
    int row = (int)threadIdx.x / (D / 8), eight = (int)threadIdx.x % (D / 8);
    uint16_t *to = tile + tile_at<D>(row, eight);

    UNROLLED(i, N_ROWS / ROWS_AT_ONCE) {
        int from = first + row + i * ROWS_AT_ONCE;
        bool wanted = from < n;

        copy_async_16(to + i * ROWS_AT_ONCE * D, matrix + (int64_t)(wanted ? from : 0) * stride + eight * 8, wanted);
    }
}

/* A warp's state for its two tiles of 16 queries: fragments of 16 x 8, each with four values a lane (isa.cuh); and for
 * the queries lane/4 and lane/4 + 8 of each tile, the largest logit so far and the lane's part of the sum of p. */
template <int D, int KEYS> struct warp_tiles {
    float s[2][KEYS / 8][4], out[2][D / 8][4], largest[2][2], weight[2][2];
};

/* s = q k' */
template <int D, int KEYS>
DEVICE void logits(struct warp_tiles<D, KEYS> &w, const uint16_t *q, const uint16_t *k, int lane)
{
    int q_at = tile_at<D>(lane % 16, lane / 16), k_at = tile_at<D>(lane / 16 * 8 + lane % 8, lane / 8 % 2);

    UNROLLED(m, 2)
        UNROLLED(n, KEYS / 8)
            w.s[m][n][0] = w.s[m][n][1] = w.s[m][n][2] = w.s[m][n][3] = 0;
    UNROLLED(step, D / 16) {
        uint32_t a[2][4], b[4];

        UNROLLED(m, 2)
            load_matrices(a[m], q + (q_at ^ 16 * step) + 16 * m * D);
        UNROLLED(n, KEYS / 16) {
            load_matrices(b, k + (k_at ^ 16 * step) + 16 * n * D);
            UNROLLED(m, 2) {
                matrix_product(w.s[m][2 * n], a[m], b[0], b[1]);
                matrix_product(w.s[m][2 * n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

/* Adds the bias and converts logits to powers of two; logits after the last key become -infinity. `query` and `key`
 * number the lane's first value. */
template <int D, int KEYS, bool BIAS>
DEVICE void bias_and_end(struct warp_tiles<D, KEYS> &w, const struct flash &f, const float *bias, int query, int key)
{
    UNROLLED(m, 2)
        UNROLLED(n, KEYS / 8)
            UNROLLED(i, 4) {
                int from = query + 16 * m + i / 2 * 8, to = key + 8 * n + i % 2;

                if (to >= f.n_k)
                    w.s[m][n][i] = -INFINITY;
                else if (BIAS && from < f.n_q)
                    w.s[m][n][i] = fmaf(w.s[m][n][i], f.scale, bias[to - from]) * log2_e;
            }
}

/* s becomes p, relative to the largest logit so far; earlier sums are rescaled to it. `unit` converts s to powers of
 * two. Four neighbouring lanes share a row of a fragment, and so a query. */
template <int D, int KEYS> DEVICE void softmax(struct warp_tiles<D, KEYS> &w, float unit)
{
    UNROLLED(m, 2)
        UNROLLED(half, 2) {
            float largest = w.largest[m][half], keep, sum = 0;

            UNROLLED(n, KEYS / 8)
                largest = fmaxf(largest, fmaxf(w.s[m][n][2 * half], w.s[m][n][2 * half + 1]));
            largest = fmaxf(largest, lane_xor(largest, 1));
            largest = fmaxf(largest, lane_xor(largest, 2));
            keep = exp2_fast((w.largest[m][half] - largest) * unit); /* 0 the first time */
            w.largest[m][half] = largest;
            UNROLLED(n, KEYS / 8)
                UNROLLED(i, 2) {
                    float *s = &w.s[m][n][2 * half + i];

                    *s = exp2_fast(fmaf(*s, unit, -largest * unit));
                    sum += *s;
                }
            w.weight[m][half] = w.weight[m][half] * keep + sum;
            UNROLLED(n, D / 8) {
                w.out[m][n][2 * half] *= keep;
                w.out[m][n][2 * half + 1] *= keep;
            }
        }
}

/*
 * out += p v. Two neighbouring 16 x 8 fragments of s, rounded, form one 16 x 16 fragment of p in the layout of operand
 * `a` (isa.cuh).
 */
template <int D, int KEYS> DEVICE void values(struct warp_tiles<D, KEYS> &w, const uint16_t *v, int lane)
{
    int v_at = tile_at<D>(lane % 16, lane / 16);

    UNROLLED(step, KEYS / 16) {
        uint32_t p[2][4], b[4];

        UNROLLED(m, 2)
            UNROLLED(i, 4)
                p[m][i] = bf16_pair(w.s[m][2 * step + i / 2][i % 2 * 2], w.s[m][2 * step + i / 2][i % 2 * 2 + 1]);
        UNROLLED(n, D / 16) {
            load_matrices_transposed(b, v + (v_at ^ 16 * n) + 16 * step * D);
            UNROLLED(m, 2) {
                matrix_product(w.out[m][2 * n], p[m], b[0], b[1]);
                matrix_product(w.out[m][2 * n + 1], p[m], b[2], b[3]);
            }
        }
    }
}

/* Writes out / sum of p, by way of the warp's own rows of the tile of q, so that memory is written in whole rows. */
template <int D, int KEYS>
DEVICE void finish(struct warp_tiles<D, KEYS> &w, const struct flash &f, uint16_t *tile, int head, int first, int lane)
{
    UNROLLED(m, 2)
        UNROLLED(half, 2) {
            float weight = w.weight[m][half];
            int row = 16 * m + 8 * half + lane / 4;

            weight += lane_xor(weight, 1);
            weight += lane_xor(weight, 2);
            weight = 1.0f / weight;
            UNROLLED(n, D / 8)
                *(uint32_t *)(tile + tile_at<D>(row, n) + 2 * (lane % 4)) =
                    bf16_pair(w.out[m][n][2 * half] * weight, w.out[m][n][2 * half + 1] * weight);
        }
    __syncwarp();
    UNROLLED(i, WARP_QUERIES * D / 8 / 32) {
        int row = (32 * i + lane) / (D / 8), eight = (32 * i + lane) % (D / 8);

        if (first + row < f.n_q)
            *(uint4 *)(f.out + (int64_t)(first + row) * f.out_stride + head * D + eight * 8) =
                *(const uint4 *)(tile + tile_at<D>(row, eight));
    }
}

template <int D, int KEYS, bool BIAS>
static __global__ void __launch_bounds__(THREADS, 2) attention_flash(struct flash f)
{
    DYNAMIC_SHARED(uint16_t, shared);
    int lane = (int)threadIdx.x % 32, warp_row = (int)threadIdx.x / 32 * WARP_QUERIES;
    int head = (int)blockIdx.y, block_query = (int)blockIdx.x * QUERIES, query = block_query + warp_row;
    uint16_t *q = shared, *k = q + QUERIES * D, *v = k + KEYS * D, *warp_q = q + warp_row * D;
    const uint16_t *k_head = f.k + head * D, *v_head = f.v + head * D;
    const float *bias = BIAS ? f.bias + (int64_t)head * f.bias_cols + (f.bias_cols - 1) / 2 : NULL;
    float unit = BIAS ? 1.0f : f.scale * log2_e;
    struct warp_tiles<D, KEYS> w;

    UNROLLED(m, 2) {
        w.largest[m][0] = w.largest[m][1] = -INFINITY;
        w.weight[m][0] = w.weight[m][1] = 0;
        UNROLLED(n, D / 8)
            w.out[m][n][0] = w.out[m][n][1] = w.out[m][n][2] = w.out[m][n][3] = 0;
    }
    start_copy<QUERIES, D>(q, f.q + head * D, f.q_stride, block_query, f.n_q);
    start_copy<KEYS, D>(k, k_head, f.k_stride, 0, f.n_k);
    for (int key = 0; key < f.n_k; key += KEYS) {
        forget(lane); /* otherwise precomputed addresses take the registers */
        copy_async_wait();
        __syncthreads(); /* k has arrived, and no warp reads the previous v any more */
        start_copy<KEYS, D>(v, v_head, f.v_stride, key, f.n_k);
        logits<D, KEYS>(w, warp_q, k, lane);
        copy_async_wait();
        __syncthreads(); /* v has arrived, and no warp reads k any more */
        if (key + KEYS < f.n_k)
            start_copy<KEYS, D>(k, k_head, f.k_stride, key + KEYS, f.n_k);
        if (BIAS || key + KEYS > f.n_k)
            bias_and_end<D, KEYS, BIAS>(w, f, bias, query + lane / 4, key + 2 * (lane % 4));
        softmax<D, KEYS>(w, unit);
        values<D, KEYS>(w, v, lane);
    }
    finish<D, KEYS>(w, f, warp_q, head, query, lane);
}

template <int D, int KEYS, bool BIAS> static int flash_launch(const struct flash &f, int n_heads, cudaStream_t stream)
{
    size_t shared_bytes = (QUERIES + 2 * KEYS) * D * sizeof(uint16_t);
    dim3 grid((unsigned)div_up(f.n_q, QUERIES), (unsigned)n_heads);
    auto kernel = attention_flash<D, KEYS, BIAS>;
    int rc = ALLOW_SHARED(kernel, shared_bytes);

    return rc ? rc : LAUNCH(kernel, grid, THREADS, shared_bytes, stream, f);
}

static bool is_flash_operand(const struct tensor *t)
{
    return t->dtype == DT_BF16 && (uintptr_t)t->data % 16 == 0 && (tensor_rows(t) == 1 || t->row_stride % 8 == 0) &&
           tensor_rows(t) <= MAX_TOKENS && t->row_stride <= INT_MAX;
}

extern "C" bool k_attention_flash_fits(const struct tensor *out, const struct tensor *q, const struct tensor *k,
                                       const struct tensor *v, const struct attention_args *args)
{
    return (args->head_dim == 64 || args->head_dim == 128) && !args->causal && args->scale > 0 &&
           is_flash_operand(out) && is_flash_operand(q) && is_flash_operand(k) && is_flash_operand(v);
}

extern "C" int k_attention_flash(struct tensor *out, const struct tensor *q, const struct tensor *k,
                                 const struct tensor *v, const struct attention_args *args, cudaStream_t stream)
{
    const struct tensor *bias = args->rel_bias;
    struct flash f = {};

    f.q = (const uint16_t *)q->data, f.q_stride = (int)q->row_stride, f.n_q = (int)tensor_rows(q);
    f.k = (const uint16_t *)k->data, f.k_stride = (int)k->row_stride, f.n_k = (int)tensor_rows(k);
    f.v = (const uint16_t *)v->data, f.v_stride = (int)v->row_stride;
    f.out = (uint16_t *)out->data, f.out_stride = (int)out->row_stride;
    f.bias = bias ? (const float *)bias->data : NULL, f.bias_cols = bias ? (int)tensor_cols(bias) : 0;
    f.scale = args->scale;
    if (args->head_dim == 64)
        return bias ? flash_launch<64, 64, true>(f, args->n_heads, stream)
                    : flash_launch<64, 64, false>(f, args->n_heads, stream);
    return bias ? flash_launch<128, 32, true>(f, args->n_heads, stream)
                : flash_launch<128, 32, false>(f, args->n_heads, stream);
}
