/*
 * noise_tile - a square of coloured noise with a given power spectrum, and a plane covered with it without a repeat.
 *
 * The tile is the inverse Fourier transform of waves whose amplitudes are those of the spectrum and whose phases are
 * random: its variance is right to a percent whatever the seed, its values are close to normal, and its edges meet. The
 * channels are mixed at each frequency by the square root of the matrix of their powers, so that they are correlated as
 * the spectrum says. A plane takes overlapping squares from random places of the tile; in an overlap the two are
 * weighted so that their squares sum to 1, which keeps the variance.
 *
 * The same seed gives the same bits with any number of threads: each pixel's noise depends on its place alone.
 * Errors  ERR_NOMEM. A tile takes 1.3 MB; making it 1.3 MB more, which are given back.
 * Source  Galerne, Gousseau & Morel 2011 (random phase noise); splitmix64: Steele, Lea & Flood 2014
 */
#ifndef MODELS_PATCH_NOISE_TILE_H
#define MODELS_PATCH_NOISE_TILE_H

#include "models/patch/grain.h"

enum {
    NOISE_TILE = 256,  /* pixels */
    NOISE_STEP = 128,  /* from one square of the plane to the next */
    NOISE_OVERLAP = 32 /* pixels */
};

struct noise_tile {
    float (*rows)[NOISE_TILE + NOISE_STEP + NOISE_OVERLAP][3]; /* [NOISE_TILE]; the first columns follow the last */
    uint64_t seed;
};

/* Powers that no noise can have (a matrix that is not positive) count as 0. */
MUST_CHECK enum err_code noise_tile_new(struct arena *a, const struct grain_spectrum *power, uint64_t seed,
                                        struct noise_tile *ret, struct err *err);

/* The noise of the pixels NOISE_STEP * column to NOISE_STEP * (column + 1) - 1 in row y of the plane. */
void noise_tile_run(const struct noise_tile *t, int column, int y, float ret[NOISE_STEP][3]);

#endif
