/*
 * mask - which pixels are to be repainted: [H, W, 1] u8, 255 repaint, 0 keep, nothing between.
 *
 * From a picture to a mask: grey by Pillow's weights, then 128 and more is 255. A mask is only ever resampled as a
 * mask: grey levels that sit below the threshold beside a bright area would overshoot it in a Lanczos filter, and
 * repaint what nobody marked.
 *
 * Source  Pillow src/libImaging/Convert.c (ITU-R BT.601 luma in 16-bit fixed point)
 */
#ifndef MODELS_IMAGE_MASK_H
#define MODELS_IMAGE_MASK_H

#include <stdbool.h>
#include <stdint.h>

#include "models/image/image.h"

enum { MASK_THRESHOLD = 128 };

/* How many pixels a mask marks, and the smallest box around them (all 0 when none). */
struct mask_extent {
    int64_t n_set;
    struct image_box box;
};

/* Grey from RGB; a grey picture is handed back as it is, sharing its pixels. */
MUST_CHECK enum err_code image_to_grey(struct arena *a, const struct image *src, struct image *ret, struct err *err);

/* A picture of any size and colour -> a mask of that size, from the arena. */
MUST_CHECK enum err_code mask_from_image(struct arena *a, const struct image *src, struct image *ret, struct err *err);

/*
 * The mask of a photo of width x height pixels, from the arena. One of the same shape but another size (within one part
 * in a hundred, or one pixel of the mask) is resampled; ERR_MASK_SIZE for one of another shape: it was made for another
 * picture, or for this one turned.
 */
MUST_CHECK enum err_code mask_fit(struct arena *a, const struct image *mask, int width, int height, struct image *ret,
                                  struct err *err);

/*
 * The mask at the size at which the model paints. A cell is marked when any marked pixel lies in it, even partly: a
 * line one pixel wide must not vanish on the way down, for what the model did not paint cannot be blended in later.
 */
MUST_CHECK enum err_code mask_cover(struct arena *a, const struct image *mask, int width, int height, struct image *ret,
                                    struct err *err);

struct mask_extent mask_extent(const struct image *mask);

#endif
