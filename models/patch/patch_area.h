/*
 * patch_area - the part of a photo around one painted patch, as tone.h, grain.h and patch_match.h see it.
 *
 *   photo [height, width, 3] u8   the photo as it was, in its own colour space
 *   patch [height, width, 3] f32  what was painted, at the photo's scale and in its colour space, in levels 0 to 255;
 *                                 values beyond these are allowed, and changes may make some
 *   hole  [height, width] u8      not 0: the model did not see the photo here, and painted
 *   paste [height, width] u8      the patch's share of the picture, of 255; not 0 only inside the hole
 *
 * All are borrowed, rows without padding. Where hole is set and paste is 0 there is the same part of the scene twice:
 * in the photo, and painted. Outside the hole is the photo's own grain.
 */
#ifndef MODELS_PATCH_PATCH_AREA_H
#define MODELS_PATCH_PATCH_AREA_H

#include <stdint.h>

struct patch_area {
    int width, height; /* pixels */
    const uint8_t *photo;
    float *patch;
    const uint8_t *hole, *paste;
};

/* Rec. 601 luma of red, green and blue. */
static inline float patch_luma(float r, float g, float b)
{
    return 0.299f * r + 0.587f * g + 0.114f * b;
}

#endif
