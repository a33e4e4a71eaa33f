#include "kernels/quantise_k.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/base/processor.h"
#include "kernels/half.h"
#include "kernels/quant.h"

/*
 * A super-block of 256 values is cut into runs, each with a scale of its own that several tries search for. Sums of
 * floats depend on their order, so a run is summed value by value; the runs of a super-block are the lanes of the
 * vector code. For that, the values are turned: value i of run r is x[i * RUNS + r]. A search keeps the best scale of
 * each run, and how its levels follow from the values: these are used where the stored scale of the run becomes zero.
 */
enum { SUPER = 256, RUNS = 16 };

struct found {
    float scale[RUNS];
    float min[RUNS];                 /* what is taken away from scale * level; 0 or more */
    float inverse[RUNS], base[RUNS]; /* level = nearest((x - base) * inverse), within its limits */
};

/* Nearest even, of magnitudes below 2^22; what others become is ggml's, too. */
INLINE_HOT int32_t nearest(float v)
{
    union word sum = { .f = v + 0x1.8p23f };

    return (sum.i & 0x7fffff) - 0x400000;
}

INLINE_HOT int32_t clamped(int32_t v, int32_t low, int32_t high)
{
    int32_t least = v < high ? v : high;

    return least > low ? least : low;
}

/* Runs of n values. */
INLINE_HOT void turn(const float *x, int n, float *ret)
{
    for (int i = 0; i < n; i++)
        for (int r = 0; r < RUNS; r++)
            ret[i * RUNS + r] = x[r * n + i];
}

/* ---- levels around zero: Q6_K and Q3_K, 16 runs of 16 values */

enum { RUN = 16 };

#define NOTHING 1e-15f /* runs of magnitudes below it are zeros */

/* The value of largest magnitude of each run, the first of several; 0 for a run of nothing. */
INLINE_HOT void extremes(const float *x, float *ret)
{
    float largest[RUNS] = { 0 };

    for (int r = 0; r < RUNS; r++)
        ret[r] = 0;
    for (int i = 0; i < RUN; i++)
        for (int r = 0; r < RUNS; r++) {
            float v = x[i * RUNS + r], magnitude = fabsf(v);
            bool more = magnitude > largest[r];

            largest[r] = more ? magnitude : largest[r];
            ret[r] = more ? v : ret[r];
        }
    for (int r = 0; r < RUNS; r++)
        ret[r] = largest[r] < NOTHING ? 0 : ret[r];
}

/* One try of the search for Q6_K: the extreme becomes -32 - shift. The scale that has the least squared error with
 * these levels, weighted by the square of the value, is taken if it is the first or better than the best so far. */
INLINE_HOT void try_around_zero(const float *x, const float *extreme, float shift, float *best, struct found *f)
{
    float product[RUNS] = { 0 }, square[RUNS] = { 0 }, inverse[RUNS];
    bool first = shift == 0;

    for (int r = 0; r < RUNS; r++)
        inverse[r] = -(32 + shift) / extreme[r];
    for (int i = 0; i < RUN; i++)
        for (int r = 0; r < RUNS; r++) {
            float v = x[i * RUNS + r], w = v * v, level = (float)clamped(nearest(inverse[r] * v), -32, 31);

            product[r] += w * v * level;
            square[r] += w * level * level;
        }
    for (int r = 0; r < RUNS; r++) {
        bool better = (square[r] > 0) & (product[r] * product[r] > best[r] * square[r]);
        bool taken = first | better;
        float scale = product[r] / square[r];

        f->scale[r] = taken ? scale : f->scale[r];
        f->inverse[r] = taken ? inverse[r] : f->inverse[r];
        best[r] = taken ? scale * product[r] : best[r];
    }
}

INLINE_HOT void search_around_zero(const float *x, struct found *f)
{
    float extreme[RUNS], best[RUNS] = { 0 };

    extremes(x, extreme);
    try_around_zero(x, extreme, 0, best, f);
    for (int step = -9; step <= 9; step++)
        if (step)
            try_around_zero(x, extreme, 0.1f * (float)step, best, f);
    for (int r = 0; r < RUNS; r++) {
        f->scale[r] = extreme[r] != 0 ? f->scale[r] : 0;
        f->inverse[r] = extreme[r] != 0 ? f->inverse[r] : 0;
    }
}

