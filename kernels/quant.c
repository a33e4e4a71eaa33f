#include "kernels/quant.h"

#include <math.h>
#include <string.h>

#include "kernels/base/processor.h"

/*
 * One function for each block layout, in the order of MODEL.md 3.4; offsets are bytes inside the block.
 * The loops are short and of constant length, so that the compiler turns them into vector code.
 */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF blocks are little-endian");

union word {
    uint32_t u;
    float f;
};

/*
 * Widens a small float to f32. `magnitude` is the value without its sign, shifted so that its exponent field is in
 * place, but the exponent is too small by `bias`. A subnormal becomes a normal number minus the leading one that was
 * put in front of it, because arithmetic on subnormals of f32 is very slow.
 */
INLINE_HOT float widen(uint32_t magnitude, uint32_t bias)
{
    uint32_t one = magnitude < 1 << 23 ? 1 << 23 : 0;
    union word v = { .u = magnitude + (bias << 23) + one }, leading = { .u = one ? (bias + 1) << 23 : 0 };

    return v.f - leading.f;
}

INLINE_HOT float half_value(uint16_t h)
{
    uint32_t magnitude = ((uint32_t)h << 13) & 0x0fffe000, sign = ((uint32_t)h << 16) & 0x80000000;
    union word v = { .f = widen(magnitude, 112) };

    v.u |= sign | (magnitude >= 0x0f800000 ? 0x7f800000 : 0);
    return v.f;
}

INLINE_HOT uint16_t round_to_bf16(float f)
{
    union word v = { .f = f };
    uint32_t rounded = v.u + 0x7fff + (v.u >> 16 & 1), quiet_nan = v.u | 0x400000;

    return (uint16_t)(((v.u & 0x7fffffff) > 0x7f800000 ? quiet_nan : rounded) >> 16);
}

INLINE_HOT float f8_value(uint8_t b)
{
    union word v = { .f = widen((uint32_t)(b & 0x7f) << 20, 120) };

    v.u |= ((b & 0x7f) == 0x7f ? 0x7fc00000u : 0) | (uint32_t)(b & 0x80) << 24;
    return v.f;
}

INLINE_HOT uint16_t u16_at(const uint8_t *b)
{
    uint16_t v;

    memcpy(&v, b, sizeof v);
    return v;
}

INLINE_HOT uint32_t u32_at(const uint8_t *b)
{
    uint32_t v;

    memcpy(&v, b, sizeof v);
    return v;
}

INLINE_HOT float half_at(const uint8_t *b)
{
    return half_value(u16_at(b));
}

INLINE_HOT void block_f32(const uint8_t *b, float *y)
{
    memcpy(y, b, sizeof *y);
}

INLINE_HOT void block_f16(const uint8_t *b, float *y)
{
    *y = half_at(b);
}

INLINE_HOT void block_bf16(const uint8_t *b, float *y)
{
    *y = bf16_to_f32(u16_at(b));
}

INLINE_HOT void block_f8_e4m3(const uint8_t *b, float *y)
{
    *y = f8_value(*b);
}

/* E5M2 is the upper byte of a half. */
INLINE_HOT void block_f8_e5m2(const uint8_t *b, float *y)
{
    *y = half_value((uint16_t)(*b << 8));
}

INLINE_HOT void block_q8_0(const uint8_t *b, float *y)
{
    const int8_t *q = (const int8_t *)b + 2;
    float d = half_at(b);

    for (int j = 0; j < 32; j++)
        y[j] = (float)q[j] * d;
}

INLINE_HOT void block_q4_0(const uint8_t *b, float *y)
{
    const uint8_t *qs = b + 2;
    float d = half_at(b);

    for (int j = 0; j < 16; j++) {
        y[j] = (float)((qs[j] & 15) - 8) * d;
        y[j + 16] = (float)((qs[j] >> 4) - 8) * d;
    }
}

