/*
 * scores - how well a removal came out, measured in the edited photo; and which of two results is the better one.
 *
 * Nothing is known but the photo, the edited photo, the mask and the paste: the truth under the object never is. So
 * every figure compares the pasted part with its surroundings, with the photo where both show the same ground, or with
 * the object that should be gone. All figures are finite. A fault of one kind moves its own figure:
 *
 *   seam           0 .. 20   edge along the border of the paste over edges along parallel lines; 1: none shows
 *   outline        0 .. 20   the same along the border of what was removed: its outline, or a halo around it
 *   colour_step    0 .. 255  levels by which the inside is off its surroundings, all along the border
 *   overlap        0 .. 4    painted against photo where the paste goes beyond the mask, over the photo's own changes
 *   sharpness      0 .. 20   variance of the Laplacian, inside over around
 *   grain          0 .. 20   noise in flat parts, inside over around
 *   ghost         -1 .. 1    share of the removed object that still shows; 0 or less: nothing of it
 *   coherence      0 .. 1    windows inside look like windows around (score_windows.h)
 *   hallucination  0 .. 5    a thing inside that the surroundings do not have
 *   total          0 .. 1    all of them: exp(-penalty), higher is better; 0.85 where all the others are perfect
 *
 * They compare results of the same photo and mask well, results of different photos only roughly: a mask that lies
 * across two grounds, or over the only window in a wall, has other figures than a lawn.
 *
 * Time is bounded by the area (score_area.h), and results do not depend on the number of threads. Up to 48 MiB come
 * from the arena and are given back. Errors: ERR_INVALID for pictures that do not fit, ERR_NOMEM.
 */
#ifndef MODELS_SCORE_SCORES_H
#define MODELS_SCORE_SCORES_H

#include "models/score/score_area.h"

struct picture_scores {
    double seam, outline, colour_step, overlap, sharpness, grain, ghost, coherence, hallucination, total;
};

/* An empty paste has the scores of a perfect result. */
MUST_CHECK enum err_code picture_scores_measure(struct arena *a, const struct score_pictures *in,
                                                struct picture_scores *ret, struct err *err);

/* The scores of a photo with several crops: of each figure the worst one, so that no fault hides. n >= 1. */
struct picture_scores picture_scores_worst(const struct picture_scores *of, int n);

/* Whether a person would see where the patch begins: the reason for a second pass with SECOND_PASS=seam. */
bool picture_scores_seam_shows(const struct picture_scores *s);

/* Whether a is better than b, results of the same photo and mask. */
bool picture_scores_better(const struct picture_scores *a, const struct picture_scores *b);

#endif
