/*
 * bench_expanding - how much of the expanding of weights is hidden behind products, on a device that keeps matrices as
 * their file does. Two figures beside that of a step show it: all matrices of a step expanded while nothing else runs,
 * and a step whose products take other matrices of the same shapes, which need no expanding. There is one such matrix
 * for each shape, and a small one may stay in the second-level cache, so the difference between the steps is the most
 * that the expanding can cost.
 */
#ifndef MODELS_BENCH_BENCH_EXPANDING_H
#define MODELS_BENCH_BENCH_EXPANDING_H

#include "kernels/base/arena.h"
#include "models/bench/bench_sustain.h"
#include "models/flux/flux.h"

/* Whether the backend expands this model's matrices while it runs. */
bool bench_expands(const struct flux *f);

/* All matrices of a step, expanded while nothing else runs. */
MUST_CHECK enum err_code bench_expanding_alone(const struct bench_options *o, const struct flux *f,
                                               struct bench_figure *ret, struct err *err);

/* A step without expanding; `step` queues one. The matrices that its products take come from `host`, which is rewound,
 * and stay in the backend. */
MUST_CHECK enum err_code bench_without_expanding(const struct bench_options *o, bench_run_fn *step, void *step_ctx,
                                                 struct arena *host, struct bench_figure *ret, struct err *err);

#endif
