/*
 * bench - how long the networks take, on random weights of the real sizes: no download needed.
 *
 * On a card the mean of the runs counts, after a warm-up (bench_sustain.h); elsewhere the shortest run, because other
 * work on a shared machine only adds to a time. A card cools while the host waits between parts, so the parts of a step
 * need not add up to the step.
 *
 * FLOP: two for each multiplication in matrix products and attention. Nothing else is counted as FLOP, but all of it is
 * part of the time. Errors: ERR_NOMEM, ERR_INVALID for sizes the model refuses, the backend's errors.
 */
#ifndef MODELS_BENCH_BENCH_H
#define MODELS_BENCH_BENCH_H

#include "models/bench/bench_kinds.h"
#include "models/flux/flux.h"

enum { BENCH_STEPS = 28 };

struct bench_options {
    struct backend *be;
    const struct flux_config *config; /* sizes of the transformer in a step; NULL: FLUX.1-Fill's */
    enum dtype quant;                 /* type of the transformer's matrices */
    enum weight_mode weights;         /* how a device with memory of its own keeps matrices */
    int width, height;                /* pixels, multiples of TOKEN_SIDE */
    int n_txt;                        /* text tokens */
    int64_t product_side;             /* sides of the product for comparison; 0: large enough for the backend's best */
    int max_layers;                   /* limit for each text encoder and each kind of block; 0: all layers */
    int repeats;                      /* least number of runs that count */
    int ahead;                        /* on a card: runs queued ahead, at most 4; 0: chosen by the length of a run */
    double warm_up_s;                 /* on a card: time before the first run that counts */
    double measure_s;                 /* on a card: least time of the runs that count */
};

/* The times of repeated runs of the same work. */
struct bench_figure {
    int n_runs;                /* 0: not measured */
    double mean, least, most;  /* seconds */
    double squares;            /* sum of squared deviations from the mean */
    bool by_mean;              /* the mean counts; else the least */
    double clock_mhz, power_w; /* of the card during these runs; 0 or NaN: unknown */
    double flop;               /* in one run */
};

double bench_seconds(const struct bench_figure *f);   /* the mean or the least, whichever counts */
double bench_deviation(const struct bench_figure *f); /* standard deviation, seconds */

/* One double and one single block of FLUX.1 (hidden 3072, 24 heads), run alternately, and on the CPU with oneDNN also a
 * plain product of about the same work, with weights expanded beforehand. */
struct bench_blocks {
    struct bench_figure double_block, single_block, product;
};
MUST_CHECK enum err_code bench_blocks(const struct bench_options *o, struct bench_blocks *ret, struct err *err);

/* The autoencoder (128, 256, 512, 512 channels): times without FLOP, and the bytes that it takes from step_mem. */
struct bench_vae {
    struct bench_figure encode, decode;
    size_t step_bytes;
};
MUST_CHECK enum err_code bench_vae(const struct bench_options *o, struct bench_vae *ret, struct err *err);

/*
 * One denoising step of the whole transformer, and for comparison a large product by the backend's own operation.
 *
 * Where the backend expands weights while a step runs, two more figures: expanding alone, and a step whose products
 * take other weights of the same shapes that need no expanding. A normal step takes longer than this one by the part
 * of the expanding that is not hidden behind products.
 */
struct bench_step {
    struct bench_figure load, step, product; /* load: all weights into the backend; no FLOP */
    struct bench_figure prepare;             /* flux_prepare of a request of BENCH_STEPS steps; no FLOP */
    struct bench_figure queueing;           /* the host's time for queueing a step; only where the device runs behind */
    struct bench_figure kinds[BENCH_KINDS]; /* the operations of a step by kind */
    struct bench_figure expanding, without_expanding; /* only where weights are expanded in a step */
    size_t weight_bytes, request_bytes, step_bytes;
    size_t device_bytes; /* in use on the device during a step; 0: it has no memory of its own */
};
MUST_CHECK enum err_code bench_step(const struct bench_options *o, struct bench_step *ret, struct err *err);

#endif
