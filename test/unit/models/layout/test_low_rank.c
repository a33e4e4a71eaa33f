#include "models/layout/low_rank.h"

#include <string.h>

#include "kernels/quant.h"
#include "test/support/check.h"

enum { ROWS = 71, MOST_RANK = 300, MOST_COLS = 530, STRIDE = 536 };

static float uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005U + 1442695040888963407U;
    return (float)(int32_t)(*state >> 32) * 0x1p-31F;
}

struct product {
    float a[MOST_RANK * MOST_COLS], b[ROWS * MOST_RANK];
    uint16_t a_bf16[MOST_RANK * MOST_COLS], b_bf16[ROWS * MOST_RANK];
    struct low_rank m;
};

static void make(struct product *p, int rank, int cols, enum dtype dtype)
{
    uint64_t state = (uint64_t)(rank * 1000 + cols);

    memset(p, 0, sizeof *p);
    for (int i = 0; i < rank * cols; i++) {
        p->a_bf16[i] = f32_to_bf16(uniform(&state));
        p->a[i] = bf16_to_f32(p->a_bf16[i]);
    }
    for (int i = 0; i < ROWS * rank; i++) {
        p->b_bf16[i] = f32_to_bf16(uniform(&state));
        p->b[i] = bf16_to_f32(p->b_bf16[i]);
    }
    p->m = (struct low_rank){ .a_dtype = dtype,
                              .b_dtype = dtype,
                              .a = dtype == DT_F32 ? (const void *)p->a : p->a_bf16,
                              .b = dtype == DT_F32 ? (const void *)p->b : p->b_bf16,
                              .rank = rank,
                              .cols = cols,
                              .factor = 0.75F };
}

/* By the formula: sums in f32, k ascending, and the product with the factor before the last sum. */
static void expect(const struct product *p, float *values)
{
    for (int64_t o = 0; o < ROWS; o++)
        for (int64_t j = 0; j < p->m.cols; j++) {
            volatile float sum = 0, term;

            for (int64_t k = 0; k < p->m.rank; k++) {
                term = p->b[o * p->m.rank + k] * p->a[k * p->m.cols + j];
                sum = sum + term;
            }
            term = p->m.factor * sum;
            values[o * STRIDE + j] += term;
        }
}

TEST(low_rank__adds_the_product_to_the_bit_however_rows_are_divided)
{
    static const int ranks[] = { 1, 2, 5, 16, 70, 300 }, widths[] = { 1, 15, 17, 64, 257, 530 };
    static float got[ROWS * STRIDE], want[ROWS * STRIDE];
    static struct product p;

    for (size_t r = 0; r < sizeof ranks / sizeof *ranks; r++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
            for (int chunk = 1; chunk <= ROWS; chunk += 34) {
                make(&p, ranks[r], widths[w], r % 2 ? DT_BF16 : DT_F32);
                for (int i = 0; i < ROWS * STRIDE; i++)
                    got[i] = want[i] = (float)(i % 13) - 6;
                expect(&p, want);
                for (int o = 0; o < ROWS; o += chunk)
                    low_rank_add(&p.m, o, ROWS - o < chunk ? ROWS - o : chunk, STRIDE, got + o * STRIDE);
                CHECK(!memcmp(got, want, sizeof got));
            }
}
