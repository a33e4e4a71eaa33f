/*
 * bench_rig - what every benchmark of a network needs: random weights, and the arenas of host and backend.
 */
#ifndef MODELS_BENCH_BENCH_RIG_H
#define MODELS_BENCH_BENCH_RIG_H

#include "kernels/devarena.h"
#include "models/bench/bench.h"
#include "models/bench/random_model.h"
#include "models/weights/weights.h"

struct bench_rig {
    const struct bench_options *o;
    struct arena arena, scratch;
    struct devarena weights, request_mem, step_mem; /* the last two are opened by the benchmark */
    struct random_model made_up;
    struct tensor_file file;
    struct weight_set set;
    struct weight_loader loader;
};

/* An empty random model whose matrices get the type o->quant. */
MUST_CHECK enum err_code bench_rig_open(struct bench_rig *r, const struct bench_options *o, enum random_weights weights,
                                        struct err *err);
void bench_rig_close(struct bench_rig *r); /* also after bench_rig_open failed */

/* An F32 tensor from request_mem, with values between -1 and 1. */
MUST_CHECK enum err_code bench_rig_input(struct bench_rig *r, struct tensor *t, int n_dims, const int64_t *dims,
                                         struct err *err);

/* A product large enough to reach the backend's best, with weights that need no expanding. */
MUST_CHECK enum err_code bench_rig_product(struct bench_rig *r, struct bench_figure *f, struct err *err);

#endif
