/*
 * mode_resize - resizes a picture as Pillow does in the mode of its file:
 *
 *   grey, RGB          image_resize()
 *   palette, 1 bit     the nearest pixel is taken, because a mixture of two palette entries is not an entry
 *   alpha channel      colours are multiplied by their alpha before resizing, and divided by it afterwards
 *
 *   src, notes   as image_decode() gives them with &(struct decode_options){ .alpha = IMAGE_ALPHA_DROP }
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
