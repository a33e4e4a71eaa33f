/*
 * bench_rates - measures every rate of bench_rate.h, one after the other, for as long as the options say. A figure's
 * `flop` is the FLOP of one run; for the copy it is the bytes.
 */
#ifndef MODELS_BENCH_BENCH_RATES_H
#define MODELS_BENCH_BENCH_RATES_H

#include "kernels/bench_rate.h"
#include "models/bench/bench.h"

enum { BENCH_RATES_SIDE = 8192 };

struct bench_rates {
    struct bench_figure kinds[RATE_KINDS];
    char missing[RATE_KINDS][ERR_MESSAGE_MAX]; /* why a kind was not measured; else "" */
};

/* `side`: BENCH_RATES_SIDE, or less for a test. A kind that fails does not keep the next ones from being measured, and
 * `ret` is set in any case. A kind that the card or its library lacks is not an error; otherwise the first error is
 * returned. ERR_UNAVAILABLE where the backend does not run on a card. */
MUST_CHECK enum err_code bench_rates(const struct bench_options *o, int64_t side, struct bench_rates *ret,
                                     struct err *err);

#endif
