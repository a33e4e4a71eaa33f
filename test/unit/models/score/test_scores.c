/*
 * The figures rank removals with one known fault behind clean ones, on generated grounds (test/support/scenes/score_scenes.h).
 * build/score-table prints the same for more seeds, and for photos.
 */
#include "models/score/scores.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "test/support/check.h"
#include "test/support/pictures.h"
#include "test/support/scenes/score_scenes.h"

enum { SIDE = 224 };
static const size_t arena_bytes = (size_t)256 << 20;

struct bench {
    struct arena a;
    struct image truth, again;
    struct score_case c;
    struct picture_scores clean;
};

static void set_up(struct bench *b, enum score_ground g, uint64_t seed)
{
    struct err err = { 0 };
    struct image after;

    CHECK_OK(arena_init(&b->a, arena_bytes, &err), err);
    score_draw_ground(&b->a, g, seed, 0, SIDE, SIDE, &b->truth);
    score_draw_ground(&b->a, g, seed, 1, SIDE, SIDE, &b->again);
    score_case_on(&b->a, &b->truth, g, seed * 29 + 7, &b->c);
    b->c.again = &b->again;
    score_case_result(&b->a, &b->c, FAULT_NONE, &after);
    score_case_measure(&b->a, &b->c, &after, &b->clean);
}

static void measure_fault(struct bench *b, enum score_fault f, struct picture_scores *ret)
{
    struct image after;

    score_case_result(&b->a, &b->c, f, &after);
    score_case_measure(&b->a, &b->c, &after, ret);
}

/* On every ground, in the figure of the fault and in the total. */
static void check_ranked(enum score_fault f)
{
    for (int g = 0; g < N_GROUNDS; g++) {
        struct picture_scores s;
        struct bench b;

        set_up(&b, (enum score_ground)g, 3);
        measure_fault(&b, f, &s);
        if (!score_own_figure_is_worse(f, &b.clean, &s) || !picture_scores_better(&b.clean, &s) ||
            picture_scores_better(&s, &b.clean))
            test_fail(__FILE__, __LINE__, "%s on %s: total %.3f, clean %.3f", score_fault_name(f),
                      score_ground_name((enum score_ground)g), s.total, b.clean.total);
        arena_done(&b.a);
    }
}

TEST(scores__find_an_object_that_shines_through)
{
    check_ranked(FAULT_GHOST);
}

TEST(scores__find_an_outline_that_stayed)
{
    check_ranked(FAULT_OUTLINE);
}

TEST(scores__find_a_tint)
{
    check_ranked(FAULT_TINT);
}

TEST(scores__find_an_edge_that_changes_sides)
{
    check_ranked(FAULT_UNEVEN);
}

TEST(scores__find_a_shift_by_two_pixels)
{
    check_ranked(FAULT_SHIFT);
}

TEST(scores__find_a_soft_patch)
{
    check_ranked(FAULT_BLUR);
}

TEST(scores__find_a_thing_that_does_not_belong)
{
    check_ranked(FAULT_FOREIGN);
}

TEST(scores__find_another_ground)
{
    check_ranked(FAULT_OTHER_GROUND);
}

TEST(scores__do_not_call_a_soft_patch_more_coherent)
{
    for (int g = 0; g < N_GROUNDS; g++) {
        struct picture_scores s;
        struct bench b;

        set_up(&b, (enum score_ground)g, 5);
        measure_fault(&b, FAULT_BLUR, &s);
        CHECK(s.coherence <= b.clean.coherence);
        arena_done(&b.a);
    }
}

/* A copy of what lies beside the object holds nothing that the ground does not have. */
TEST(scores__accept_a_copy_of_the_ground_beside)
{
    for (int g = 0; g < N_GROUNDS; g++) {
        struct picture_scores copy, foreign, ghost;
        struct image after;
        struct bench b;

        set_up(&b, (enum score_ground)g, 4);
        score_case_sound(&b.a, &b.c, SOUND_CLONE, &after);
        score_case_measure(&b.a, &b.c, &after, &copy);
        measure_fault(&b, FAULT_FOREIGN, &foreign);
        measure_fault(&b, FAULT_GHOST, &ghost);
        CHECK(copy.hallucination < 0.5 && copy.coherence > foreign.coherence && copy.coherence > ghost.coherence);
        CHECK(picture_scores_better(&copy, &foreign));
        arena_done(&b.a);
    }
}