INLINE_HOT void block_q4_1(const uint8_t *b, float *y)
{
    const uint8_t *qs = b + 4;
    float d = half_at(b), m = half_at(b + 2);

    for (int j = 0; j < 16; j++) {
        y[j] = (float)(qs[j] & 15) * d + m;
        y[j + 16] = (float)(qs[j] >> 4) * d + m;
    }
}

INLINE_HOT void block_q5_0(const uint8_t *b, float *y)
{
    const uint8_t *qs = b + 6;
    uint32_t qh = u32_at(b + 2);
    float d = half_at(b);

    for (int j = 0; j < 16; j++) {
        int low = (qs[j] & 15) | (int)(qh >> j & 1) << 4;
        int high = qs[j] >> 4 | (int)(qh >> (j + 16) & 1) << 4;

        y[j] = (float)(low - 16) * d;
        y[j + 16] = (float)(high - 16) * d;
    }
}

INLINE_HOT void block_q5_1(const uint8_t *b, float *y)
{
    const uint8_t *qs = b + 8;
    uint32_t qh = u32_at(b + 4);
    float d = half_at(b), m = half_at(b + 2);

    for (int j = 0; j < 16; j++) {
        int low = (qs[j] & 15) | (int)(qh >> j & 1) << 4;
        int high = qs[j] >> 4 | (int)(qh >> (j + 16) & 1) << 4;

        y[j] = (float)low * d + m;
        y[j + 16] = (float)high * d + m;
    }
}

INLINE_HOT void block_q2_k(const uint8_t *b, float *y)
{
    const uint8_t *scales = b, *qs = b + 16;
    float d = half_at(b + 80), dmin = half_at(b + 82);

    for (int run = 0; run < 16; run++) { /* 16 values: half n of the block, bits 2j, low or high sixteen bytes */
        int n = run >> 3, j = run >> 1 & 3, at = n * 32 + (run & 1) * 16;
        float scale = d * (float)(scales[run] & 15), min = dmin * (float)(scales[run] >> 4);

        for (int l = 0; l < 16; l++)
            y[run * 16 + l] = scale * (float)(qs[at + l] >> 2 * j & 3) - min;
    }
}

INLINE_HOT void block_q3_k(const uint8_t *b, float *y)
{
    const uint8_t *hmask = b, *qs = b + 32, *s = b + 96;
    float d = half_at(b + 108);

    for (int run = 0; run < 16; run++) {
        int n = run >> 3, j = run >> 1 & 3, half = (run & 1) * 16;
        int low = run < 8 ? s[run] & 15 : s[run - 8] >> 4;
        int high = s[8 + (run & 3)] >> 2 * (run >> 2) & 3;
        float scale = d * (float)((low | high << 4) - 32);

        for (int l = 0; l < 16; l++) {
            int q = (qs[n * 32 + half + l] >> 2 * j & 3) + (hmask[half + l] >> (4 * n + j) & 1) * 4 - 4;
            y[run * 16 + l] = scale * (float)q;
        }
    }
}

/* The eight 6-bit scales and minima that Q4_K and Q5_K keep in twelve bytes. */
INLINE_HOT void scale_min(const uint8_t *t, int s, float *scale, float *min)
{
    if (s < 4) {
        *scale = (float)(t[s] & 63);
        *min = (float)(t[s + 4] & 63);
    } else {
        *scale = (float)((t[s + 4] & 15) | t[s - 4] >> 6 << 4);
        *min = (float)(t[s + 4] >> 4 | t[s] >> 6 << 4);
    }
}

INLINE_HOT void block_q4_k(const uint8_t *b, float *y)
{
    float d = half_at(b), dmin = half_at(b + 2);

    for (int s = 0; s < 8; s++) {
        const uint8_t *qs = b + 16 + 32 * (s >> 1);
        int shift = 4 * (s & 1);
        float scale, min;

        scale_min(b + 4, s, &scale, &min);
        scale *= d;
        min *= dmin;
        for (int l = 0; l < 32; l++)
            y[32 * s + l] = scale * (float)(qs[l] >> shift & 15) - min;
    }
}

