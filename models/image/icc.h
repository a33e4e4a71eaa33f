/*
 * icc - the little that is read of a colour profile: is it one, and for which kind of pixels.
 *
 * Profiles are carried along, not applied: an RGB picture keeps its numbers and hands its profile on, so its colours
 * stay what they were. A profile for grey or CMYK would be wrong beside the RGB we write, and is left behind.
 *
 * Source  ICC.1:2022, 7.2
 */
#ifndef MODELS_IMAGE_ICC_H
#define MODELS_IMAGE_ICC_H

#include <stdbool.h>

#include "kernels/base/span.h"

enum { ICC_MAX_BYTES = 1 << 20 };

/* A header whose size field, signature and colour space say: an RGB profile, and all of it is here. */
bool icc_is_rgb(struct span profile);

#endif