/* The horizon and the joints of tiles and planks go through the mask: their edges are the photo's own. */
TEST(scores__tell_natural_edges_from_a_seam)
{
    static const enum score_ground grounds[] = { GROUND_TWO, GROUND_TILES, GROUND_PLANKS };
    double worst_clean = 0, best_faulty = 1e9;

    for (size_t g = 0; g < sizeof grounds / sizeof *grounds; g++)
        for (uint64_t seed = 1; seed <= 2; seed++) {
            struct picture_scores s;
            struct bench b;

            set_up(&b, grounds[g], seed);
            measure_fault(&b, FAULT_OTHER_GROUND, &s);
            CHECK(!picture_scores_seam_shows(&b.clean) && picture_scores_seam_shows(&s));
            worst_clean = fmax(worst_clean, b.clean.seam);
            best_faulty = fmin(best_faulty, s.seam);
            arena_done(&b.a);
        }
    CHECK(worst_clean < best_faulty);
}

TEST(scores__show_the_seam_of_a_tint_and_none_of_a_clean_paste)
{
    for (int g = 0; g < N_GROUNDS; g++) {
        struct picture_scores s;
        struct image after;
        struct bench b;

        set_up(&b, (enum score_ground)g, 6);
        CHECK(!picture_scores_seam_shows(&b.clean));
        score_case_sound(&b.a, &b.c, SOUND_FRESH_GRAIN, &after);
        score_case_measure(&b.a, &b.c, &after, &s);
        CHECK(!picture_scores_seam_shows(&s));
        measure_fault(&b, FAULT_TINT, &s);
        CHECK(picture_scores_seam_shows(&s));
        arena_done(&b.a);
    }
}

/* A mask that is 4 pixels too small: what is painted rightly differs from the photo all around. */
TEST(scores__do_not_take_the_rim_of_an_object_for_a_tint)
{
    struct picture_scores s;
    struct image after;
    struct bench b;

    set_up(&b, GROUND_SAND, 2);
    for (size_t i = 0; i < image_bytes(&b.c.mask); i++)
        b.c.mask.pixels[i] = 0;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            if (hypot(x - b.c.middle_x, y - b.c.middle_y) < 0.7 * b.c.radius)
                b.c.mask.pixels[y * SIDE + x] = 255;
    score_case_result(&b.a, &b.c, FAULT_NONE, &after);
    score_case_measure(&b.a, &b.c, &after, &s);
    CHECK(s.colour_step < 3 && !picture_scores_seam_shows(&s));
    arena_done(&b.a);
}

static void check_finite(const struct picture_scores *s)
{
    CHECK(s->seam >= 0 && s->seam <= 20 && s->outline >= 0 && s->outline <= 20);
    CHECK(s->colour_step >= 0 && s->colour_step <= 255);
    CHECK(s->overlap >= 0 && s->overlap <= 4 && s->sharpness >= 0 && s->sharpness <= 20);
    CHECK(s->grain >= 0 && s->grain <= 20 && s->ghost >= -1 && s->ghost <= 1);
    CHECK(s->coherence >= 0 && s->coherence <= 1 && s->hallucination >= 0 && s->hallucination <= 5);
    CHECK(s->total >= 0 && s->total <= 1);
}

/* Pictures of all small sizes; masks of nothing, a pixel, a line, all but a pixel, everything. */
TEST(scores__are_finite_for_every_shape)
{
    static const int sizes[][2] = { { 1, 1 }, { 2, 1 }, { 1, 40 }, { 7, 7 }, { 16, 16 }, { 17, 33 }, { 64, 3 }, { 90, 70 } };
    struct err err = { 0 };
    struct arena a;

    CHECK_OK(arena_init(&a, arena_bytes, &err), err);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int k = 0; k < 5; k++) {
            struct arena_mark m = arena_mark(&a);
            int w = sizes[i][0], h = sizes[i][1];
            struct image before, after, mask, paste;
            struct picture_scores s;

            picture_of_noise(&a, w, h, 3, 1, &before);
            picture_of_noise(&a, w, h, 3, k == 4 ? 1 : 2, &after);
            CHECK_OK(image_new(&a, w, h, 1, &mask, &err), err);
            CHECK_OK(image_new(&a, w, h, 1, &paste, &err), err);
            if (k > 0)
                memset(mask.pixels + (k == 2 ? h / 2 * w : 0), 255, k == 1 ? 1 : k == 2 ? (size_t)w : (size_t)(w * h));
            if (k == 3)
                mask.pixels[w * h - 1] = 0;
            memcpy(paste.pixels, mask.pixels, (size_t)(w * h));
            CHECK_OK(picture_scores_measure(&a, &(struct score_pictures){ &before, &after, &mask, &paste }, &s, &err),
                     err);
            check_finite(&s);
            arena_rewind(&a, m);
        }
    arena_done(&a);
}

/* Nothing was pasted: nothing is worse than perfect. */
TEST(scores__of_an_empty_paste_are_perfect)
{
    struct picture_scores s;
    struct bench b;

    set_up(&b, GROUND_SKY, 1);
    memset(b.c.paste.pixels, 0, image_bytes(&b.c.paste));
    score_case_measure(&b.a, &b.c, &b.truth, &s);
    CHECK(s.seam == 1 && s.outline == 1 && s.sharpness == 1 && s.grain == 1 && s.coherence == 1);
    CHECK(s.colour_step == 0 && s.overlap == 0 && s.ghost == 0 && s.hallucination == 0);
    CHECK(fabs(s.total - 0.85) < 0.01 && !picture_scores_seam_shows(&s));
    arena_done(&b.a);
}

