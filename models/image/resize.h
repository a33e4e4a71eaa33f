/*
 * resize - Lanczos resampling of 8-bit pictures, with the same bytes as Pillow 13.0.
 *
 *   src   [H, W, C] u8, C = 1 or 3
 *   ret   [height, width, C] u8, from the arena; a copy of src when the size is the same
 *
 * There are two passes, each along one axis. The result of the first is rounded to u8 before the second, so that their
 * order matters. A pass that would not change its size is left out. Filter weights are computed in double and used in
 * 22-bit fixed point. The picture between the passes has src's size in one direction and ret's in the other; it is
 * taken from the arena and given back.
 *
 * Errors  as image_new(), ERR_NOMEM
 * Source  Pillow src/libImaging/Resample.c; Duchon 1979
 */
#ifndef MODELS_IMAGE_RESIZE_H
#define MODELS_IMAGE_RESIZE_H

#include "models/image/image.h"

MUST_CHECK enum err_code image_resize(struct arena *a, const struct image *src, int width, int height,
                                      struct image *ret, struct err *err);

/* A part of what image_resize() would make; only this part is computed. ERR_INVALID: the box is empty, or not within
 * width x height. */
MUST_CHECK enum err_code image_resize_box(struct arena *a, const struct image *src, int width, int height,
                                          struct image_box box, struct image *ret, struct err *err);

/* A copy of a part of src. Errors as image_resize_box(). */
static inline MUST_CHECK enum err_code image_cut(struct arena *a, const struct image *src, struct image_box box,
                                                 struct image *ret, struct err *err)
{
    return image_resize_box(a, src, src->width, src->height, box, ret, err);
}

#endif
