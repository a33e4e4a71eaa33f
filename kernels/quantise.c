#include "kernels/quantise.h"

#include <assert.h>
#include <string.h>

#include "kernels/base/processor.h"
#include "kernels/half.h"
#include "kernels/quant.h"
#include "kernels/quantise_k.h"

/*
 * One function for each block layout, in the order of kernels/quant.c; offsets are bytes inside the block. As there,
 * the loops are short and of constant length, so that the compiler turns them into vector code. It does not do so with
 * the maximum of floats, so maxima are taken of their bits.
 */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF blocks are little-endian");

enum { BLOCK = 32, HALF = BLOCK / 2 };

static const union word zero = { .u = 0 };

INLINE_HOT union word word_of(float f)
{
    return (union word){ .f = f };
}

INLINE_HOT int32_t larger(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

INLINE_HOT float inverse(float d)
{
    return d ? 1.0f / d : 0.0f; /* infinity for the smallest d: every product with it is then out of range */
}

/* The value of largest magnitude, the first one of several; zero has no sign here. */
INLINE_HOT float extreme(const float *x)
{
    union word up = { .i = INT32_MIN }, down = up;

    for (int j = 0; j < BLOCK; j++) { /* the bits of a negative value are a negative number */
        up.i = larger(up.i, word_of(x[j]).i);
        down.i = larger(down.i, word_of(-x[j]).i);
    }
    if (larger(up.i, down.i) == 0)
        return 0;
    if (up.i != down.i)
        return up.i > down.i ? up.f : -down.f;
    for (int j = 0; j < BLOCK - 1; j++)
        if (word_of(x[j]).i == up.i || word_of(-x[j]).i == up.i)
            return x[j];
    return x[BLOCK - 1];
}

/* Bits of floats in an order of integers: -0 comes before 0. The map is its own inverse. */
INLINE_HOT int32_t ordered(int32_t i)
{
    return i ^ (i >> 31 & INT32_MAX);
}

/* The smallest and the largest value; where the smallest is zero, it has the sign of the first zero. */
INLINE_HOT void range(const float *x, float *ret_min, float *ret_max)
{
    int32_t min = INT32_MAX, max = INT32_MIN;

    for (int j = 0; j < BLOCK; j++) {
        int32_t v = ordered(word_of(x[j]).i);

        max = larger(max, v);
        min = v < min ? v : min;
    }
    *ret_min = (union word){ .i = ordered(min) }.f;
    *ret_max = (union word){ .i = ordered(max) }.f;
    for (int j = 0; *ret_min == 0 && j < BLOCK; j++)
        if (x[j] == 0) {
            *ret_min = x[j];
            break;
        }
}

/* v without its fraction, `top` at most. What is no level, as after a product with infinity, becomes 0. */
INLINE_HOT uint8_t level(float v, int top)
{
    int q = v >= 0 && v < 256 ? (int)v : 0;

    return (uint8_t)(q < top ? q : top);
}

/* Nearest, halves away from zero. The summand is the largest value below one half: with one half itself, the value
 * before it would become 1. */
INLINE_HOT int8_t rounded(float v)
{
    float sum = v + (v < 0 ? -0x1.fffffep-2f : 0x1.fffffep-2f);

    return (int8_t)(sum > -128 && sum < 128 ? (int)sum : 0);
}

/* The low four bits of each level, those of the second half in the high bits of the bytes. */
INLINE_HOT void put_nibbles(uint8_t *b, const uint8_t *q)
{
    for (int j = 0; j < HALF; j++)
        b[j] = (uint8_t)((q[j] & 15) | q[j + HALF] << 4);
}

/* The fifth bit of each level. A product moves the lowest bits of eight bytes into the highest byte. */
INLINE_HOT void put_fifth_bits(uint8_t *b, const uint8_t *q)
{
    for (int j = 0; j < BLOCK / 8; j++) {
        uint64_t eight;

        memcpy(&eight, q + 8 * j, sizeof eight);
        b[j] = (uint8_t)((eight >> 4 & 0x0101010101010101) * 0x0102040810204080 >> 56);
    }
}

/* Levels of the signed layouts: 0 to 2 * middle - 1, where `middle` stands for zero and 0 for the extreme. */
INLINE_HOT void signed_levels(const float *x, int middle, uint8_t *q, uint8_t *ret_scale)
{
    float d = extreme(x) / (float)-middle, id = inverse(d);

    for (int j = 0; j < BLOCK; j++)
        q[j] = level(x[j] * id + ((float)middle + 0.5f), 2 * middle - 1);
    put_half(ret_scale, d);
}

/* Levels of the layouts with a minimum: 0 to top. */
INLINE_HOT void raised_levels(const float *x, int top, uint8_t *q, uint8_t *ret_scale_min)
{
    float min, max, d, id;

    range(x, &min, &max);
    d = (max - min) / (float)top;
    id = inverse(d);
    for (int j = 0; j < BLOCK; j++)
        q[j] = level((x[j] - min) * id + 0.5f, top);
    put_half(ret_scale_min, d);
    put_half(ret_scale_min + 2, min);
}

INLINE_HOT void block_q8_0(const float *x, uint8_t *b)
{
    union word largest = zero;
    int8_t q[BLOCK];
    float d, id;

    for (int j = 0; j < BLOCK; j++)
        largest.i = larger(largest.i, word_of(x[j]).i & INT32_MAX);
    d = largest.f / 127;
    id = inverse(d);
    for (int j = 0; j < BLOCK; j++)
        q[j] = rounded(x[j] * id);
    put_half(b, d);
    memcpy(b + 2, q, sizeof q);
}

INLINE_HOT void block_q4_0(const float *x, uint8_t *b)
{
    uint8_t q[BLOCK];

    signed_levels(x, 8, q, b);
    put_nibbles(b + 2, q);
}

INLINE_HOT void block_q4_1(const float *x, uint8_t *b)
{
    uint8_t q[BLOCK];

    raised_levels(x, 15, q, b);
    put_nibbles(b + 4, q);
}

INLINE_HOT void block_q5_0(const float *x, uint8_t *b)
{
    uint8_t q[BLOCK];

    signed_levels(x, 16, q, b);
    put_fifth_bits(b + 2, q);
    put_nibbles(b + 6, q);
}

INLINE_HOT void block_q5_1(const float *x, uint8_t *b)
{
    uint8_t q[BLOCK];

    raised_levels(x, 31, q, b);
    put_fifth_bits(b + 4, q);
    put_nibbles(b + 8, q);
}

INLINE_HOT void block_f16(const float *x, uint8_t *b)
{
    put_half(b, *x);
}

/* Storage types with a block function. */
#define LAYOUTS(X)         \
    X(DT_F16, block_f16)   \
    X(DT_Q8_0, block_q8_0) \
    X(DT_Q4_0, block_q4_0) \
    X(DT_Q4_1, block_q4_1) \
    X(DT_Q5_0, block_q5_0) \
    X(DT_Q5_1, block_q5_1)

/* Block sizes as constants, for the sake of vector code. */
enum {
#define X(id, name, elems, bytes) id##_ELEMS = elems, id##_BYTES = bytes,
    DTYPE_MAP(X)
#undef X
};

#define X(id, block)                                                                                            \
    EVERY_PROCESSOR static void row_##block(const float *restrict src, uint8_t *restrict dst, int64_t n_blocks) \
    {                                                                                                           \
        for (int64_t i = 0; i < n_blocks; i++)                                                                  \
            block(src + i * id##_ELEMS, dst + i * id##_BYTES);                                                  \
    }
LAYOUTS(X)
#undef X

static void (*const row_fns[DT_COUNT])(const float *restrict, uint8_t *restrict, int64_t) = {
#define X(id, block) [id] = row_##block,
    LAYOUTS(X)
#undef X
        [DT_Q2_K] = quantise_q2_k,
    [DT_Q3_K] = quantise_q3_k,
    [DT_Q4_K] = quantise_q4_k,
    [DT_Q5_K] = quantise_q5_k,
    [DT_Q6_K] = quantise_q6_k,
};

bool quantise_supports(enum dtype t)
{
    return (unsigned)t < DT_COUNT && (t == DT_F32 || t == DT_BF16 || row_fns[t]);
}

void quantise_row(enum dtype t, const float *src, void *dst, int64_t n)
{
    assert(quantise_supports(t) && n % dtype_info(t)->block_elems == 0);
    if (t == DT_F32)
        memcpy(dst, src, (size_t)n * sizeof *src);
    else if (t == DT_BF16)
        dequantise_row_bf16(DT_F32, src, dst, n);
    else
        row_fns[t](src, dst, n / dtype_info(t)->block_elems);
}