TEST(scores__give_back_memory_and_refuse_what_does_not_fit)
{
    struct err err = { 0 };
    struct picture_scores s;
    struct bench b;
    struct image narrow;
    size_t used;

    set_up(&b, GROUND_SKY, 1);
    used = b.a.used;
    score_case_measure(&b.a, &b.c, &b.truth, &s);
    CHECK_INT(b.a.used, used);
    narrow = b.truth;
    narrow.width--;
    CHECK_INT(picture_scores_measure(&b.a, &(struct score_pictures){ &b.truth, &narrow, &b.c.mask, &b.c.paste }, &s, &err),
              ERR_INVALID);
    CHECK(strstr(err.msg, "one size"));
    CHECK_INT(picture_scores_measure(&b.a, &(struct score_pictures){ &b.truth, &b.truth, &b.truth, &b.c.paste }, &s, NULL),
              ERR_INVALID);
    arena_done(&b.a);
}

TEST(scores__do_not_depend_on_the_number_of_threads)
{
    struct err err = { 0 };
    struct picture_scores one, four;
    struct bench b;
    struct image after;

    set_up(&b, GROUND_PEBBLES, 2);
    score_case_result(&b.a, &b.c, FAULT_GHOST, &after);
    omp_set_num_threads(1);
    score_case_measure(&b.a, &b.c, &after, &one);
    omp_set_num_threads(4);
    CHECK_OK(picture_scores_measure(&b.a, &(struct score_pictures){ &b.c.before, &after, &b.c.mask, &b.c.paste }, &four,
                                    &err),
             err);
    CHECK(memcmp(&one, &four, sizeof one) == 0);
    arena_done(&b.a);
}

/* Large areas are reduced: a ghost and a tint are found there, too. */
TEST(scores__find_faults_in_large_pictures)
{
    enum { LARGE = 1500 };
    struct err err = { 0 };
    struct image before, after, mask, paste;
    struct picture_scores clean, tint;
    struct arena a;

    CHECK_OK(arena_init(&a, arena_bytes, &err), err);
    picture_of_noise(&a, LARGE, LARGE, 3, 1, &before);
    picture_of_noise(&a, LARGE, LARGE, 3, 1, &after);
    CHECK_OK(image_new(&a, LARGE, LARGE, 1, &mask, &err), err);
    CHECK_OK(image_new(&a, LARGE, LARGE, 1, &paste, &err), err);
    for (size_t i = 0; i < image_bytes(&before); i++)
        before.pixels[i] = after.pixels[i] = (uint8_t)(100 + after.pixels[i] / 8);
    for (int y = 200; y < 1300; y++) {
        memset(paste.pixels + y * LARGE + 200, 255, 1100);
        if (y >= 210 && y < 1290)
            memset(mask.pixels + y * LARGE + 210, 255, 1080);
    }
    CHECK_OK(picture_scores_measure(&a, &(struct score_pictures){ &before, &after, &mask, &paste }, &clean, &err), err);
    for (size_t i = 0; i < image_bytes(&after); i++)
        after.pixels[i] = (uint8_t)(after.pixels[i] + (paste.pixels[i / 3] ? 8 : 0));
    CHECK_OK(picture_scores_measure(&a, &(struct score_pictures){ &before, &after, &mask, &paste }, &tint, &err), err);
    CHECK(clean.colour_step < 0.5 && fabs(tint.colour_step - 8) < 0.5);
    CHECK(picture_scores_better(&clean, &tint) && picture_scores_seam_shows(&tint));
    arena_done(&a);
}

TEST(scores__worst_of_several_crops_hides_no_fault)
{
    const struct picture_scores of[] = {
        { .seam = 1, .outline = 4, .colour_step = 5, .sharpness = 1, .grain = 0.5, .ghost = -0.2, .coherence = 0.9, .total = 0.8 },
        { .seam = 3, .outline = 1, .colour_step = 0, .sharpness = 0.2, .grain = 1.5, .ghost = 0.1, .coherence = 1, .total = 0.4 },
    };
    struct picture_scores s = picture_scores_worst(of, 2);

    CHECK(s.seam == 3 && s.outline == 4 && s.colour_step == 5 && s.sharpness == 0.2 && s.grain == 0.5 && s.ghost == 0.1);
    CHECK(s.coherence == 0.9 && s.total == 0.4);
    CHECK(picture_scores_better(&of[0], &of[1]) && !picture_scores_better(&of[0], &of[0]));
}
