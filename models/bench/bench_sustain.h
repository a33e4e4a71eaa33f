/*
 * bench_sustain - runs one piece of work again and again, for as long as a service would.
 *
 * A card that is short of power computes a third faster in its first second than for the rest of the minute. So on a
 * card no run counts during the first `warm_up_s`, the mean counts, and clock and power are noted with it. As in the
 * pipeline, the host queues the next run while one is computed, and several when runs are short; a run's time is the
 * time between two marks on the backend's stream. On a backend that does not queue, the same loop times each run alone.
 */
#ifndef MODELS_BENCH_BENCH_SUSTAIN_H
#define MODELS_BENCH_BENCH_SUSTAIN_H

#include "models/bench/bench.h"

/* Queues one run; may be called some runs ahead of the device. */
typedef enum err_code bench_run_fn(void *ctx, struct err *err);

/* Adds to `f` at least o->repeats runs, and on a card at least o->measure_s of them. */
MUST_CHECK enum err_code bench_sustain(const struct bench_options *o, struct bench_figure *f, bench_run_fn *run,
                                       void *ctx, struct err *err);

/* Adds one run that took `seconds`. */
void bench_keep(const struct bench_options *o, struct bench_figure *f, double seconds);
/* Adds one run that began at `start` (bench_clock()) and ends now. */
void bench_keep_since(const struct bench_options *o, struct bench_figure *f, double start);

#endif