/* The scale of largest magnitude, the first of several. */
INLINE_HOT float extreme_scale(const struct found *f)
{
    float extreme = 0;

    for (int r = 0; r < RUNS; r++)
        extreme = fabsf(f->scale[r]) > fabsf(extreme) ? f->scale[r] : extreme;
    return extreme;
}

/* Levels of Q6_K, 0 to 63, where 32 stands for zero. A run of nothing has zeros, whatever they stand for. */
INLINE_HOT void levels_q6_k(const float *x, float d, float inverse, uint8_t *q)
{
    for (int i = 0; i < RUN; i++) {
        int level = clamped(nearest(d ? x[i] / d : x[i] * inverse), -32, 31) + 32;

        q[i] = (uint8_t)(d || inverse ? level : 0);
    }
}

/* Low four bits of two groups of 32 values in a byte, the high two bits of four groups in another. */
INLINE_HOT void pack_q6_k(const uint8_t *q, uint8_t *low, uint8_t *high)
{
    for (int n = 0; n < 2; n++, q += 128, low += 64, high += 32) {
        for (int l = 0; l < 64; l++)
            low[l] = (uint8_t)((q[l] & 15) | q[l + 64] << 4);
        for (int l = 0; l < 32; l++)
            high[l] = (uint8_t)(q[l] >> 4 | q[l + 32] >> 4 << 2 | q[l + 64] >> 4 << 4 | q[l + 96] >> 4 << 6);
    }
}

INLINE_HOT void block_q6_k(const float *x, uint8_t *b)
{
    float turned[SUPER], extreme, inverse, d;
    uint8_t q[SUPER];
    struct found f;

    turn(x, RUN, turned);
    search_around_zero(turned, &f);
    extreme = extreme_scale(&f);
    memset(b, 0, 210);
    if (fabsf(extreme) < NOTHING)
        return;
    inverse = -128 / extreme;
    put_half(b + 208, 1 / inverse);
    d = f16_to_f32(half_of(1 / inverse));
    for (int r = 0; r < RUNS; r++) {
        int32_t scale = nearest(inverse * f.scale[r]);
        int8_t stored = (int8_t)(scale < 127 ? scale : 127);

        b[192 + r] = (uint8_t)stored;
        levels_q6_k(x + r * RUN, d * (float)stored, f.inverse[r], q + r * RUN);
    }
    pack_q6_k(q, b, b + 128);
}

EVERY_PROCESSOR void quantise_q6_k(const float *restrict src, uint8_t *restrict dst, int64_t n_blocks)
{
    for (int64_t i = 0; i < n_blocks; i++)
        block_q6_k(src + i * SUPER, dst + i * 210);
}

/* ---- Q3_K */

/* One pass over all values: a level moves where this lessens the error of the best scale. `product` and `square` are
 * the sums of the run with the present levels. */
INLINE_HOT void move_levels(const float *x, float *level, float *product, float *square)
{
    for (int i = 0; i < RUN; i++)
        for (int r = 0; r < RUNS; r++) {
            float v = x[i * RUNS + r], w = v * v, old = level[i * RUNS + r];
            float other_product = product[r] - w * v * old, other_square = square[r] - w * old * old;
            float new = (float)clamped(nearest(v * other_square / other_product), -4, 3);
            float new_product = other_product + w * v * new, new_square = other_square + w *new *new;
            bool less = new_product * new_product * square[r] > product[r] * product[r] * new_square;
            bool moves = (other_product > 0) & (new != old) & (new_square > 0) & less;

            level[i * RUNS + r] = moves ? new : old;
            product[r] = moves ? new_product : product[r];
            square[r] = moves ? new_square : square[r];
        }
}

/* Five passes (a run that one pass leaves as it is, the next one leaves, too). Levels are -4 to 3, those of a run of
 * nothing -4. */
