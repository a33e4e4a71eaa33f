#include "test/support/sample.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SAMPLES = 256, GUARD = 64, GUARD_BYTE = 0xa5 };

static struct {
    char *memory;
    struct tensor t; /* n_dims 0: `memory` holds a weight, which has no guard bytes */
} samples[MAX_SAMPLES];
static int n_samples;
static uint64_t state = 1;

void sample_seed(uint64_t seed)
{
    state = seed * 0x9e3779b97f4a7c15u + 1;
}

static uint32_t next(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

double sample_uniform(void)
{
    return (double)next() / 2147483647.5 - 1.0;
}

static size_t value_bytes(enum dtype t)
{
    return (size_t)dtype_info(t)->block_bytes;
}

static void *keep(size_t bytes, const struct tensor *t)
{
    char *memory = malloc(bytes + 2 * GUARD);

    assert(memory && n_samples < MAX_SAMPLES);
    memset(memory, GUARD_BYTE, bytes + 2 * GUARD);
    samples[n_samples].memory = memory;
    samples[n_samples].t = t ? *t : (struct tensor){ 0 };
    samples[n_samples++].t.data = memory + GUARD;
    return memory + GUARD;
}

static struct tensor fill(struct tensor t)
{
    t.data = keep((size_t)(tensor_rows(&t) * t.row_stride) * value_bytes(t.dtype), &t);
    for (int64_t r = 0; r < tensor_rows(&t); r++)
        for (int64_t c = 0; c < tensor_cols(&t); c++)
            sample_put(&t, r, c, (float)sample_uniform());
    return t;
}

struct tensor sample_2d(enum dtype t, int64_t rows, int64_t cols, int64_t gap)
{
    struct tensor made = tensor_2d(t, rows, cols, NULL);

    made.row_stride += gap;
    return fill(made);
}

struct tensor sample_1d(int64_t n)
{
    return fill(tensor_1d(DT_F32, n, NULL));
}

struct tensor sample_3d(enum dtype t, int64_t d0, int64_t d1, int64_t d2)
{
    return fill(tensor_3d(t, d0, d1, d2, NULL));
}

struct tensor sample_f32(const struct tensor *t)
{
    struct tensor made = fill(tensor_make(DT_F32, t->n_dims, t->dims, NULL));

    for (int64_t r = 0; r < tensor_rows(t); r++)
        for (int64_t c = 0; c < tensor_cols(t); c++)
            sample_put(&made, r, c, sample_at(t, r, c));
    return made;
}

/* The offsets of a block's half-precision numbers: d, then m or dmin; -1 where it has none. */
static const struct {
    int d, m;
} halves[DT_COUNT] = {
    [DT_Q8_0] = { 0, -1 }, [DT_Q4_0] = { 0, -1 },   [DT_Q4_1] = { 0, 2 },    [DT_Q5_0] = { 0, -1 },
    [DT_Q5_1] = { 0, 2 },  [DT_Q2_K] = { 80, 82 },  [DT_Q3_K] = { 108, -1 }, [DT_Q4_K] = { 0, 2 },
    [DT_Q5_K] = { 0, 2 },  [DT_Q6_K] = { 208, -1 }, [DT_IQ4_NL] = { 0, -1 }, [DT_IQ4_XS] = { 0, -1 },
};

static void put_half(uint8_t *at, uint16_t h)
{
    memcpy(at, &h, sizeof h);
}

static void fill_block(enum dtype t, uint8_t *b, size_t bytes)
{
    float f = (float)sample_uniform();
    uint16_t h = f32_to_bf16(f);

    for (size_t i = 0; i < bytes; i++)
        b[i] = (uint8_t)next();
    if (t == DT_F32)
        memcpy(b, &f, sizeof f);
    else if (t == DT_BF16)
        put_half(b, h);
    else if (t == DT_F16)
        put_half(b, (uint16_t)(0x2c00 + next() % 0x0c00 + (next() & 1) * 0x8000)); /* 1/16 .. 1 */
    else if (t == DT_F8_E4M3 || t == DT_F8_E5M2)
        *b &= 0xbf; /* below 2 */
    else {
        put_half(b + halves[t].d, (uint16_t)(0x1400 + next() % 0x0400)); /* about 1/1000 */
        if (halves[t].m >= 0)
            put_half(b + halves[t].m, (uint16_t)(0x1400 + next() % 0x0400));
    }
}

struct weight sample_weight(enum dtype t, int64_t rows, int64_t cols)
{
    size_t bytes = dtype_row_bytes(t, cols) * (size_t)rows, block = value_bytes(t);
    uint8_t *data = keep(bytes, NULL);

    assert(bytes > 0);
    for (size_t at = 0; at < bytes; at += block)
        fill_block(t, data + at, block);
    return (struct weight){ .dtype = t, .rows = rows, .cols = cols, .data = data };
}

float sample_at(const struct tensor *t, int64_t row, int64_t col)
{
    int64_t at = row * t->row_stride + col;

    return t->dtype == DT_F32 ? ((const float *)t->data)[at] : bf16_to_f32(((const uint16_t *)t->data)[at]);
}

void sample_put(const struct tensor *t, int64_t row, int64_t col, float value)
{
    int64_t at = row * t->row_stride + col;

    if (t->dtype == DT_F32)
        ((float *)t->data)[at] = value;
    else
        ((uint16_t *)t->data)[at] = f32_to_bf16(value);
}

double sample_rel(const struct tensor *got, const struct tensor *want)
{
    double diff = 0, norm = 0;

    for (int64_t r = 0; r < tensor_rows(want); r++)
        for (int64_t c = 0; c < tensor_cols(want); c++) {
            double w = sample_at(want, r, c), d = sample_at(got, r, c) - w;

            diff += d * d;
            norm += w * w;
        }
    return sqrt(diff) / sqrt(norm);
}

static bool guarded(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((const unsigned char *)p)[i] != GUARD_BYTE)
            return false;
    return true;
}

static bool intact(const char *memory, const struct tensor *t)
{
    size_t bytes = value_bytes(t->dtype), cols, stride;
    const char *data = memory + GUARD;

    if (!guarded(memory, GUARD))
        return false;
    if (t->n_dims == 0)
        return true;
    cols = (size_t)tensor_cols(t) * bytes;
    stride = (size_t)t->row_stride * bytes;
    for (int64_t r = 0; r < tensor_rows(t); r++, data += stride)
        if (!guarded(data + cols, stride - cols))
            return false;
    return guarded(data, GUARD);
}

bool sample_done(void)
{
    bool ok = true;

    for (int i = 0; i < n_samples; i++) {
        ok = intact(samples[i].memory, &samples[i].t) && ok;
        free(samples[i].memory);
    }
    n_samples = 0;
    return ok;
}
