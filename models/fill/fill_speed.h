/*
 * fill_speed - how long the largest request of a model takes on its backend, estimated from a small one.
 *
 * The time of a step is scaled by its FLOP (models/flux/flux_flop.h), that of the autoencoder by the pixels, that of
 * the text encoders by the tokens. A small picture uses a backend badly, so the estimate is too long, by as much as
 * four times from 64 x 64 pixels: it is a bound, and only where it is over the limit is a larger picture painted. Each
 * part counts with its shortest time, because other work on a machine can only add to a time.
 */
#ifndef MODELS_FILL_FILL_SPEED_H
#define MODELS_FILL_FILL_SPEED_H

#include "models/fill/fill.h"

/* A request that was timed. */
struct fill_timed {
    int width, height, t5_len; /* pixels, text tokens */
    struct fill_timings took;  /* n_steps 0: there was none */
};

struct fill_speed {
    int width, height, steps; /* of the request that is estimated: the largest that the model was opened for */
    double seconds;           /* of the whole request */
    double step_seconds;      /* of one of its steps */
    int measured_width, measured_height,
        n_measured; /* the picture that the estimate comes from, and how often it ran */
};

struct fill_speed fill_speed_from(const struct fill_model *m, const struct fill_timed *t);

/* The estimate from `known` if it is within limit_s; else from a larger picture, which is painted up to three times
 * until an estimate is within the limit. Errors of fill_run. */
MUST_CHECK enum err_code fill_speed_measure(struct fill_model *m, const struct fill_timed *known, double limit_s,
                                            struct fill_speed *ret, struct err *err);

#endif