INLINE_HOT void block_q5_k(const uint8_t *b, float *y)
{
    const uint8_t *qh = b + 16;
    float d = half_at(b), dmin = half_at(b + 2);

    for (int s = 0; s < 8; s++) {
        const uint8_t *qs = b + 48 + 32 * (s >> 1);
        int shift = 4 * (s & 1);
        float scale, min;

        scale_min(b + 4, s, &scale, &min);
        scale *= d;
        min *= dmin;
        for (int l = 0; l < 32; l++)
            y[32 * s + l] = scale * (float)((qs[l] >> shift & 15) + (qh[l] >> s & 1) * 16) - min;
    }
}

INLINE_HOT void block_q6_k(const uint8_t *b, float *y)
{
    const int8_t *sc = (const int8_t *)b + 192;
    float d = half_at(b + 208);

    for (int run = 0; run < 16; run++) { /* 16 values: half n of the block, group g, low or high sixteen bytes */
        int n = run >> 3, g = run >> 1 & 3, half = (run & 1) * 16;
        const uint8_t *ql = b + 64 * n + 32 * (g & 1) + half, *qh = b + 128 + 32 * n + half;
        float scale = d * (float)sc[run];

        for (int l = 0; l < 16; l++) {
            int q = (ql[l] >> 4 * (g >> 1) & 15) | (qh[l] >> 2 * g & 3) << 4;
            y[run * 16 + l] = scale * (float)(q - 32);
        }
    }
}

static const float iq4_table[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };

INLINE_HOT void block_iq4_nl(const uint8_t *b, float *y)
{
    const uint8_t *qs = b + 2;
    float d = half_at(b);

    for (int j = 0; j < 16; j++) {
        y[j] = d * iq4_table[qs[j] & 15];
        y[j + 16] = d * iq4_table[qs[j] >> 4];
    }
}

INLINE_HOT void block_iq4_xs(const uint8_t *b, float *y)
{
    const uint8_t *sl = b + 4;
    uint16_t sh = u16_at(b + 2);
    float d = half_at(b);

    for (int s = 0; s < 8; s++) {
        const uint8_t *qs = b + 8 + 16 * s;
        int scale = (sl[s >> 1] >> 4 * (s & 1) & 15) | (sh >> 2 * s & 3) << 4;
        float dl = d * (float)(scale - 32);

        for (int j = 0; j < 16; j++) {
            y[32 * s + j] = dl * iq4_table[qs[j] & 15];
            y[32 * s + 16 + j] = dl * iq4_table[qs[j] >> 4];
        }
    }
}

/* Storage types that hold numbers, each with its block function. */
#define LAYOUTS(X)               \
    X(DT_F32, block_f32)         \
    X(DT_F16, block_f16)         \
    X(DT_BF16, block_bf16)       \
    X(DT_F8_E4M3, block_f8_e4m3) \
    X(DT_F8_E5M2, block_f8_e5m2) \
    X(DT_Q8_0, block_q8_0)       \
    X(DT_Q4_0, block_q4_0)       \
    X(DT_Q4_1, block_q4_1)       \
    X(DT_Q5_0, block_q5_0)       \
    X(DT_Q5_1, block_q5_1)       \
    X(DT_Q2_K, block_q2_k)       \
    X(DT_Q3_K, block_q3_k)       \
    X(DT_Q4_K, block_q4_k)       \
    X(DT_Q5_K, block_q5_k)       \
    X(DT_Q6_K, block_q6_k)       \
    X(DT_IQ4_NL, block_iq4_nl)   \
    X(DT_IQ4_XS, block_iq4_xs)

/* Block sizes as constants: with variables, the loops of one-value blocks would not become vector code. */
enum {
#define X(id, name, elems, bytes) id##_ELEMS = elems, id##_BYTES = bytes,
    DTYPE_MAP(X)
#undef X
};

