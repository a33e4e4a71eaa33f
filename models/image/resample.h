/*
 * resample - Lanczos resampling in float, for what is computed with before it is rounded: bands in a smooth sky come
 * from rounding twice.
 *
 *   struct image_f32  [H, W, 3] f32, in levels: 0 black, 255 white, and beyond both where a computation leads there
 *
 * The filter, its support and the treatment of borders are those of image_resize() (resize.h), so that a result that is
 * rounded differs from that one's by its two roundings alone.
 */
#ifndef MODELS_IMAGE_RESAMPLE_H
#define MODELS_IMAGE_RESAMPLE_H

#include "models/image/image.h"

struct image_f32 {
    int width, height; /* pixels */
    float *pixels;     /* [height, width, 3], from an arena */
};

/* Zeroed, from the arena. Errors of image_new(). */
MUST_CHECK enum err_code image_f32_new(struct arena *a, int width, int height, struct image_f32 *ret, struct err *err);

/* Of an RGB picture. */
MUST_CHECK enum err_code image_f32_from(struct arena *a, const struct image *src, struct image_f32 *ret,
                                        struct err *err);

/* The part `box` of `src` at width x height pixels; a copy where the size is the same. ERR_INVALID: the box is empty,
 * or not within width x height. */
MUST_CHECK enum err_code image_f32_resize_box(struct arena *a, const struct image_f32 *src, int width, int height,
                                              struct image_box box, struct image_f32 *ret, struct err *err);

#endif
