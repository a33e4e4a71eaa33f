/*
 * score_blocks - sharpness and grain of the pasted part against what surrounds it, and what is left of the object.
 *
 * Sharpness and grain are measured in blocks of 16 x 16 pixels of the pictures as they are, never of a reduced area,
 * of which at most BLOCKS_MAX on each side are looked at. The object is looked for in the area.
 */
#ifndef MODELS_SCORE_SCORE_BLOCKS_H
#define MODELS_SCORE_SCORE_BLOCKS_H

#include "models/score/score_area.h"

struct score_blocks {
    double sharpness; /* 0 .. 20: variance of the Laplacian inside over that around, of the middle block; 1: equal */
    double grain;     /* 0 .. 20: standard deviation of the noise in flat blocks, inside over around */
    double ghost;     /* -1 .. 1: the share of the removed object that still shows; 0 or less: nothing of it */
};

MUST_CHECK enum err_code score_blocks_measure(struct arena *a, const struct score_pictures *in,
                                              const struct score_area *s, struct score_blocks *ret, struct err *err);

#endif
