/*
 * mask_ground - the colour of a picture's ground, which is the commonest of its frame, and how far every pixel is from
 * it: the largest difference of the channels. Of a file with a palette of few colours, places count and not colours,
 * because the colours of label palettes may be equal or mean nothing.
 */
#ifndef MODELS_MASK_MASK_GROUND_H
#define MODELS_MASK_MASK_GROUND_H

#include <stdbool.h>

#include "models/mask/mask_kind.h"
#include "models/mask/mask_levels.h"

struct mask_ground {
    uint8_t colour[3]; /* grey three times where the file is grey */
    bool by_place;     /* the planes below are made of places in the palette */
    int n_places;      /* in use; 0: no palette */
    int place;         /* of the ground; -1: no palette */
};

struct mask_ground mask_find_ground(const struct mask_file *file);
int mask_brightness(const uint8_t colour[3]); /* its largest channel: pure blue is bright */

/* The distance from the ground into `plane`, which has the size of the file. */
void mask_measure_ground(const struct mask_file *file, const struct mask_ground *ground,
                         const struct mask_plane *plane);
/* The largest channel of every pixel, which is the distance from black; black where it is transparent, or white. */
void mask_measure_light(const struct mask_file *file, uint8_t transparent, const struct mask_plane *plane);
void mask_measure_alpha(const uint8_t *alpha, bool hole, const struct mask_plane *plane);

#endif
