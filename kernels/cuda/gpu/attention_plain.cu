/*
 * attention_plain.cu - attention for any head_dim up to 512 and any mixture of types, without tensor cores.
 *
 * Maths      out[i, :] = sum_j p_ij v[j, :] / sum_j p_ij per head, p_ij = exp(l_ij - m_i),
 *            l_ij = scale * q[i, :] . k[j, :] + bias[j - i], m_i = max_j l_ij; causal: only j <= i
 * Shapes     q, out [n_q, n_heads * d], k, v [n_k, n_heads * d], f32 or bf16, rows may have gaps;
 *            bias [n_heads, 2 * max - 1] f32 or none
 * Launch     grid (n_q / 4, n_heads), block (128), no shared memory; one warp owns one query of one head: a lane holds
 *            four values of every 128 of q and of the sum, and reads the keys in groups of four
 * Moves      k and v once a block, from the caches; FLOPs 4 n_q n_k d a head, on the ordinary cores.
 *            For CLIP (77 tokens) and shapes that the flash kernel does not take
 * Numerics   streaming softmax in f32 (largest logit so far, sum and values scaled when it grows); a NaN among the
 *            logits reaches the whole row; rounded once at the store
 * Reference  kernels/plain/attention.c          Test  test_cuda_shim_attention.c, test/gpu/test_ops.c
 * Source     Milakov & Gimelshein 2018; Rabe & Staats 2021
 */
#include "kernels/cuda/gpu/kernel.cuh"

extern "C" {
#include "kernels/backend.h"
}
#include <math.h>

enum { THREADS = 128, WARPS = THREADS / 32, KEYS = 4 };

struct task {
    struct rows out, q, k, v, bias;
    int64_t head_dim;
    float scale;
    bool causal;
};

/* A view of the columns of one head. */
DEVICE struct rows head_of(const struct rows &x, int64_t head, int64_t head_dim)
{
    struct rows h = x;

    h.data += head * head_dim * (x.f32 ? 4 : 2);
    h.n_cols = head_dim;
    h.wide = x.wide && head_dim % 4 == 0;
    return h;
}

/* The state of one warp's softmax after some keys. CHUNKS * 128 >= head_dim. */
template <int CHUNKS> struct running {
    float sum[CHUNKS][4], largest, weight;
};

/* The lane's values of a row; zeros after its end. */
template <int CHUNKS> DEVICE void load_row(const struct rows &x, int64_t row, float v[CHUNKS][4])
{
    for (int c = 0; c < CHUNKS; c++) {
        int col = 128 * c + 4 * (int)(threadIdx.x % 32);

        v[c][0] = v[c][1] = v[c][2] = v[c][3] = 0;
        if (col < x.n_cols)
            load4(x, row, col, v[c]);
    }
}

template <int CHUNKS> DEVICE float dot(float a[CHUNKS][4], float b[CHUNKS][4])
{
    float sum = 0;

    for (int c = 0; c < CHUNKS; c++)
        sum += (a[c][0] * b[c][0] + a[c][1] * b[c][1]) + (a[c][2] * b[c][2] + a[c][3] * b[c][3]);
    return warp_sum(sum);
}

/* Adds four keys from j on; keys from n on are left out. */
template <int CHUNKS>
DEVICE void add_keys(struct running<CHUNKS> &r, const struct rows &v, const float logits[KEYS], int64_t j, int64_t n)
{
    float largest = r.largest, keep, row[CHUNKS][4];

    for (int i = 0; i < KEYS; i++)
        largest = fmaxf(largest, logits[i]);
    keep = r.largest == largest ? 1.0f : expf(r.largest - largest); /* 0 the first time */
    r.largest = largest;
    r.weight *= keep;
    for (int c = 0; c < CHUNKS; c++)
        for (int i = 0; i < 4; i++)
            r.sum[c][i] *= keep;
    for (int key = 0; key < KEYS && j + key < n; key++) {
        float p = expf(logits[key] - largest);

        load_row<CHUNKS>(v, j + key, row);
        r.weight += p;
        for (int c = 0; c < CHUNKS; c++)
            for (int i = 0; i < 4; i++)
                r.sum[c][i] += p * row[c][i];
    }
}

template <int CHUNKS> static __global__ void __launch_bounds__(THREADS, 4) attention_plain(struct task t)
{
    int64_t query = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32, head = blockIdx.y;
    int64_t n = t.causal && query + 1 < t.k.n_rows ? query + 1 : t.k.n_rows;
    struct rows q = head_of(t.q, head, t.head_dim), k = head_of(t.k, head, t.head_dim);
    struct rows v = head_of(t.v, head, t.head_dim), out = head_of(t.out, head, t.head_dim);
    struct running<CHUNKS> r = { {}, -INFINITY, 0 };
    float wanted[CHUNKS][4], row[CHUNKS][4];

    if (query >= t.q.n_rows)
        return; /* the whole warp */
    load_row<CHUNKS>(q, query, wanted);
    for (int64_t j = 0; j < n; j += KEYS) {
        float logits[KEYS] = { -INFINITY, -INFINITY, -INFINITY, -INFINITY };

        for (int i = 0; i < KEYS && j + i < n; i++) {
            load_row<CHUNKS>(k, j + i, row);
            logits[i] = dot<CHUNKS>(wanted, row) * t.scale;
            if (t.bias.data)
                logits[i] += load1(t.bias, head, j + i - query + (t.bias.n_cols - 1) / 2);
        }
        add_keys<CHUNKS>(r, v, logits, j, n);
    }
    for (int c = 0; c < CHUNKS; c++) {
        int64_t col = 128 * c + 4 * (int)(threadIdx.x % 32);

        for (int i = 0; i < 4; i++)
            r.sum[c][i] /= r.weight;
        if (col < t.head_dim)
            store4(out, query, col, r.sum[c]);
    }
}

extern "C" int k_attention_plain(struct tensor *out, const struct tensor *q, const struct tensor *k,
                                 const struct tensor *v, const struct attention_args *args, cudaStream_t stream)
{
    struct task t = { rows_of(out),   rows_of(q),  rows_of(k),  rows_of(v), rows_of(args->rel_bias),
                      args->head_dim, args->scale, args->causal };
    dim3 grid((unsigned)div_up(t.q.n_rows, WARPS), (unsigned)args->n_heads);

    if (args->head_dim <= 128)
        return LAUNCH(attention_plain<1>, grid, THREADS, 0, stream, t);
    if (args->head_dim <= 256)
        return LAUNCH(attention_plain<2>, grid, THREADS, 0, stream, t);
    if (args->head_dim <= K_ATTENTION_MAX_DIM)
        return LAUNCH(attention_plain<4>, grid, THREADS, 0, stream, t);
    return cudaErrorInvalidValue;
}