INLINE_HOT void search_q3_k(const float *x, float *level, struct found *f)
{
    float extreme[RUNS], product[RUNS] = { 0 }, square[RUNS] = { 0 };

    extremes(x, extreme);
    for (int i = 0; i < RUN; i++)
        for (int r = 0; r < RUNS; r++) {
            float v = x[i * RUNS + r], w = v * v, l = (float)clamped(nearest(-4 / extreme[r] * v), -4, 3);

            level[i * RUNS + r] = l;
            product[r] += w * v * l;
            square[r] += w * l * l;
        }
    for (int pass = 0; pass < 5; pass++)
        move_levels(x, level, product, square);
    for (int r = 0; r < RUNS; r++)
        f->scale[r] = extreme[r] != 0 && square[r] > 0 ? product[r] / square[r] : 0;
    for (int i = 0; i < RUN; i++)
        for (int r = 0; r < RUNS; r++)
            level[i * RUNS + r] = extreme[r] != 0 ? level[i * RUNS + r] : -4;
}

/* The low four bits of sixteen scales in eight bytes, their high two bits in four. */
INLINE_HOT void pack_scales_q3_k(const uint8_t *scale, uint8_t *b)
{
    for (int r = 0; r < 8; r++)
        b[r] = (uint8_t)((scale[r] & 15) | (scale[r + 8] & 15) << 4);
    for (int r = 0; r < 4; r++)
        b[r + 8] = (uint8_t)(scale[r] >> 4 | scale[r + 4] >> 4 << 2 | scale[r + 8] >> 4 << 4 | scale[r + 12] >> 4 << 6);
}

/* The low two bits of four groups of 32 values in a byte. */
INLINE_HOT void pack_pairs_of_bits(const uint8_t *q, uint8_t *b)
{
    for (int n = 0; n < 2; n++, q += 128, b += 32)
        for (int l = 0; l < 32; l++)
            b[l] = (uint8_t)((q[l] & 3) | (q[l + 32] & 3) << 2 | (q[l + 64] & 3) << 4 | (q[l + 96] & 3) << 6);
}

/* The bit `shift` of eight groups of 32 values in a byte. */
INLINE_HOT void pack_bits(const uint8_t *q, int shift, uint8_t *b)
{
    for (int l = 0; l < 32; l++) {
        int bits = 0;

        for (int r = 0; r < 8; r++)
            bits |= (q[r * 32 + l] >> shift & 1) << r;
        b[l] = (uint8_t)bits;
    }
}

INLINE_HOT void block_q3_k(const float *x, uint8_t *b)
{
    float turned[SUPER], level[SUPER], extreme, inverse, d;
    uint8_t q[SUPER], scales[RUNS];
    struct found f;

    turn(x, RUN, turned);
    search_q3_k(turned, level, &f);
    extreme = extreme_scale(&f);
    inverse = -32 / extreme;
    d = extreme != 0 ? 1 / inverse : 0;
    put_half(b + 108, d);
    d = f16_to_f32(half_of(d));
    for (int r = 0; r < RUNS; r++) {
        int32_t scale = extreme != 0 ? clamped((int8_t)nearest(inverse * f.scale[r]), -32, 31) : -32;
        float step = d * (float)scale;

        scales[r] = (uint8_t)(scale + 32);
        for (int i = 0; i < RUN; i++) {
            int stored = clamped(nearest(x[r * RUN + i] / step), -4, 3);

            q[r * RUN + i] = (uint8_t)((step ? stored : (int)level[i * RUNS + r]) + 4);
        }
    }
    pack_bits(q, 2, b);
    pack_pairs_of_bits(q, b + 32);
    pack_scales_q3_k(scales, b + 96);
}

EVERY_PROCESSOR void quantise_q3_k(const float *restrict src, uint8_t *restrict dst, int64_t n_blocks)
{
    for (int64_t i = 0; i < n_blocks; i++)
        block_q3_k(src + i * SUPER, dst + i * 110);
}

/* ---- levels above a minimum: Q4_K and Q5_K, 16 runs of 32 values in two super-blocks; Q2_K, 16 runs of 16 */

enum { MOST = 2 * SUPER };

/* How a layout searches: runs of n values with levels 0 to top; `tries` steps, each 0.1 more than the one before.
 * Errors are weighted squares, or weighted magnitudes. */
struct search {
    int n, top, tries;
    float first;
    bool magnitudes;
};

