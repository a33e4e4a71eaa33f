/*
 * shadow - the shadow on the ground that belongs to what a mask marks: it is marked, too, where it is found beyond
 * doubt. What is not beyond doubt stays: a shadow that is left is a blemish, somebody's dog painted away is a lost
 * photo.
 *
 *   photo  [H, W, 3] u8, sRGB or close to it
 *   mask   [H, W, 1] u8, 255 repaint, 0 keep, of the photo's size; changed in place, marks are only added
 *
 * The ground around the lower half of the figure is looked at in some 256 cells across. Its outer frame says which
 * colours the lit ground has. A region is a shadow when all of this holds:
 *   - it adjoins the lower edge of the mask;
 *   - its light is that of a ground times one factor, which is about the same in all channels and everywhere (the sky
 *     makes shadows a little blue);
 *   - it ends within SHADOW_REACH of the figure's size, and has no more than SHADOW_AREA of the mask's pixels;
 *   - nearly all along its edge the ground beside it is brighter by that factor;
 *   - the edge is softer than that of any thing in focus. A small picture of a hard shadow fails here, as it must.
 *
 * Memory: some 30 bytes a cell from the arena, given back. Time: each pixel of the window is read once.
 * Errors  ERR_INVALID the sizes differ; ERR_NOMEM
 */
#ifndef MODELS_MASK_SHADOW_H
#define MODELS_MASK_SHADOW_H

#include "models/image/image.h"

/* How far it goes in sizes of the figure (the longer side of its box), and its most pixels, as a part of the mask's. */
#define SHADOW_REACH 1.0
#define SHADOW_AREA  0.75

/* Why nothing was added, or that something was. */
enum shadow_result {
    SHADOW_ADDED,
    SHADOW_NONE,       /* nothing dark below the mask */
    SHADOW_NO_GROUND,  /* too little of the ground is in the photo */
    SHADOW_TOO_LARGE,  /* the dark region goes on too far: another ground, evening */
    SHADOW_NOT_LIKELY, /* its edge has no brighter ground of the same colour beside it: an animal, a pattern */
    SHADOW_TOO_SHARP,  /* its edge is that of a thing */
    SHADOW_RESULTS
};
extern const char *const shadow_result_names[SHADOW_RESULTS]; /* for the record: "added", "none", ... */

struct shadow {
    enum shadow_result result;
    int64_t added; /* pixels */
    double share;  /* of the pixels that were marked before */
    double light;  /* that the shadow leaves, 0 to 1; 1: none was found */
};

MUST_CHECK enum err_code shadow_grow(struct arena *a, const struct image *photo, const struct image *mask,
                                     struct shadow *ret, struct err *err);

#endif
