/*
 * alpha - an alpha channel is copied out of pixels, and the pixels are put over a background.
 *
 *   pixels  [n, channels + 1], the last value of each being its alpha: 0 transparent to 255 opaque
 */
#ifndef MODELS_IMAGE_ALPHA_H
#define MODELS_IMAGE_ALPHA_H

#include "models/image/image.h"

/* The alpha of each pixel, from the arena. The only error is ERR_NOMEM. */
MUST_CHECK enum err_code image_copy_alpha(struct arena *a, const uint8_t *pixels, size_t n, int channels,
                                          uint8_t **ret_alpha, struct err *err);

/* Makes [n, channels] of the pixels, in place. */
void image_flatten(uint8_t *pixels, size_t n, int channels, enum image_alpha alpha);

#endif
