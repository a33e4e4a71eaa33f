/*
 * resize - Lanczos resampling of 8-bit pictures, byte for byte what Pillow 13.0 does.
 *
 *   src   [H, W, C] u8, C = 1 or 3
 *   ret   [height, width, C] u8, from the arena; a copy of src when the size is the same
 *
 * Two passes, each along one axis; the result of the first is rounded to u8 before the second, so their order shows.
 * A pass that would not change its size is left out. Filter weights are made in double and used as 22-bit fixed
 * point. Between the passes a picture of src's size in one direction and ret's in the other is taken from the arena
 * and given back.
 *
 * Errors  as image_new(), ERR_NOMEM
 * Source  Pillow src/libImaging/Resample.c; Duchon 1979
 */
#ifndef MODELS_IMAGE_RESIZE_H
#define MODELS_IMAGE_RESIZE_H

#include "models/image/image.h"

MUST_CHECK enum err_code image_resize(struct arena *a, const struct image *src, int width, int height,
                                      struct image *ret, struct err *err);

/* Only this part of what image_resize() would make; nothing else is computed. ERR_INVALID for an empty box or one that
 * is not within width x height. */
MUST_CHECK enum err_code image_resize_box(struct arena *a, const struct image *src, int width, int height,
                                          struct image_box box, struct image *ret, struct err *err);

#endif
