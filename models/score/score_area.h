/*
 * score_area - the part of a photo that scores.h looks at: the pasted part and what surrounds it, made small enough.
 *
 * The box of the paste grows by SCORE_MARGIN pixels, or by a quarter of its long side where that is more, up to
 * SCORE_MARGIN_MAX. An area of more than SCORE_AREA_MAX pixels is reduced by averaging squares of `factor` pixels, so
 * that the time is bounded. All planes are from the arena.
 */
#ifndef MODELS_SCORE_SCORE_AREA_H
#define MODELS_SCORE_SCORE_AREA_H

#include "models/image/image.h"

enum {
    SCORE_MARGIN = 64, /* pixels of the photo */
    SCORE_MARGIN_MAX = 256,
    SCORE_AREA_MAX = 1 << 20, /* pixels */
    SCORE_PASTED = 128        /* a pixel that the paste covers at least this far is inside */
};

/* What is compared: pictures of one size, the caller's. */
struct score_pictures {
    const struct image *before, *after; /* RGB: the photo, and the photo with what was painted in it */
    const struct image *mask;           /* grey: 0 or 255, what the user marked */
    const struct image *paste; /* grey: 0 .. 255, the share of the painted picture; 0: both pictures are equal */
};

struct score_area {
    struct image_box box; /* in the pictures */
    int factor;           /* pixels of the pictures a pixel of the area, each axis */
    int width, height;
    uint8_t *before, *after;         /* [height, width, 3] */
    uint8_t *mask, *paste;           /* [height, width]; a mask's pixel is 255 where any of its square is marked */
    float *grey_before, *grey_after; /* [height, width], 0 .. 255 */
};

/* ERR_INVALID: sizes or channels that do not fit. *ret_empty: nothing was pasted, and there is no area. */
MUST_CHECK enum err_code score_area_new(struct arena *a, const struct score_pictures *in, struct score_area *ret,
                                        bool *ret_empty, struct err *err);

/* The value that `share` of n values lie below; they are put in order. 0 where n is 0. */
double score_quantile(double *values, int n, double share);

#endif
