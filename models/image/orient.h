/*
 * orient - pixels as stored to pixels as displayed, by the Exif orientation.
 *
 *   1 as stored     2 mirrored left-right    3 turned by 180 degrees    4 mirrored top-bottom
 *   5 transposed    6 turned clockwise       7 transposed across        8 turned anticlockwise
 *
 * Source  CIPA DC-008 (Exif 2.32) 4.6.4 A, Orientation
 */
#ifndef MODELS_IMAGE_ORIENT_H
#define MODELS_IMAGE_ORIENT_H

#include "models/image/image.h"

/* 1 hands src back, sharing its pixels; otherwise ret is from the arena. ERR_INVALID for other numbers. */
MUST_CHECK enum err_code image_orient(struct arena *a, const struct image *src, int orientation, struct image *ret,
                                      struct err *err);

#endif
