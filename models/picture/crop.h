/*
 * crop - which parts of a photo the model paints, and at which size.
 *
 *   1. what is marked falls into parts; parts that are close become one, and so do those that cost less together
 *   2. the box of a part, grown as the model's mask is, becomes half as large again, with CROP_CONTEXT pixels around it
 * at least, and CROP_LEAST_SIDE a side in all, because the model paints badly on less; it is shifted to stay inside
 *   3. its sides are multiples of 16, a token of the model. Where the photo itself has no such side and all of it is
 *      needed, the model's picture is a little larger than the box, and mirrored beyond the photo's edge
 *   4. it is painted at the photo's own scale where CROP_MAX_TOKENS allow that, else at the largest that they allow
 *
 * With PICTURE_FULL there is one crop, the whole photo, whose longer side is painted with at most PAINT_LONG_SIDE
 * pixels.
 *
 * A crop holds no marks but its own, grown ones included, so that crops may be painted in any order.
 */
#ifndef MODELS_PICTURE_CROP_H
#define MODELS_PICTURE_CROP_H

#include "models/image/image.h"
#include "models/picture/picture_settings.h"

enum {
    PAINT_LONG_SIDE = 1024, /* pixels, of a square that has as many tokens as are allowed */
    PAINT_MOST_SIDE = 4096, /* pixels; FILL_MAX_SIDE */
    PAINT_SHORT_SIDE = 64,
    PAINT_MULTIPLE = 16, /* 8 for the VAE, times 2 for the packing of the latents */
    CROP_MAX = 3,
    CROP_MAX_TOKENS = PAINT_LONG_SIDE / PAINT_MULTIPLE * (PAINT_LONG_SIDE / PAINT_MULTIPLE),
    CROP_CONTEXT = 64,     /* pixels of the photo beyond the grown mask */
    CROP_LEAST_SIDE = 512, /* pixels, where the photo has them */
    CROP_RUN_TOKENS = 512  /* what another run costs besides its picture: the tokens of its text */
};

struct crop {
    struct image_box box;  /* of the photo */
    struct image_box hole; /* in it: the box of what is marked, grown */
    /* Pixels of what the model paints. At scale 1 the box is its upper left part, and all of it nearly always. */
    int fill_width, fill_height;
    double scale; /* painted pixels for one of the photo, 1 at most; the smaller one of both directions */
};

struct crop_plan {
    struct crop crops[CROP_MAX];
    int n;
};

/* mask [H, W, 1], marked where not 0, and not empty; `grow` pixels. ERR_INVALID: an empty mask; ERR_NOMEM. */
MUST_CHECK enum err_code crop_plan(struct arena *a, const struct image *mask, int grow, enum picture_geometry_mode mode,
                                   struct crop_plan *ret, struct err *err);

/* Tokens of the model for one crop. */
int crop_tokens(const struct crop *c);

/* The crop's box and the model's picture are pixel by pixel the same. */
static inline bool crop_is_native(const struct crop *c)
{
    return c->scale == 1;
}

#endif
