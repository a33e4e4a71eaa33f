/*
 * tone - takes a tint and a change of contrast out of a painted patch: patch = gain * patch + offset for each channel.
 *
 * Between the hole's edge and what is pasted, the model painted a part of the scene that the photo shows, too. There
 * both are averaged over cells of some pixels, because no two paintings of grass agree pixel by pixel, and the line
 * through the cells is fitted robustly. A line is taken for a channel only if
 *   - the cells' mean difference falls by TONE_HELPS or more, and was worth mending (TONE_LEAST levels), and
 *   - the steps at the hole's edge, from the photo outside to the patch, do not grow by TONE_STEP of the change. They
 *     do where the rim of the removed object reaches into the cells: there it is the photo that differs from its
 *     surroundings, and not the patch. Where the line leaves only TONE_CERTAIN of the difference, it is no rim.
 * A slope is taken only with TONE_GAIN_CELLS cells or more, and if it takes TONE_GAIN_HELPS off what an offset alone
 * leaves: it changes levels of which the cells tell nothing, and a patch that is merely soft looks as if its contrast
 * was low. It is drawn towards 1 where the cells are much alike.
 * Values of the patch at the ends of the range may have been cut off there; a correction fades out towards an end that
 * it leads away from.
 *
 * Errors  ERR_NOMEM. Too few cells are no error: gain 1, offset 0. Takes 64 bytes a cell, and gives them back.
 * Source  weighted least squares with Tukey's biweight (Holland & Welsch 1977)
 */
#ifndef MODELS_PATCH_TONE_H
#define MODELS_PATCH_TONE_H

#include <stdbool.h>

#include "kernels/base/arena.h"
#include "models/patch/patch_area.h"

#define TONE_GAIN_LEAST  0.9
#define TONE_GAIN_MOST   1.1
#define TONE_OFFSET_MOST 8.0  /* levels */
#define TONE_HELPS       0.2  /* share of the mean difference */
#define TONE_LEAST       0.75 /* levels */
#define TONE_STEP        0.75 /* share of the change */
#define TONE_CERTAIN     0.2  /* share of the mean difference */
#define TONE_GAIN_HELPS  0.4  /* share of what an offset leaves */
#define TONE_GAIN_CELLS  16

struct tone {
    int cells; /* that were compared; 0: too few, nothing was looked at */
    bool applied[3];
    double gain[3], offset[3];  /* 1 and 0 where not applied; offset in levels */
    double before[3], after[3]; /* mean difference of the cells, levels; 0 when cells is 0 */
};

MUST_CHECK enum err_code tone_measure(struct arena *a, const struct patch_area *area, struct tone *ret,
                                      struct err *err);

void tone_apply(const struct tone *t, const struct patch_area *area); /* changes the patch where the hole is set */

#endif
