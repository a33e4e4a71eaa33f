/*
 * grain - what a photo's grain is like around a painted patch, and how much of it the patch has.
 *
 * It is measured on blocks of GRAIN_BLOCK x GRAIN_BLOCK pixels: for the photo those that lie GRAIN_NEAR to GRAIN_FAR
 * pixels outside the hole, for the patch those in the hole. Each block loses its mean and slope. A block is flat when
 * its variance is at most GRAIN_FLAT times that of the calmest tenth of the photo's blocks of its brightness. Of the
 * flat blocks' power spectra (under a Hann window, with the spectra between channels) the mean is taken; and of their
 * variance at each brightness.
 *
 * A spectrum has a bin for each pair of frequencies along the axes, in steps of 1/16 cycle a pixel, without their signs
 * and their order: GRAIN_BINS of them, because what JPEG leaves of grain depends on more than the radius.
 *
 * Texture is not grain: where the calmest blocks are stronger than grain of their spectrum can be, or are too few,
 * nothing is found.
 *
 * Errors  ERR_NOMEM. Takes up to 8 MB and 0.6 bytes a pixel of the area, and gives them back.
 * Source  Liu, Tanaka & Okutomi 2013 (blocks of weak texture); Welch 1967 (averaged windowed spectra)
 */
#ifndef MODELS_PATCH_GRAIN_H
#define MODELS_PATCH_GRAIN_H

#include <stdbool.h>

#include "kernels/base/arena.h"
#include "models/patch/patch_area.h"

enum {
    GRAIN_BLOCK = 16, /* pixels */
    GRAIN_NEAR = 4,   /* pixels from the hole */
    GRAIN_FAR = 64,
    GRAIN_HALF = GRAIN_BLOCK / 2,
    GRAIN_BINS = (GRAIN_HALF + 1) * (GRAIN_HALF + 2) / 2,
    GRAIN_RADII = 12, /* circles of equal frequency */
    GRAIN_PAIRS = 6,  /* of channels: RR, GG, BB, RG, RB, GB */
    GRAIN_SHADES = 256
};

#define GRAIN_FLAT 1.8

/* Means over the bins of a circle; of luma, and of the sum of the channels. */
struct grain_power {
    double luma, channels;
};

enum grain_outcome {
    GRAIN_FOUND,
    GRAIN_NO_BLOCKS, /* too few blocks outside the hole, or too few of them flat */
    GRAIN_TEXTURE    /* what the calmest blocks show is too strong for grain */
};

/* The power of noise of variance 1 in luma, by bin and pair of channels. */
struct grain_spectrum {
    double power[GRAIN_BINS][GRAIN_PAIRS];
};

/* The bin of two frequencies from 0 to GRAIN_HALF. */
static inline int grain_bin(int u, int v)
{
    return u > v ? u * (u + 1) / 2 + v : v * (v + 1) / 2 + u;
}

struct grain {
    enum grain_outcome outcome;
    bool grey;                         /* the photo's blocks have no colour at all */
    double blocks;                     /* flat ones, as many as would lie side by side */
    double sigma;                      /* of luma on the flat blocks, levels */
    struct grain_spectrum spectrum;    /* its luma has variance 1, roughly */
    float variance[GRAIN_SHADES];      /* of luma at each brightness, levels squared */
    float flat_variance[GRAIN_SHADES]; /* a block is flat up to this variance */
};

/* What the patch has, in units of what the photo has at the same brightness. */
struct grain_in_patch {
    double blocks;      /* that were looked at, as many as would lie side by side; 0: the hole is too small */
    double sigma;       /* of luma, levels */
    double sigma_photo; /* that the photo's grain has at the brightness of these blocks */
    struct grain_spectrum spectrum;
};

/* radius 0 to GRAIN_RADII - 1, in steps of a bin. */
struct grain_power grain_circle(const struct grain_spectrum *s, int radius);

MUST_CHECK enum err_code grain_measure_photo(struct arena *a, const struct patch_area *area, struct grain *ret,
                                             struct err *err);

/* `grain` was found in the same area's photo. */
MUST_CHECK enum err_code grain_measure_patch(struct arena *a, const struct patch_area *area, const struct grain *grain,
                                             struct grain_in_patch *ret, struct err *err);

#endif
