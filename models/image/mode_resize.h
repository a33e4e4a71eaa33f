/*
 * mode_resize - resizing a picture as Pillow does it in the mode of its file, which image_resize() alone is for grey
 * and RGB:
 *
 *   palette, 1 bit     the nearest pixel, for a mixture of two entries is no entry
 *   alpha channel      colours are weighted with their alpha before, and divided by it after
 *
 *   src, notes   as image_decode() gives them with IMAGE_ALPHA_DROP
 *   ret          [height, width, C] u8 from the arena, without alpha; a copy of src when the size is the same
 *
 * Errors  as image_resize()
 * Source  Pillow 13.0 PIL/Image.py resize(), src/libImaging/Geometry.c and Convert.c
 */
#ifndef MODELS_IMAGE_MODE_RESIZE_H
#define MODELS_IMAGE_MODE_RESIZE_H

#include "models/image/image.h"

MUST_CHECK enum err_code image_resize_in_mode(struct arena *a, const struct image *src, const struct image_notes *notes,
                                              int width, int height, struct image *ret, struct err *err);

#endif