/* How far ahead weights are prefetched. They are read once, in blocks whose size is not a power of two, which the
 * processor's own prefetcher handles badly. */
enum { BYTES_AHEAD = 2048 };

#define X(id, block)                                                                                            \
    EVERY_PROCESSOR static void row_##block(const uint8_t *restrict src, float *restrict dst, int64_t n_blocks) \
    {                                                                                                           \
        for (int64_t i = 0; i < n_blocks; i++) {                                                                \
            if (id##_ELEMS > 1)                                                                                 \
                __builtin_prefetch(src + i * id##_BYTES + BYTES_AHEAD);                                         \
            block(src + i * id##_BYTES, dst + i * id##_ELEMS);                                                  \
        }                                                                                                       \
    }
LAYOUTS(X)
#undef X

static void (*const row_fns[DT_COUNT])(const uint8_t *restrict, float *restrict, int64_t) = {
#define X(id, block) [id] = row_##block,
    LAYOUTS(X)
#undef X
};

void dequantise_row(enum dtype t, const void *src, float *dst, int64_t n)
{
    if (row_fns[t])
        row_fns[t](src, dst, n / dtype_info(t)->block_elems);
    else
        memset(dst, 0, (size_t)n * sizeof *dst);
}

void dequantise_columns(enum dtype t, const void *matrix, int64_t cols, int64_t row, int64_t j0, int64_t n, float *dst)
{
    const char *from = (const char *)matrix + (size_t)row * dtype_row_bytes(t, cols);

    dequantise_row(t, from + (j0 ? dtype_row_bytes(t, j0) : 0), dst, n);
}

EVERY_PROCESSOR bool values_are_within(const float *values, int64_t n, float largest)
{
    int outside = 0; /* no early end: a loop over all can be vectorised */

    for (int64_t i = 0; i < n; i++)
        outside |= !(fabsf(values[i]) <= largest);
    return !outside;
}

EVERY_PROCESSOR static void scale_row(float *values, float scale, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        values[i] *= scale;
}

/* scale 0: values are not multiplied. */
static void expand(enum dtype t, const void *src, float scale, float *dst, int64_t n)
{
    dequantise_row(t, src, dst, n);
    if (scale != 0)
        scale_row(dst, scale, n);
}

EVERY_PROCESSOR static void round_row(const float *restrict src, uint16_t *restrict dst, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        dst[i] = round_to_bf16(src[i]);
}

static void expand_bf16(enum dtype t, const void *src, float scale, uint16_t *dst, int64_t n)
{
    enum { CHUNK = 1024 }; /* a multiple of every block; stays in the first-level cache */
    float values[CHUNK];

    if (t == DT_BF16 && scale == 0) {
        memcpy(dst, src, (size_t)n * sizeof *dst);
        return;
    }
    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t m = n - i < CHUNK ? n - i : CHUNK;

        expand(t, (const char *)src + dtype_row_bytes(t, i), scale, values, m);
        round_row(values, dst + i, m);
    }
}

void dequantise_row_bf16(enum dtype t, const void *src, uint16_t *dst, int64_t n)
{
    expand_bf16(t, src, 0, dst, n);
}

static const void *stored_row(const struct weight *w, int64_t row)
{
    return (const char *)w->data + (size_t)row * dtype_row_bytes(w->dtype, w->cols);
}

void dequantise_weight_row(const struct weight *w, int64_t row, float *dst)
{
    expand(w->dtype, stored_row(w, row), w->scale, dst, w->cols);
}

void dequantise_weight_row_bf16(const struct weight *w, int64_t row, uint16_t *dst)
{
    expand_bf16(w->dtype, stored_row(w, row), w->scale, dst, w->cols);
}

float f16_to_f32(uint16_t h)
{
    return half_value(h);
}

float f8_e4m3_to_f32(uint8_t v)
{
    return f8_value(v);
}

uint16_t f32_to_bf16(float f)
{
    return round_to_bf16(f);
}