/* What the values of each run determine. */
struct sums {
    float min[RUNS], max[RUNS]; /* min is 0 at most */
    float weight[RUNS];         /* sum of the weights */
    float product[RUNS];        /* sum of weight * value */
};

INLINE_HOT void sum_up(const float *x, const float *w, int n, struct sums *s)
{
    for (int r = 0; r < RUNS; r++) {
        s->min[r] = s->max[r] = x[r];
        s->weight[r] = w[r];
        s->product[r] = w[r] * x[r];
    }
    for (int i = 1; i < n; i++)
        for (int r = 0; r < RUNS; r++) {
            float v = x[i * RUNS + r], weight = w[i * RUNS + r];

            s->min[r] = v < s->min[r] ? v : s->min[r];
            s->max[r] = v > s->max[r] ? v : s->max[r];
            s->weight[r] += weight;
            s->product[r] += weight * v;
        }
    for (int r = 0; r < RUNS; r++)
        s->min[r] = s->min[r] > 0 ? 0 : s->min[r];
}

INLINE_HOT void take_levels(const float *x, const struct search *o, const struct found *f, float *ret)
{
    for (int i = 0; i < o->n; i++)
        for (int r = 0; r < RUNS; r++)
            ret[i * RUNS + r] = (float)clamped(nearest(f->inverse[r] * (x[i * RUNS + r] - f->base[r])), 0, o->top);
}

/* What the levels are wrong by with a scale and a minimum (which is added here). */
INLINE_HOT void add_errors(const float *x, const float *w, const float *level, const struct search *o,
                           const struct found *f, float *ret)
{
    float sum[RUNS] = { 0 };

    for (int i = 0; i < o->n; i++)
        for (int r = 0; r < RUNS; r++) {
            float off = f->scale[r] * level[i * RUNS + r] + f->min[r] - x[i * RUNS + r];

            sum[r] += w[i * RUNS + r] * (o->magnitudes ? fabsf(off) : off * off);
        }
    memcpy(ret, sum, sizeof sum);
}

/* The scale and the minimum of least squared error with the levels. Where there is none, the scale becomes NaN. */
INLINE_HOT void fit(const float *x, const float *w, const float *level, int n, const struct sums *s, struct found *t)
{
    float level1[RUNS] = { 0 }, level2[RUNS] = { 0 }, product[RUNS] = { 0 };

    for (int i = 0; i < n; i++)
        for (int r = 0; r < RUNS; r++) {
            float l = level[i * RUNS + r], weighted = w[i * RUNS + r] * l;

            level1[r] += weighted;
            level2[r] += weighted * l;
            product[r] += weighted * x[i * RUNS + r];
        }
    for (int r = 0; r < RUNS; r++) {
        float d = s->weight[r] * level2[r] - level1[r] * level1[r];
        float scale = (s->weight[r] * product[r] - s->product[r] * level1[r]) / d;
        float min = (level2[r] * s->product[r] - level1[r] * product[r]) / d;
        float scale_from_zero = product[r] / level2[r];
        bool positive = min > 0;

        t->min[r] = positive ? 0 : min;
        scale = positive ? scale_from_zero : scale;
        t->scale[r] = d > 0 ? scale : NAN;
    }
}

INLINE_HOT void keep_better(const struct found *t, const float *error, float *best, struct found *f)
{
    for (int r = 0; r < RUNS; r++) {
        bool better = error[r] < best[r];

        best[r] = better ? error[r] : best[r];
        f->scale[r] = better ? t->scale[r] : f->scale[r];
        f->min[r] = better ? t->min[r] : f->min[r];
        f->base[r] = better ? t->base[r] : f->base[r];
        f->inverse[r] = better ? t->inverse[r] : f->inverse[r];
    }
}

