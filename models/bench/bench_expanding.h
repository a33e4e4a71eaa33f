/*
 * bench_expanding - how much of the expanding of weights is hidden behind products, on a device that keeps them as they
 * are stored. Two more figures beside that of a step tell it: all matrices of a step expanded while nothing else runs,
 * and a step whose products take other matrices of the same shapes, which need no expanding. There is one of each
 * shape, and the smaller ones may stay in the second-level cache, so what shows of the expanding is told at its most.
 */
#ifndef MODELS_BENCH_BENCH_EXPANDING_H
#define MODELS_BENCH_BENCH_EXPANDING_H

#include "kernels/base/arena.h"
#include "models/bench/bench_sustain.h"
#include "models/flux/flux.h"

/* Whether the backend expands this model's matrices while it runs. */
bool bench_expands(const struct flux *f);

/* `step` queues a step of `f`. The matrices that stand in for its own come from `host` and stay in the backend. */
MUST_CHECK enum err_code bench_expanding(const struct bench_options *o, const struct flux *f, bench_run_fn *step,
                                         void *step_ctx, struct arena *host, struct bench_step *ret, struct err *err);

#endif
