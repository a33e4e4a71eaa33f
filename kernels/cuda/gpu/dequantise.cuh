/*
 * dequantise - expands eight neighbouring values of any storage type, and one tile of a row by one block of threads.
 *
 * A tile is 2048 values, in every type a multiple of 16 bytes. So the tiles of an aligned row are read with 16-byte
 * accesses into shared memory, where the odd sizes of the blocks (18, 22, 34, 110, 210 bytes) do no harm; then each
 * thread expands eight values and writes them with 16-byte accesses.
 *
 * Layouts and order of the arithmetic: MODEL.md 3.4, kernels/quant.c. Products that go into a sum are kept
 * apart from it (__fmul_rn), so that the f32 values are those of the reference bit for bit.
 */
#ifndef KERNELS_CUDA_GPU_DEQUANTISE_CUH
#define KERNELS_CUDA_GPU_DEQUANTISE_CUH

#include "kernels/cuda/gpu/kernel.cuh"

enum { TILE_VALUES = 2048, TILE_THREADS = TILE_VALUES / 8 };

enum {
#define X(id, name, elems, bytes) id##_ELEMS = elems, id##_BYTES = bytes,
    DTYPE_MAP(X)
#undef X
};

/* All blocks but those of one-byte floats have an even size, so 16-bit words in them are aligned. */
DEVICE uint32_t u16_at(const uint8_t *p)
{
    return *(const uint16_t *)p;
}

DEVICE uint32_t u32_at(const uint8_t *p)
{
    return u16_at(p) | u16_at(p + 2) << 16;
}

DEVICE float half_at(const uint8_t *p)
{
    return half_value((uint16_t)u16_at(p));
}

/* E4M3 has no infinities. A multiplication corrects the exponent: it is exact and also right for subnormals. */
DEVICE float f8_value(uint32_t b)
{
    float magnitude = __uint_as_float((b & 0x7f) << 20) * 0x1p120f;
    uint32_t nan = (b & 0x7f) == 0x7f ? 0x7fc00000u : 0;

    return __uint_as_float(__float_as_uint(magnitude) | nan | (b & 0x80) << 24);
}

/* The table of IQ4 packed as bytes, lowest first: -127 -104 -83 -65 -49 -35 -22 -10, 1 13 25 38 53 69 89 113. */
DEVICE float iq4_value(uint32_t q)
{
    uint64_t eight = q & 8 ? 0x7159453526190d01u : 0xf6eaddcfbfad9881u;

    return (float)(int8_t)(eight >> 8 * (q & 7));
}

/* v = d * q, and v = d * q + m with each operation rounded. */
DEVICE void scaled(float v[8], const int q[8], float d)
{
    for (int i = 0; i < 8; i++)
        v[i] = (float)q[i] * d;
}

DEVICE void scaled_and_moved(float v[8], const int q[8], float d, float m)
{
    for (int i = 0; i < 8; i++)
        v[i] = __fmul_rn((float)q[i], d) + m;
}

/* Extracts one bit field from each of eight bytes. */
DEVICE void fields(int q[8], const uint8_t *bytes, int shift, int mask)
{
    for (int i = 0; i < 8; i += 2) {
        uint32_t two = u16_at(bytes + i) >> shift;

        q[i] = (int)two & mask;
        q[i + 1] = (int)(two >> 8) & mask;
    }
}

DEVICE void add_bits(int q[8], const uint8_t *bytes, int bit, int weight)
{
    for (int i = 0; i < 8; i++)
        q[i] += (bytes[i] >> bit & 1) * weight;
}

/*
 * eight_TYPE(b, j, v): values 8j .. 8j+7 of the block at b. In blocks of 32 the low halves of 16 bytes come first, then
 * the high halves; super-blocks are read as runs of 16 or 32 values that share a scale.
 * Types without blocks: b is the first of the eight.
 */
DEVICE void eight_f32(const uint8_t *b, int, float v[8])
{
    for (int i = 0; i < 8; i++)
        v[i] = ((const float *)b)[i];
}

DEVICE void eight_f16(const uint8_t *b, int, float v[8])
{
    for (int i = 0; i < 8; i++)
        v[i] = half_at(b + 2 * i);
}

DEVICE void eight_bf16(const uint8_t *b, int, float v[8])
{
    for (int i = 0; i < 8; i++)
        v[i] = bf16_low(u16_at(b + 2 * i));
}

DEVICE void eight_f8_e4m3(const uint8_t *b, int, float v[8])
{
    for (int i = 0; i < 8; i++)
        v[i] = f8_value(b[i]);
}

/* E5M2 is the upper byte of a half. */
DEVICE void eight_f8_e5m2(const uint8_t *b, int, float v[8])
{
    for (int i = 0; i < 8; i++)
        v[i] = half_value((uint16_t)(b[i] << 8));
}

DEVICE void eight_q8_0(const uint8_t *b, int j, float v[8])
{
    float d = half_at(b);

    for (int i = 0; i < 8; i += 2) {
        uint32_t two = u16_at(b + 2 + 8 * j + i);

        v[i] = (float)(int8_t)two * d;
        v[i + 1] = (float)(int8_t)(two >> 8) * d;
    }
}

