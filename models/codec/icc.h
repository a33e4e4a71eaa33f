/*
 * icc - whether some bytes are a colour profile for RGB pixels. No more of a profile is read.
 *
 * Profiles are copied, not applied: an RGB picture keeps its pixel values and its profile, and with them its colours.
 * A profile for grey or CMYK does not fit the RGB pixels that are written, and is dropped.
 *
 * Source  ICC.1:2022, 7.2
 */
#ifndef MODELS_IMAGE_ICC_H
#define MODELS_IMAGE_ICC_H

#include <stdbool.h>

#include "kernels/base/span.h"

enum { ICC_MAX_BYTES = 1 << 20 };

/* Whether size field, signature and colour space of the header are those of a complete RGB profile. */
bool icc_is_rgb(struct span profile);

#endif
