#include "models/score/scores.h"

#include <math.h>

#include "models/score/score_blocks.h"
#include "models/score/score_border.h"
#include "models/score/score_windows.h"

static const struct picture_scores perfect = {
    .seam = 1.0, .outline = 1.0, .sharpness = 1.0, .grain = 1.0, .coherence = 1.0
};

/* Each term grows with its fault, and falls very little beyond a perfect figure, so that no fault is paid for by
 * another figure that is better than it need be. The weights make faults of equal harm about equal. */
static double penalty(const struct picture_scores *s)
{
    double p = 0;

    p += 0.5 * log(fmax(s->seam, 1.0));
    p += 0.6 * log(fmax(s->outline / 1.3, 1.0)); /* below that, the ground itself */
    p += 0.08 * s->colour_step;
    p += 0.3 * s->overlap;
    p += 0.35 * log(1.0 + pow(0.4 / fmax(s->sharpness, 0.01), 2));
    p += 0.2 * log(1.0 + pow(0.5 / fmax(s->grain, 0.01), 2)) + 0.1 * log(fmax(s->grain / 2.0, 1.0));
    p += 0.5 * log(1.0 + exp(12.0 * s->ghost - 2.0));
    p += 1.0 * (1.0 - s->coherence);
    p += 0.8 * s->hallucination;
    return p;
}

enum err_code picture_scores_measure(struct arena *a, const struct score_pictures *in, struct picture_scores *ret,
                                     struct err *err)
{
    ARENA_SCRATCH(a);
    struct score_area s;
    struct score_border border;
    struct score_blocks blocks;
    struct score_coherence windows;
    bool empty;

    TRY(score_area_new(a, in, &s, &empty, err));
    if (empty) {
        *ret = perfect;
        ret->total = exp(-penalty(ret));
        return ERR_OK;
    }
    TRY(score_border_measure(a, &s, &border, err));
    TRY(score_blocks_measure(a, in, &s, &blocks, err));
    TRY(score_windows_measure(a, &s, &windows, err));
    *ret = (struct picture_scores){ .seam = border.seam,
                                    .outline = border.outline,
                                    .colour_step = border.colour_step,
                                    .overlap = border.overlap,
                                    .sharpness = blocks.sharpness,
                                    .grain = blocks.grain,
                                    .ghost = blocks.ghost,
                                    .coherence = windows.coherence,
                                    .hallucination = windows.hallucination };
    ret->total = exp(-penalty(ret));
    return ERR_OK;
}

/* Of two ratios the one that is farther from 1. */
static double farther(double a, double b)
{
    return fabs(log(fmax(a, 1e-3))) >= fabs(log(fmax(b, 1e-3))) ? a : b;
}

struct picture_scores picture_scores_worst(const struct picture_scores *of, int n)
{
    struct picture_scores s = of[0];

    for (int i = 1; i < n; i++) {
        s.seam = fmax(s.seam, of[i].seam);
        s.outline = fmax(s.outline, of[i].outline);
        s.colour_step = fmax(s.colour_step, of[i].colour_step);
        s.overlap = fmax(s.overlap, of[i].overlap);
        s.sharpness = farther(s.sharpness, of[i].sharpness);
        s.grain = farther(s.grain, of[i].grain);
        s.ghost = fmax(s.ghost, of[i].ghost);
        s.coherence = fmin(s.coherence, of[i].coherence);
        s.hallucination = fmax(s.hallucination, of[i].hallucination);
        s.total = fmin(s.total, of[i].total);
    }
    return s;
}

bool picture_scores_seam_shows(const struct picture_scores *s)
{
    return s->seam > 1.5 || s->colour_step > 3.0;
}

bool picture_scores_better(const struct picture_scores *a, const struct picture_scores *b)
{
    return a->total > b->total;
}
