/*
 * score_scenes - grounds, an object on them, and removals of that object with one known fault each, for the tests of
 * models/score/scores.h and the table that build/score-table prints. Everything is seeded; real photos may stand in
 * for the grounds.
 */
#ifndef TEST_SUPPORT_SCENES_SCORE_SCENES_H
#define TEST_SUPPORT_SCENES_SCORE_SCENES_H

#include "models/score/scores.h"

enum score_ground {
    GROUND_GRASS,
    GROUND_SAND,
    GROUND_TILES,
    GROUND_SKY,
    GROUND_PLANKS,
    GROUND_CARPET,
    GROUND_TWO, /* grass below, asphalt above a slanted horizon that runs through the object */
    GROUND_PEBBLES,
    N_GROUNDS
};

enum score_fault {
    FAULT_NONE,         /* the ground itself, bit for bit */
    FAULT_GHOST,        /* the object at 15 to 30 per cent */
    FAULT_OUTLINE,      /* the object's outline, 3 pixels wide, at 60 per cent */
    FAULT_TINT,         /* 8 levels, all channels or one */
    FAULT_UNEVEN,       /* 16 levels too bright on one side, too dark on the other */
    FAULT_SHIFT,        /* 2 pixels to a side */
    FAULT_BLUR,         /* 0.3 of the variance of the Laplacian */
    FAULT_FOREIGN,      /* a thing that the ground does not have */
    FAULT_OTHER_GROUND, /* the patch is of another ground */
    N_FAULTS
};
/* Removals that nobody would object to. */
enum score_sound { SOUND_FRESH_GRAIN, SOUND_CLONE, N_SOUND };

struct score_case {
    struct image truth, before, mask, paste; /* truth: the ground without the object */
    const struct image *again;               /* the ground with the grain of another moment; NULL: there is none */
    uint64_t seed;
    int margin, grow, feather; /* pixels that mask and paste reach beyond the object */
    double middle_x, middle_y, radius;
    enum score_ground ground;
};

const char *score_ground_name(enum score_ground g);
const char *score_fault_name(enum score_fault f);

/* `moment` is the seed of the camera's grain alone. */
void score_draw_ground(struct arena *a, enum score_ground g, uint64_t seed, unsigned moment, int width, int height,
                       struct image *ret);
/* An object drawn on `truth`, which the case then shares; its seed decides form, colours, mask and paste. */
void score_case_on(struct arena *a, const struct image *truth, enum score_ground g, uint64_t seed,
                   struct score_case *ret);
/* What the worker would store after a removal with this fault. */
void score_case_result(struct arena *a, const struct score_case *c, enum score_fault f, struct image *ret);
void score_case_sound(struct arena *a, const struct score_case *c, enum score_sound k, struct image *ret);
void score_case_measure(struct arena *a, const struct score_case *c, const struct image *after,
                        struct picture_scores *ret);

/* Whether the figure that belongs to a fault is worse in `faulty` than in `clean`. */
bool score_own_figure_is_worse(enum score_fault f, const struct picture_scores *clean,
                               const struct picture_scores *faulty);

#endif