DEVICE void eight_q4_0(const uint8_t *b, int j, float v[8])
{
    int q[8];

    fields(q, b + 2 + 8 * (j & 1), 4 * (j >> 1), 15);
    for (int i = 0; i < 8; i++)
        q[i] -= 8;
    scaled(v, q, half_at(b));
}

DEVICE void eight_q4_1(const uint8_t *b, int j, float v[8])
{
    int q[8];

    fields(q, b + 4 + 8 * (j & 1), 4 * (j >> 1), 15);
    scaled_and_moved(v, q, half_at(b), half_at(b + 2));
}

/* The fifth bits of a block of Q5 are one word, in the order of the values. */
DEVICE void fields_5(int q[8], const uint8_t *qh, const uint8_t *qs, int j)
{
    uint32_t high = u32_at(qh) >> 8 * j;

    fields(q, qs + 8 * (j & 1), 4 * (j >> 1), 15);
    for (int i = 0; i < 8; i++)
        q[i] |= (int)(high >> i & 1) << 4;
}

DEVICE void eight_q5_0(const uint8_t *b, int j, float v[8])
{
    int q[8];

    fields_5(q, b + 2, b + 6, j);
    for (int i = 0; i < 8; i++)
        q[i] -= 16;
    scaled(v, q, half_at(b));
}

DEVICE void eight_q5_1(const uint8_t *b, int j, float v[8])
{
    int q[8];

    fields_5(q, b + 4, b + 8, j);
    scaled_and_moved(v, q, half_at(b), half_at(b + 2));
}

DEVICE void eight_q2_k(const uint8_t *b, int j, float v[8])
{
    int run = j >> 1, q[8];
    float scale = half_at(b + 80) * (float)(b[run] & 15), min = __fmul_rn(half_at(b + 82), (float)(b[run] >> 4));

    fields(q, b + 16 + 32 * (run >> 3) + 16 * (run & 1) + 8 * (j & 1), 2 * (run >> 1 & 3), 3);
    scaled_and_moved(v, q, scale, -min);
}

DEVICE void eight_q3_k(const uint8_t *b, int j, float v[8])
{
    const uint8_t *s = b + 96;
    int run = j >> 1, n = run >> 3, pair = run >> 1 & 3, at = 16 * (run & 1) + 8 * (j & 1), q[8];
    int low = run < 8 ? s[run] & 15 : s[run - 8] >> 4, high = s[8 + (run & 3)] >> 2 * (run >> 2) & 3;

    fields(q, b + 32 + 32 * n + at, 2 * pair, 3);
    add_bits(q, b + at, 4 * n + pair, 4);
    for (int i = 0; i < 8; i++)
        q[i] -= 4;
    scaled(v, q, half_at(b + 108) * (float)((low | high << 4) - 32));
}

/* The eight 6-bit scales and minima that Q4_K and Q5_K keep in twelve bytes. */
DEVICE void scale_min(const uint8_t *t, int s, float *scale, float *min)
{
    bool first = s < 4;

    *scale = (float)(first ? t[s] & 63 : (t[s + 4] & 15) | t[s - 4] >> 6 << 4);
    *min = (float)(first ? t[s + 4] & 63 : t[s + 4] >> 4 | t[s] >> 6 << 4);
}

DEVICE void eight_q4_k(const uint8_t *b, int j, float v[8])
{
    int s = j >> 2, q[8];
    float scale, min;

    scale_min(b + 4, s, &scale, &min);
    fields(q, b + 16 + 32 * (s >> 1) + 8 * (j & 3), 4 * (s & 1), 15);
    scaled_and_moved(v, q, scale * half_at(b), -__fmul_rn(min, half_at(b + 2)));
}

DEVICE void eight_q5_k(const uint8_t *b, int j, float v[8])
{
    int s = j >> 2, q[8];
    float scale, min;

    scale_min(b + 4, s, &scale, &min);
    fields(q, b + 48 + 32 * (s >> 1) + 8 * (j & 3), 4 * (s & 1), 15);
    add_bits(q, b + 16 + 8 * (j & 3), s, 16);
    scaled_and_moved(v, q, scale * half_at(b), -__fmul_rn(min, half_at(b + 2)));
}

DEVICE void eight_q6_k(const uint8_t *b, int j, float v[8])
{
    int run = j >> 1, n = run >> 3, g = run >> 1 & 3, at = 16 * (run & 1) + 8 * (j & 1), low[8], high[8];

    fields(low, b + 64 * n + 32 * (g & 1) + at, 4 * (g >> 1), 15);
    fields(high, b + 128 + 32 * n + at, 2 * g, 3);
    for (int i = 0; i < 8; i++)
        low[i] = (low[i] | high[i] << 4) - 32;
    scaled(v, low, half_at(b + 208) * (float)(int8_t)b[192 + run]);
}

