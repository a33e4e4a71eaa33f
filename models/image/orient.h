/*
 * orient - makes displayed pixels from stored ones, by the Exif orientation.
 *
 *   1 as stored     2 mirrored left-right    3 rotated by 180 degrees            4 mirrored top-bottom
 *   5 transposed    6 rotated clockwise      7 transposed on the other diagonal  8 rotated anticlockwise
 *
 * Source  CIPA DC-008 (Exif 2.32) 4.6.4 A, Orientation
 */
#ifndef MODELS_IMAGE_ORIENT_H
#define MODELS_IMAGE_ORIENT_H

#include "models/image/image.h"

/* With orientation 1, ret shares the pixels of src; with 2 to 8, its pixels are from the arena. ERR_INVALID: any other
 * number. */
MUST_CHECK enum err_code image_orient(struct arena *a, const struct image *src, int orientation, struct image *ret,
                                      struct err *err);

/* Where the last `rows` rows of a stored picture are in the displayed one: a strip along one of its sides. `width` and
 * `height` are those of the stored picture, 0 <= rows <= height; without rows the box is empty. An orientation other
 * than 1 to 8 counts as 1. */
struct image_box image_box_of_last_rows(int width, int height, int rows, int orientation);

#endif