/* A run of equal values, or of zeros, has the scale 0. */
INLINE_HOT void search_above_minimum(const float *x, const float *w, const struct search *o, struct found *f)
{
    float level[MOST], best[RUNS], error[RUNS];
    struct sums s;
    struct found t;

    sum_up(x, w, o->n, &s);
    for (int r = 0; r < RUNS; r++) {
        f->min[r] = f->base[r] = s.min[r];
        f->inverse[r] = (float)o->top / (s.max[r] - s.min[r]);
        f->scale[r] = 1 / f->inverse[r];
    }
    take_levels(x, o, f, level);
    add_errors(x, w, level, o, f, best);
    for (int try = 0; try < o->tries; try++) {
        for (int r = 0; r < RUNS; r++) { /* from the minimum that is the best so far */
            t.base[r] = f->min[r];
            t.inverse[r] = (o->first + 0.1f * (float)try + (float)o->top) / (s.max[r] - f->min[r]);
        }
        take_levels(x, o, &t, level);
        fit(x, w, level, o->n, &s, &t);
        add_errors(x, w, level, o, &t, error);
        keep_better(&t, error, best, f);
    }
    for (int r = 0; r < RUNS; r++) {
        bool flat = s.max[r] == s.min[r];

        f->scale[r] = flat ? 0 : f->scale[r];
        f->inverse[r] = flat ? 0 : f->inverse[r];
        f->min[r] = -(flat ? s.min[r] : f->min[r]);
    }
}

INLINE_HOT float largest_of(const float *x, int n)
{
    float largest = 0;

    for (int r = 0; r < n; r++)
        largest = x[r] > largest ? x[r] : largest;
    return largest;
}

/* Root mean square of the run plus the magnitude of the value. */
INLINE_HOT void weigh(const float *x, int n, float *ret)
{
    float sum[RUNS] = { 0 };

    for (int i = 0; i < n; i++)
        for (int r = 0; r < RUNS; r++)
            sum[r] += x[i * RUNS + r] * x[i * RUNS + r];
    for (int r = 0; r < RUNS; r++)
        sum[r] = sqrtf(sum[r] / (float)n);
    for (int i = 0; i < n; i++)
        for (int r = 0; r < RUNS; r++)
            ret[i * RUNS + r] = sum[r] + fabsf(x[i * RUNS + r]);
}

/* Levels of run r with the scale and the minimum that are stored, or those of the search where this scale is zero. */
INLINE_HOT void levels_above_minimum(const float *x, const struct search *o, float d, float min, const struct found *f,
                                     int r, uint8_t *q)
{
    for (int i = 0; i < o->n; i++) {
        float level = d ? (x[i] + min) / d : f->inverse[r] * (x[i] - f->base[r]);

        q[i] = (uint8_t)clamped(nearest(level), 0, o->top);
    }
}

INLINE_HOT uint8_t six_bits(float v)
{
    uint8_t low = (uint8_t)nearest(v); /* a negative scale becomes the largest */

    return low < 63 ? low : 63;
}

/* The six bits of eight scales and minima in twelve bytes. */
INLINE_HOT void pack_scales(const uint8_t *scale, const uint8_t *min, uint8_t *b)
{
    for (int r = 0; r < 4; r++) {
        b[r] = (uint8_t)(scale[r] | scale[r + 4] >> 4 << 6);
        b[r + 4] = (uint8_t)(min[r] | min[r + 4] >> 4 << 6);
        b[r + 8] = (uint8_t)((scale[r + 4] & 15) | (min[r + 4] & 15) << 4);
    }
}

/* The first sixteen bytes of Q4_K and Q5_K, and the levels of all values. The runs of this block start at run r0. */
INLINE_HOT void finish_six_bits(const float *x, const struct search *o, const struct found *f, int r0, uint8_t *b,
                                uint8_t *q)
{
    float scale = largest_of(f->scale + r0, 8), min = largest_of(f->min + r0, 8);
    float per_scale = scale > 0 ? 63 / scale : 0, per_min = min > 0 ? 63 / min : 0;
    float d = f16_to_f32(half_of(scale / 63)), dmin = f16_to_f32(half_of(min / 63));
    uint8_t scales[8], mins[8];

    for (int r = 0; r < 8; r++) {
        scales[r] = six_bits(per_scale * f->scale[r0 + r]);
        mins[r] = six_bits(per_min * f->min[r0 + r]);
        levels_above_minimum(x + r * 32, o, d * (float)scales[r], dmin * (float)mins[r], f, r0 + r, q + r * 32);
    }
    put_half(b, scale / 63);
    put_half(b + 2, min / 63);
    pack_scales(scales, mins, b + 4);
}

