/*
 * score_border - what shows along the border of the pasted part: struct score_area -> an edge, a step of colour, and
 * how far the painted picture differs from the photo where both show the same thing.
 *
 * The border is the line where the paste's share passes a half. Pixels up to 22 from it belong to the nearest square
 * of 24 x 24 pixels of the border, its segment, so that every segment has a profile of colour across the border: means
 * over pixels at the same distance. Texture averages out in these means, an edge along the border does not. All
 * figures compare the border with lines that run parallel to it, 12 pixels inside and outside. The outline is measured
 * in the same way along the border of what was removed, which is where photo and edited photo begin to differ.
 *
 * Where the mask is much smaller than the object and the ground is rough, the object's rim in the overlap may count as
 * a step of colour.
 */
#ifndef MODELS_SCORE_SCORE_BORDER_H
#define MODELS_SCORE_SCORE_BORDER_H

#include "models/score/score_area.h"

struct score_border {
    double seam;        /* 0 .. 20: the edge at the border over the edges at the parallel lines; 1: none shows */
    double outline;     /* 0 .. 20: the same where the object ended that was removed; 1: nothing shows of it */
    double colour_step; /* levels, 0 .. 255: the step common to all segments, beyond chance and natural slopes */
    double overlap;     /* 0 .. 4: painted against photo outside the mask, over the photo's own changes in 3 pixels */
};

MUST_CHECK enum err_code score_border_measure(struct arena *a, const struct score_area *s, struct score_border *ret,
                                              struct err *err);

#endif
