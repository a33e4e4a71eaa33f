/*
 * bench_text - how long a prompt takes in T5-XXL and CLIP-L, on random weights.
 *
 * T5's matrices have the type asked for, CLIP's are BF16, as in their files. T5 gets o->n_txt tokens, CLIP 77.
 */
#ifndef MODELS_BENCH_BENCH_TEXT_H
#define MODELS_BENCH_BENCH_TEXT_H

#include "models/bench/bench.h"

enum { BENCH_T5_LAYERS = 24, BENCH_CLIP_LAYERS = 12 };

struct bench_text {
    struct bench_figure load, t5, clip, product; /* load: no FLOP */
    int t5_layers, clip_layers;
    size_t weight_bytes, step_bytes, device_bytes; /* as in struct bench_step */
};

MUST_CHECK enum err_code bench_text(const struct bench_options *o, struct bench_text *ret, struct err *err);

#endif
