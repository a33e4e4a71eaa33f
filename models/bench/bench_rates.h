/*
 * bench_rates - every rate of bench_rate.h, one after the other, as long as the options say. Each figure's `flop` is
 * that of a run, or for the copy its bytes.
 */
#ifndef MODELS_BENCH_BENCH_RATES_H
#define MODELS_BENCH_BENCH_RATES_H

#include "kernels/bench_rate.h"
#include "models/bench/bench.h"

enum { BENCH_RATES_SIDE = 8192 };

struct bench_rates {
    struct bench_figure kinds[RATE_KINDS]; /* not measured: why is in `missing` */
    char missing[RATE_KINDS][ERR_MESSAGE_MAX];
};

/* `side`: BENCH_RATES_SIDE, or less for a test. A kind that fails keeps no other from being measured, and `ret` is
 * filled in any case: what the card or its library does not have is missing, everything else is the first such error.
 * ERR_UNAVAILABLE where the backend is no card. */
MUST_CHECK enum err_code bench_rates(const struct bench_options *o, int64_t side, struct bench_rates *ret,
                                     struct err *err);

#endif
