/*
 * mask - which pixels are to be repainted: [H, W, 1] u8, 255 repaint, 0 keep, no other value.
 *
 * A picture becomes a mask in two steps, both defined here and nowhere else: mask_grey() weighs the colours as Pillow
 * does, and mask_marks() compares with MASK_THRESHOLD. Resize a mask, never the grey picture that it was made from: in
 * a Lanczos filter, grey levels just below the threshold beside a bright area would overshoot it, and pixels that the
 * user did not mark would be repainted.
 *
 * Source  Pillow src/libImaging/Convert.c (ITU-R BT.601 luma in 16-bit fixed point)
 */
#ifndef MODELS_IMAGE_MASK_H
#define MODELS_IMAGE_MASK_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/processor.h"
#include "models/image/image.h"

enum { MASK_THRESHOLD = 128 };

INLINE_HOT uint8_t mask_grey(const uint8_t rgb[3])
{
    return (uint8_t)((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 32768u) >> 16);
}

/* Whether a pixel of this grey is to be repainted. */
INLINE_HOT bool mask_marks(uint8_t grey)
{
    return grey >= MASK_THRESHOLD;
}

/* How many pixels a mask marks, and the smallest box around them; all 0 for an empty mask. */
struct mask_extent {
    int64_t n_set;
    struct image_box box;
};

/* Grey from RGB. For a grey picture, ret shares the pixels of src. */
MUST_CHECK enum err_code image_to_grey(struct arena *a, const struct image *src, struct image *ret, struct err *err);

/* A picture of any size and colour -> a mask of that size, from the arena. */
MUST_CHECK enum err_code mask_from_image(struct arena *a, const struct image *src, struct image *ret, struct err *err);

/* Whether a mask of these sides may be fitted to a photo of those. */
bool mask_has_shape(int mask_width, int mask_height, int width, int height);

/*
 * Fits a mask to a photo of width x height pixels; ret is from the arena. A mask whose aspect ratio differs by at most
 * one part in a hundred, or by one pixel of the mask, is resampled; any other is refused with ERR_MASK_SIZE, because
 * it was made for another picture, or for this one rotated.
 */
MUST_CHECK enum err_code mask_fit(struct arena *a, const struct image *mask, int width, int height, struct image *ret,
                                  struct err *err);

/*
 * The mask at the size at which the model paints. A cell is marked when any marked pixel touches it: a line one pixel
 * wide must not vanish when the mask shrinks, because what the model did not paint cannot be blended in later.
 */
MUST_CHECK enum err_code mask_cover(struct arena *a, const struct image *mask, int width, int height, struct image *ret,
                                    struct err *err);

struct mask_extent mask_extent(const struct image *mask);

#endif
