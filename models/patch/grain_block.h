/*
 * grain_block - one block of pixels: its brightness, its variance about a plane, and its power spectrum.
 *
 * The spectrum is taken with a Hann window from a discrete Fourier transform of GRAIN_BLOCK x GRAIN_BLOCK values, and
 * is scaled so that noise of variance 1 without correlation has power 1 in every bin, what the plane took included.
 */
#ifndef MODELS_PATCH_GRAIN_BLOCK_H
#define MODELS_PATCH_GRAIN_BLOCK_H

#include "models/patch/grain.h"

enum { GRAIN_BLOCK_PIXELS = GRAIN_BLOCK * GRAIN_BLOCK };

struct grain_block {
    float channel[3][GRAIN_BLOCK_PIXELS]; /* levels; after grain_block_flatten() about a plane */
};

/* Window, rotations and bins, computed once. */
struct grain_transform {
    float window[GRAIN_BLOCK], cosine[GRAIN_BLOCK], sine[GRAIN_BLOCK];
    unsigned char bin[GRAIN_BLOCK_PIXELS];
    float share[GRAIN_BINS]; /* what a bin's sum is multiplied with */
};

void grain_transform_init(struct grain_transform *t);

/* Subtracts from each channel the plane that fits it best. */
void grain_block_flatten(struct grain_block *b);

/* Of a flattened block, by bin and pair of channels. */
void grain_block_spectrum(const struct grain_transform *t, const struct grain_block *b,
                          float ret[GRAIN_BINS][GRAIN_PAIRS]);

#endif
