/*
 * bench - how long the parts of a job take, on random weights of the real sizes: no download needed.
 *
 * On a card the mean of the runs counts, after a warm-up (bench_sustain.h); elsewhere the shortest, for a shared
 * machine only ever adds to a time. What is waited for piece by piece leaves a card time to cool: the parts of a step
 * need not add up to the step.
 *
 * FLOP: two a multiplication in matrix products and attention; everything else counts as nothing but its time counts.
 * Errors: ERR_NOMEM, ERR_INVALID for sizes the model refuses, what the backend returns.
 */
#ifndef MODELS_BENCH_BENCH_H
#define MODELS_BENCH_BENCH_H

#include "models/bench/bench_kinds.h"
#include "models/flux/flux.h"

enum { BENCH_STEPS = 28 };

struct bench_options {
    struct backend *be;
    const struct flux_config *config; /* of the transformer in a step; NULL: FLUX.1-Fill's */
    enum dtype quant;                 /* of the transformer's matrices */
    enum weight_mode weights;         /* how a device with memory of its own keeps them */
    int width, height;                /* pixels, multiples of 16 */
    int n_txt;                        /* text tokens */
    int64_t product_side;             /* of the product that is the measure; 0: large enough for the backend's best */
    int max_layers;                   /* of each text encoder and kind of block, where all take too long; 0: all */
    int repeats;                      /* runs that count, at least */
    int ahead;        /* on a card: runs that are queued ahead, 4 at most; 0: as their length asks for */
    double warm_up_s; /* on a card: before any run counts */
    double measure_s; /* on a card: of runs that count, at least */
};

/* Times of one kind of run. */
struct bench_figure {
    int n_runs; /* 0: not measured */
    double mean, least, most, squares;
    bool by_mean;              /* the mean counts, else the least */
    double clock_mhz, power_w; /* of a card meanwhile; 0 or NaN: unknown */
    double flop;               /* of a run */
};

double bench_seconds(const struct bench_figure *f); /* that count */
double bench_deviation(const struct bench_figure *f);

/* One double and one single block of FLUX.1 (hidden 3072, 24 heads), and between them, on the CPU with oneDNN, a plain
 * product of about the same work with weights expanded beforehand. */
struct bench_blocks {
    struct bench_figure double_block, single_block, product;
};
MUST_CHECK enum err_code bench_blocks(const struct bench_options *o, struct bench_blocks *ret, struct err *err);

/* The autoencoder (128, 256, 512, 512 channels): seconds only, and what it takes from the step arena. */
struct bench_vae {
    struct bench_figure encode, decode;
    size_t step_bytes;
};
MUST_CHECK enum err_code bench_vae(const struct bench_options *o, struct bench_vae *ret, struct err *err);

/*
 * One denoising step of the whole transformer, and a large product of the backend's own as its measure.
 *
 * Where weights are expanded while a step runs: that by itself, and a step whose products find theirs ready, made of
 * other weights of the same shapes. What the expanding takes longer by itself than it lengthens a step was hidden
 * behind products.
 */
struct bench_step {
    struct bench_figure load, step, product; /* load: of all weights into the backend, seconds only */
    struct bench_figure prepare;             /* what a job of BENCH_STEPS steps does once before them, seconds only */
    struct bench_figure queueing;            /* the host's part of it, seconds only; none where nothing runs behind */
    struct bench_figure kinds[BENCH_KINDS];  /* of it, each at its best */
    struct bench_figure expanding, without_expanding; /* none where nothing is expanded */
    size_t weight_bytes, job_bytes, step_bytes;
    size_t device_bytes; /* in use on the device while it runs; 0: it has no memory of its own */
};
MUST_CHECK enum err_code bench_step(const struct bench_options *o, struct bench_step *ret, struct err *err);

#endif
