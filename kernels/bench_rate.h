/*
 * bench_rate - the best rates of a card: products of large matrices in each of its types, by cuBLASLt, and a copy.
 *
 * These rates decide whether another type would pay. The makers' figures do not, on a card that is limited by its
 * power. Operands have values like those of weights and activations, because zeros would take less power. Sums are
 * computed in the type that the hardware has for them (int32, f32) and stored in the type that a network would need.
 */
#ifndef KERNELS_BENCH_RATE_H
#define KERNELS_BENCH_RATE_H

#include "kernels/backend.h"

/* BF16: bf16 x bf16 -> bf16. FP8: e4m3 x e4m3 -> bf16, with the fast sums that inference uses. INT8: int8 x int8 ->
 * int32; NARROW: -> int8. COPY: a device copy of 1 GiB. */
enum rate_kind { RATE_BF16, RATE_FP8, RATE_INT8, RATE_INT8_NARROW, RATE_COPY, RATE_KINDS };

struct bench_rate;

const char *bench_rate_name(enum rate_kind kind);

/* Products are side x side x side, a multiple of 16. ERR_UNSUPPORTED where the library has no product of this kind for
 * the card, ERR_UNAVAILABLE where the backend does not compute on a card; ERR_NOMEM, ERR_GPU. */
MUST_CHECK enum err_code bench_rate_open(struct backend *be, enum rate_kind kind, int64_t side, struct bench_rate **ret,
                                         struct err *err);
void bench_rate_close(struct bench_rate *r); /* takes NULL; waits for the queued work */

/* Queues one product or copy on the backend's stream. */
MUST_CHECK enum err_code bench_rate_queue(struct bench_rate *r, struct err *err);

/* The work of one product in operations (a multiplication and its addition are two), or the bytes that one copy reads
 * and writes. */
double bench_rate_work(const struct bench_rate *r);

#endif
