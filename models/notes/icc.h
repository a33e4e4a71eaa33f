/*
 * icc - for which pixels some bytes are a colour profile. No more of a profile is read here; colour.h applies it.
 *
 * An RGB picture keeps its pixel values and its profile, and with them its colours. A profile for grey or CMYK does not
 * fit the RGB pixels that are written: these are converted by it to sRGB, and it is dropped.
 *
 * Source  ICC.1:2022, 7.2
 */
#ifndef MODELS_NOTES_ICC_H
#define MODELS_NOTES_ICC_H

#include <stdbool.h>

#include "kernels/base/span.h"

enum { ICC_MAX_BYTES = 1 << 20 };

/* Whether size field, signature and colour space of the header are those of a complete RGB profile. */
bool icc_is_rgb(struct span profile);

/* The same of a profile for grey, and for the four inks of print. */
bool icc_is_grey(struct span profile);
bool icc_is_cmyk(struct span profile);

#endif