/* The low four bits of runs 2n and 2n + 1. */
INLINE_HOT void pack_nibbles(const uint8_t *q, uint8_t *b)
{
    for (int n = 0; n < 4; n++)
        for (int l = 0; l < 32; l++)
            b[n * 32 + l] = (uint8_t)((q[n * 64 + l] & 15) | q[n * 64 + 32 + l] << 4);
}

INLINE_HOT void pack_q4_k(const uint8_t *q, uint8_t *b)
{
    pack_nibbles(q, b + 16);
}

INLINE_HOT void pack_q5_k(const uint8_t *q, uint8_t *b)
{
    pack_bits(q, 4, b + 16);
    pack_nibbles(q, b + 48);
}

/* Rows of Q4_K and Q5_K, two super-blocks at a time; the last one of an odd number is searched twice. */
INLINE_HOT void pairs(const float *src, uint8_t *dst, int64_t n_blocks, const struct search *o, int bytes,
                      void (*pack)(const uint8_t *q, uint8_t *b))
{
    float x[MOST], turned[MOST], w[MOST];
    uint8_t q[SUPER];
    struct found f;

    for (int64_t i = 0; i < n_blocks; i++) {
        if (i % 2 == 0) {
            memcpy(x, src + i * SUPER, sizeof x / 2);
            memcpy(x + SUPER, src + (i + 1 < n_blocks ? i + 1 : i) * SUPER, sizeof x / 2);
            turn(x, o->n, turned);
            weigh(turned, o->n, w);
            search_above_minimum(turned, w, o, &f);
        }
        finish_six_bits(x + i % 2 * SUPER, o, &f, i % 2 * 8, dst + i * bytes, q);
        pack(q, dst + i * bytes);
    }
}

EVERY_PROCESSOR void quantise_q4_k(const float *restrict src, uint8_t *restrict dst, int64_t n_blocks)
{
    static const struct search o = { .n = 32, .top = 15, .tries = 21, .first = -1 };

    pairs(src, dst, n_blocks, &o, 144, pack_q4_k);
}

EVERY_PROCESSOR void quantise_q5_k(const float *restrict src, uint8_t *restrict dst, int64_t n_blocks)
{
    static const struct search o = { .n = 32, .top = 31, .tries = 16, .first = -0.5f };

    pairs(src, dst, n_blocks, &o, 176, pack_q5_k);
}

/* ---- Q2_K */

INLINE_HOT void block_q2_k(const float *x, uint8_t *b)
{
    static const struct search o = { .n = RUN, .top = 3, .tries = 16, .first = -0.5f, .magnitudes = true };
    float turned[SUPER], w[SUPER], scale, min, d, dmin;
    uint8_t q[SUPER];
    struct found f;

    turn(x, RUN, turned);
    for (int i = 0; i < SUPER; i++)
        w[i] = fabsf(turned[i]);
    search_above_minimum(turned, w, &o, &f);
    scale = largest_of(f.scale, RUNS);
    min = largest_of(f.min, RUNS);
    put_half(b + 80, scale / 15);
    put_half(b + 82, min / 15);
    d = f16_to_f32(half_of(scale / 15));
    dmin = f16_to_f32(half_of(min / 15));
    for (int r = 0; r < RUNS; r++) {
        int low = scale > 0 ? nearest(15 / scale * f.scale[r]) : 0; /* if negative, it fills the high bits, too */
        int high = min > 0 ? nearest(15 / min * f.min[r]) : 0;

        b[r] = (uint8_t)((unsigned)low | (unsigned)high << 4);
        levels_above_minimum(x + r * RUN, &o, d * (float)(b[r] & 15), dmin * (float)(b[r] >> 4), &f, r, q + r * RUN);
    }
    pack_pairs_of_bits(q, b + 16);
}

EVERY_PROCESSOR void quantise_q2_k(const float *restrict src, uint8_t *restrict dst, int64_t n_blocks)
{
    for (int64_t i = 0; i < n_blocks; i++)
        block_q2_k(src + i * SUPER, dst + i * 84);
}
