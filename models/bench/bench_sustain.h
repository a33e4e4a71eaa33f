/*
 * bench_sustain - one piece of work run again and again, as long as the product would run it.
 *
 * A card that is short of power computes a third faster in its first second than for the rest of the minute, so on a
 * card nothing counts before `warm_up_s` are over, what counts is the mean, and clock and watts stand beside it. The
 * host queues a run while the one before it is computed, as the pipeline does, and some of them when they are short; a
 * run's time is that between two marks on the backend's stream. Where runs do not queue, the same loop times each
 * alone.
 */
#ifndef MODELS_BENCH_BENCH_SUSTAIN_H
#define MODELS_BENCH_BENCH_SUSTAIN_H

#include "models/bench/bench.h"

/* Queues one run; may be called some runs ahead of the device. */
typedef enum err_code bench_run_fn(void *ctx, struct err *err);

/* Adds to `f` at least o->repeats runs, and on a card at least o->measure_s of them. */
MUST_CHECK enum err_code bench_sustain(const struct bench_options *o, struct bench_figure *f, bench_run_fn *run,
                                       void *ctx, struct err *err);

/* Adds one run that took so long. */
void bench_keep(const struct bench_options *o, struct bench_figure *f, double seconds);
/* One that began then, by bench_clock(). */
void bench_keep_since(const struct bench_options *o, struct bench_figure *f, double start);

#endif
