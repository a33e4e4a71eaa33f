/*
 * sample - tensors for tests of operations: seeded values, rows with a gap between them, and guard bytes in the gaps
 * and around the tensor, which sample_done() checks.
 */
#ifndef TEST_SUPPORT_SAMPLE_H
#define TEST_SUPPORT_SAMPLE_H

#include "kernels/quant.h"
#include "kernels/tensor.h"

void sample_seed(uint64_t seed);
double sample_uniform(void); /* -1 .. 1 */

/* rows x cols values of -1 .. 1, `gap` elements between rows (F32 or BF16). */
struct tensor sample_2d(enum dtype t, int64_t rows, int64_t cols, int64_t gap);
struct tensor sample_1d(int64_t n);
struct tensor sample_3d(enum dtype t, int64_t d0, int64_t d1, int64_t d2);
/* A dense F32 tensor of the same shape and values. */
struct tensor sample_f32(const struct tensor *t);
/* A weight of any type: F32 and BF16 hold values of -1 .. 1, the others random blocks with small scales. */
struct weight sample_weight(enum dtype t, int64_t rows, int64_t cols);

float sample_at(const struct tensor *t, int64_t row, int64_t col);
void sample_put(const struct tensor *t, int64_t row, int64_t col, float value);

/* ||got - want|| / ||want||; NaN and a zero reference do not compare as small. */
double sample_rel(const struct tensor *got, const struct tensor *want);

/* Frees everything made since the last call; false when a guard byte changed. */
bool sample_done(void);

#endif