DEVICE void eight_iq4_nl(const uint8_t *b, int j, float v[8])
{
    float d = half_at(b);
    int q[8];

    fields(q, b + 2 + 8 * (j & 1), 4 * (j >> 1), 15);
    for (int i = 0; i < 8; i++)
        v[i] = d * iq4_value((uint32_t)q[i]);
}

DEVICE void eight_iq4_xs(const uint8_t *b, int j, float v[8])
{
    int s = j >> 2, q[8];
    int scale = (b[4 + (s >> 1)] >> 4 * (s & 1) & 15) | (int)(u16_at(b + 2) >> 2 * s & 3) << 4;
    float d = half_at(b) * (float)(scale - 32);

    fields(q, b + 8 + 16 * s + 8 * (j & 1), 4 * (j >> 1 & 1), 15);
    for (int i = 0; i < 8; i++)
        v[i] = d * iq4_value((uint32_t)q[i]);
}

/* Storage types that hold numbers, each with its function. */
#define LAYOUTS(X)               \
    X(DT_F32, eight_f32)         \
    X(DT_F16, eight_f16)         \
    X(DT_BF16, eight_bf16)       \
    X(DT_F8_E4M3, eight_f8_e4m3) \
    X(DT_F8_E5M2, eight_f8_e5m2) \
    X(DT_Q8_0, eight_q8_0)       \
    X(DT_Q4_0, eight_q4_0)       \
    X(DT_Q4_1, eight_q4_1)       \
    X(DT_Q5_0, eight_q5_0)       \
    X(DT_Q5_1, eight_q5_1)       \
    X(DT_Q2_K, eight_q2_k)       \
    X(DT_Q3_K, eight_q3_k)       \
    X(DT_Q4_K, eight_q4_k)       \
    X(DT_Q5_K, eight_q5_k)       \
    X(DT_Q6_K, eight_q6_k)       \
    X(DT_IQ4_NL, eight_iq4_nl)   \
    X(DT_IQ4_XS, eight_iq4_xs)

template <enum dtype T> struct layout;
#define X(type, eight)                                                                                 \
    template <> struct layout<type> {                                                                  \
        enum { ELEMS = type##_ELEMS, BYTES = type##_BYTES, TILE_BYTES = TILE_VALUES / ELEMS * BYTES }; \
        DEVICE void values8(const uint8_t *b, int j, float v[8])                                       \
        {                                                                                              \
            eight(b, j, v);                                                                            \
        }                                                                                              \
    };
LAYOUTS(X)
#undef X

/* The whole block copies n bytes from any address to shared memory. */
DEVICE void stage(uint8_t *shared, const uint8_t *src, int n)
{
    int n_wide = (uintptr_t)src % 16 == 0 ? n / 16 * 16 : 0;

    for (int i = 16 * (int)threadIdx.x; i < n_wide; i += 16 * TILE_THREADS)
        *(uint4 *)(shared + i) = *(const uint4 *)(src + i);
    for (int i = n_wide + (int)threadIdx.x; i < n; i += TILE_THREADS)
        shared[i] = src[i];
}

/* Stores v to dst[row, col .. col + n), n at most 8. */
DEVICE void store8(const struct rows &dst, int64_t row, int64_t col, int n, const float v[8])
{
    char *at = dst.data + (row * dst.stride + col) * (dst.f32 ? 4 : 2);

    if (n < 8 || (uintptr_t)at % 16) {
        for (int i = 0; i < n; i++)
            store1(dst, row, col + i, v[i]);
    } else if (dst.f32) {
        ((float4 *)at)[0] = make_float4(v[0], v[1], v[2], v[3]);
        ((float4 *)at)[1] = make_float4(v[4], v[5], v[6], v[7]);
    } else {
        *(uint4 *)at =
            make_uint4(bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]), bf16_pair(v[4], v[5]), bf16_pair(v[6], v[7]));
    }
}

/*
 * Expands one tile, values [TILE_VALUES * tile, ...) of the stored row src, to a row of dst, and multiplies them with
 * `scale` unless it is 0. A block of TILE_THREADS calls it once, with TILE_BYTES of the type as shared memory.
 */
template <enum dtype T>
DEVICE void expand_tile(const struct rows &dst, int64_t row, const uint8_t *src, float scale, int64_t tile,
                        uint8_t *shared)
{
    enum { ELEMS = layout<T>::ELEMS, BYTES = layout<T>::BYTES, RUNS = ELEMS < 8 ? 1 : ELEMS / 8 };
    int64_t first = tile * TILE_VALUES, left = dst.n_cols - first;
    int n = left < TILE_VALUES ? (int)left : TILE_VALUES, run = (int)threadIdx.x;
    float v[8];

    stage(shared, src + first / ELEMS * BYTES, n / ELEMS * BYTES);
    __syncthreads();
    if (8 * run >= n)
        return;
    layout<T>::values8(shared + 8 * run / ELEMS * BYTES, run % RUNS, v);
    if (scale != 0)
        for (int i = 0; i < 8; i++)
            v[i] *= scale;
    store8(dst, row, first + 8 * run, n - 8 * run < 8 ? n - 8 * run : 8, v);
}

#endif
