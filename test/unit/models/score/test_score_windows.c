/*
 * Windows against windows in a space of features that is given, and in the latents of the demo's autoencoder.
 */
#include "models/score/score_windows.h"

#include <string.h>
#include <unistd.h>

#include "test/support/check.h"
#include "test/support/pictures.h"
#include "test/support/scenes/score_latents.h"
#include "test/support/scenes/score_scenes.h"

enum { CELLS = 40, DIMS = 3, CELL_PX = 8, SIDE = 192 };
static const size_t arena_bytes = (size_t)256 << 20;

/* A pasted square in the middle of a picture, from a quarter to three quarters of it. */
static void draw_paste(struct arena *a, struct image *ret)
{
    struct err err = { 0 };
    int side = CELLS * CELL_PX;

    CHECK_OK(image_new(a, side, side, 1, ret, &err), err);
    for (int y = side / 4; y < side * 3 / 4; y++)
        memset(ret->pixels + y * side + side / 4, 255, (size_t)side / 2);
}

/* Noise of the same kind everywhere, plus `more` in the cells of a square in the middle. */
static struct score_features draw_features(struct arena *a, float more)
{
    struct image noise;
    struct err err = { 0 };
    float *values;

    picture_of_noise(a, CELLS, CELLS, DIMS, 9, &noise);
    CHECK_OK(arena_alloc(a, image_bytes(&noise), sizeof *values, &values, &err), err);
    for (size_t i = 0; i < image_bytes(&noise); i++) {
        int x = (int)(i / DIMS % CELLS), y = (int)(i / DIMS / CELLS);

        values[i] = (float)noise.pixels[i] / 255.0f + (x >= 16 && x < 24 && y >= 16 && y < 24 ? more : 0);
    }
    return (struct score_features){ .columns = CELLS, .rows = CELLS, .dims = DIMS, .values = values, .cell = CELL_PX };
}

TEST(score_windows__find_cells_that_the_surroundings_do_not_have)
{
    struct err err = { 0 };
    struct score_coherence same, other;
    struct score_features f;
    struct image paste;
    struct arena a;

    CHECK_OK(arena_init(&a, arena_bytes, &err), err);
    draw_paste(&a, &paste);
    f = draw_features(&a, 0);
    CHECK_OK(score_features_measure(&a, &f, &paste, &same, &err), err);
    CHECK(same.coherence > 0.9 && same.hallucination < 0.05);
    f = draw_features(&a, 3);
    CHECK_OK(score_features_measure(&a, &f, &paste, &other, &err), err);
    CHECK(other.coherence < 0.6 * same.coherence && other.hallucination > 0.5);
    arena_done(&a);
}

TEST(score_windows__take_small_grids_and_refuse_none)
{
    struct err err = { 0 };
    struct score_coherence got;
    struct score_features f;
    struct image paste;
    struct arena a;

    CHECK_OK(arena_init(&a, arena_bytes, &err), err);
    draw_paste(&a, &paste);
    f = draw_features(&a, 0);
    f.columns = 3;
    CHECK_OK(score_features_measure(&a, &f, &paste, &got, &err), err);
    CHECK(got.coherence == 1 && got.hallucination == 0);
    f.columns = 0;
    CHECK_INT(score_features_measure(&a, &f, &paste, &got, &err), ERR_INVALID);
    CHECK(strstr(err.msg, "0 x 40 cells"));
    f.columns = CELLS;
    f.dims = SCORE_DIMS_MAX;
    CHECK_INT(score_features_measure(&a, &f, &paste, &got, NULL), ERR_INVALID);
    arena_done(&a);
}

static struct score_coherence of_latents(struct score_encoder *e, struct arena *a, const struct score_case *c,
                                         enum score_fault fault)
{
    struct score_coherence ret;
    struct score_features f;
    struct err err = { 0 };
    struct image after;

    score_case_result(a, c, fault, &after);
    CHECK_OK(score_encode(e, a, &after, &f, &err), err);
    CHECK_OK(score_features_measure(a, &f, &c->paste, &ret, &err), err);
    return ret;
}

TEST(score_windows__rank_removals_in_the_latents_of_the_demo)
{
    static const enum score_ground grounds[] = { GROUND_GRASS, GROUND_TWO };
    struct err err = { 0 };
    struct score_encoder e;
    struct arena a;

#ifndef HAVE_ONEDNN
    SKIP("built without oneDNN: this would take minutes");
#endif
    if (access("models/demo/ae.safetensors", R_OK) != 0)
        SKIP("models/demo is not here");
    CHECK_OK(arena_init(&a, arena_bytes, &err), err);
    CHECK_OK(score_encoder_open(&e, "models/demo/ae.safetensors", &err), err);
    for (size_t g = 0; g < sizeof grounds / sizeof *grounds; g++) {
        struct arena_mark m = arena_mark(&a);
        struct score_coherence clean, ghost, foreign;
        struct score_case c;
        struct image truth;

        score_draw_ground(&a, grounds[g], 2, 0, SIDE, SIDE, &truth);
        score_case_on(&a, &truth, grounds[g], 11 + g, &c);
        clean = of_latents(&e, &a, &c, FAULT_NONE);
        ghost = of_latents(&e, &a, &c, FAULT_GHOST);
        foreign = of_latents(&e, &a, &c, FAULT_FOREIGN);
        CHECK(ghost.coherence < clean.coherence && ghost.hallucination > clean.hallucination);
        CHECK(foreign.coherence < clean.coherence && foreign.hallucination > clean.hallucination);
        arena_rewind(&a, m);
    }
    score_encoder_close(&e);
    arena_done(&a);
}
