/*
 * score_windows - whether what was painted looks like its surroundings: windows of the pasted part against windows
 * around it, in any space of features.
 *
 * Each feature is divided by its spread over the windows around. A window's distance is the mean of those to its
 * three nearest windows around it that do not overlap it. Windows around have such distances among themselves, which
 * say how much of the ground is new in every window anyhow; the windows inside are judged by these.
 *
 *   coherence      0 .. 1: mean distance of the windows around, over that of the windows inside; 1: no farther
 *   hallucination  0 .. 5: how far windows inside exceed what 95 of 100 windows around keep to, as a multiple of it,
 *                  on the mean over all of them; 0: none does
 *
 * A part that is softer than its surroundings is far from all of them, and a copy of them is near: neither reward nor
 * harm for a copy. Windows against windows are the idea of ReMOVE (arXiv 2409.00707) and of RC-S in PROVE (arXiv
 * 2605.14534), which compare activations of DINOv2 by cosine and by kernel mean discrepancy; features and figures are
 * ours, and theirs are not comparable with them.
 */
#ifndef MODELS_SCORE_SCORE_WINDOWS_H
#define MODELS_SCORE_SCORE_WINDOWS_H

#include "models/score/score_area.h"

enum { SCORE_DIMS_MAX = 64 };

struct score_coherence {
    double coherence, hallucination;
};

/* A grid of activations: cell (c, r) is about the pixels from (left + c * cell, top + r * cell) on, `cell` wide. */
struct score_features {
    int columns, rows, dims;
    const float *values;    /* [rows, columns, dims] */
    double left, top, cell; /* pixels of the pictures */
};

/* The plain features: colour, contrast and directions of edges at two scales. */
MUST_CHECK enum err_code score_windows_measure(struct arena *a, const struct score_area *s, struct score_coherence *ret,
                                               struct err *err);

/* Windows of 4 x 4 cells: mean and spread of every activation. `paste` is as in struct score_pictures.
 * ERR_INVALID: dims outside 1 .. SCORE_DIMS_MAX / 2, a cell or a grid of no size. */
MUST_CHECK enum err_code score_features_measure(struct arena *a, const struct score_features *f,
                                                const struct image *paste, struct score_coherence *ret,
                                                struct err *err);

#endif
