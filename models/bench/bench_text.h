/*
 * bench_text - T5-XXL and CLIP-L of random weights: how long a prompt takes.
 *
 * T5's matrices have the type asked for, CLIP's BF16, as their files have them. o->n_txt tokens for T5, 77 for CLIP.
 */
#ifndef MODELS_BENCH_BENCH_TEXT_H
#define MODELS_BENCH_BENCH_TEXT_H

#include "models/bench/bench.h"

enum { BENCH_T5_LAYERS = 24, BENCH_CLIP_LAYERS = 12 };

struct bench_text {
    struct bench_figure load, t5, clip, product; /* load: seconds only */
    int t5_layers, clip_layers;
    size_t weight_bytes, step_bytes, device_bytes; /* as those of struct bench_step */
};

MUST_CHECK enum err_code bench_text(const struct bench_options *o, struct bench_text *ret, struct err *err);

#endif
