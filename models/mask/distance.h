/*
 * distance - how far each pixel is from what a mask marks: the exact Euclidean distance, squared, in pixels between
 * centres. A marked pixel has 0, its neighbour 1, the next across a corner 2.
 *
 *   mask  [H, W, 1]  marked where not 0
 *   box              the part that is measured; marks outside of it do not count
 *   ret   [h, w] u16 of the box, from the arena; DISTANCE_FAR where the nearest mark is more than `most` pixels away
 *
 * One pass along columns finds the nearest mark above or below, one along rows the smallest sum of squares, so that no
 * rounding of the distance comes in. The second pass takes 2 most + 1 sums a pixel, and `most` is small: 2 bytes and
 * some 70 operations a pixel for the largest photos.
 *
 * Errors  ERR_INVALID a box outside of the mask, `most` outside 1 to DISTANCE_MOST; ERR_NOMEM
 * Source  Saito and Toriwaki 1994
 */
#ifndef MODELS_MASK_DISTANCE_H
#define MODELS_MASK_DISTANCE_H

#include "models/image/image.h"

enum { DISTANCE_MOST = 255, DISTANCE_FAR = UINT16_MAX };

MUST_CHECK enum err_code distance_squared(struct arena *a, const struct image *mask, struct image_box box, int most,
                                          uint16_t **ret, struct err *err);

#endif
