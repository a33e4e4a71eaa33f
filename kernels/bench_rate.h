/*
 * bench_rate - what a card gives at best: products of large matrices in each of its types, by cuBLASLt, and a copy.
 *
 * Whether another type pays is a question of these rates and of nothing else, and the makers' figures do not answer it
 * for a card that is short of power. Operands have values as weights and activations have them: zeros would take less
 * power. Sums are made in the type that the hardware has for it (int32, f32) and stored as an engine needs them.
 */
#ifndef KERNELS_BENCH_RATE_H
#define KERNELS_BENCH_RATE_H

#include "kernels/backend.h"

/* bf16 x bf16 -> bf16; e4m3 x e4m3 -> bf16, with the fast sums that inference uses; int8 x int8 -> int32, and -> int8;
 * a device copy of 1 GiB. */
enum rate_kind { RATE_BF16, RATE_FP8, RATE_INT8, RATE_INT8_NARROW, RATE_COPY, RATE_KINDS };

struct bench_rate;

const char *bench_rate_name(enum rate_kind kind);

/* Products are side x side x side, a multiple of 16. ERR_UNSUPPORTED where the library has none of this kind for the
 * card, ERR_UNAVAILABLE where the backend is no card; ERR_NOMEM, ERR_GPU. */
MUST_CHECK enum err_code bench_rate_open(struct backend *be, enum rate_kind kind, int64_t side, struct bench_rate **ret,
                                         struct err *err);
void bench_rate_close(struct bench_rate *r); /* takes NULL; waits for what is queued */

/* Queues one product or copy on the backend's stream. */
MUST_CHECK enum err_code bench_rate_queue(struct bench_rate *r, struct err *err);

/* Of one: operations, two a multiplication; or bytes, read and written both. */
double bench_rate_work(const struct bench_rate *r);

#endif
