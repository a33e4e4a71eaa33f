/*
 * mask_levels - a plane of one value a pixel, the distance from the ground, and where in it the figure begins.
 *
 *   plane  [height, width] u8: 0 ground, 255 farthest
 */
#ifndef MODELS_MASK_MASK_LEVELS_H
#define MODELS_MASK_MASK_LEVELS_H

#include <stdbool.h>
#include <stdint.h>

struct mask_plane {
    int width, height;
    uint8_t *pixels;
};

/* How often each level occurs. */
struct mask_levels {
    int64_t count[256];
    int64_t same[256];  /* beside an equal pixel on the left */
    int64_t edge[256];  /* ends of runs of this level that lie beside level 0 */
    int64_t ring[256];  /* on the frame of one pixel */
    int64_t inner[256]; /* on a frame that lies 3 % of the shorter side further in */
    int64_t n, n_ring, n_inner;
};

struct mask_split {
    int threshold; /* marked from here on; 0: the plane has one level only */
    int lowest;    /* the lowest flat level over the ground, or the top */
    int n_flat;    /* flat levels over the ground */
};

/* What the marked part of a plane looks like; shares of all pixels or of the frame. */
struct mask_shape {
    double share, ring, inner;
    double ground; /* pixels that are the ground itself, but for noise */
    double soft;   /* pixels around the threshold, as a share of the marked ones */
    double common; /* of the marked: within 8 levels of the commonest */
    double turns;  /* extrema along rows for each marked pixel: texture */
    double dots;   /* of the marked: pixels on their own */
    int corners;   /* of the picture that are marked */
    double cuts;   /* changes between marked and unmarked along rows, for each pixel */
};

void mask_count_levels(const struct mask_plane *plane, struct mask_levels *ret);
struct mask_split mask_split_levels(const struct mask_levels *levels, bool lossy);
struct mask_shape mask_see_shape(const struct mask_plane *plane, const struct mask_levels *levels, int threshold,
                                 bool lossy);
/* Levels from the threshold on become 255, others 0; `invert` the other way round. */
void mask_mark_levels(const struct mask_plane *plane, int threshold, bool invert);

#endif
