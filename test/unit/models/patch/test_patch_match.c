#include "models/patch/patch_match.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test/support/scenes/painted.h"

static struct patch_match match(struct painted *p, uint64_t seed)
{
    struct patch_match m;
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, 32 << 20, &err), err);
    CHECK_OK(patch_match(&a, &p->area, seed, &m, &err), err);
    CHECK_INT(a.used, 0);
    arena_done(&a);
    return m;
}

static double ratio_of_patch(const struct painted *p, enum painted_structure s, int least)
{
    uint8_t(*picture)[3] = painted_compose(p);
    double ratio = painted_ratio(p, picture, s, least);

    free(picture);
    return ratio;
}

/* The grain of the patch is the photo's to a fifth, in fine, middle and broad structure. */
static void check_grain_matches(const char *what, struct painted *p)
{
    struct patch_match m = match(p, 7);

    if (m.outcome != PATCH_MATCH_ADDED)
        test_fail(__FILE__, __LINE__, "%s: %s", what, patch_match_word(m.outcome));
    for (enum painted_structure s = 0; s < PAINTED_STRUCTURES; s++) {
        double ratio = ratio_of_patch(p, s, 255);

        if (!(ratio >= 0.8 && ratio <= 1.2))
            test_fail(__FILE__, __LINE__, "%s: structure %d has a ratio of %.2f", what, s, ratio);
    }
    if (!(fabs(m.sigma_after / m.sigma_photo - 1) <= 0.15))
        test_fail(__FILE__, __LINE__, "%s: sigma %.2f for %.2f", what, m.sigma_after, m.sigma_photo);
    painted_free(p);
}

TEST(patch_match__gives_a_smooth_patch_the_grain_of_cameras)
{
    struct painted *p = painted_new(90, 150);

    painted_add_noise(p, 3, 1, false, 1);
    check_grain_matches("white noise in each channel", p);
    p = painted_new(90, 150);
    painted_add_noise(p, 3, 2, false, 2);
    check_grain_matches("noise from a colour filter array", p);
    p = painted_new(90, 150);
    painted_add_noise(p, 2, 4, false, 3);
    painted_add_noise(p, 1, 1, true, 4);
    check_grain_matches("blotches of a noise filter", p);
    p = painted_new(90, 150);
    painted_add_noise(p, 5, 2, true, 5);
    painted_quantise(p, 5);
    check_grain_matches("JPEG", p);
}

TEST(patch_match__gives_the_grain_of_a_night_and_of_a_little)
{
    struct painted *p = painted_new(40, 80);

    painted_add_noise(p, 12, 1, false, 6);
    check_grain_matches("strong noise", p);
    p = painted_new(60, 90);
    painted_add_noise(p, 12, 1, true, 7);
    check_grain_matches("strong grey noise", p);
    p = painted_new(100, 140);
    painted_add_noise(p, 0.8F, 1, true, 8);
    check_grain_matches("weak noise", p);
}

TEST(patch_match__gives_a_soft_patch_only_what_it_lacks)
{
    struct painted *p = painted_new(90, 150);

    painted_add_noise(p, 2, 4, true, 9);
    painted_add_noise(p, 2, 1, true, 10);
    painted_soften(p);
    check_grain_matches("fine noise on blotches", p);
}

TEST(patch_match__follows_the_brightness)
{
    struct painted *p = painted_new(30, 220);
    double ring[2] = { 0 }, patch[2] = { 0 };
    int n_ring[2] = { 0 }, n_patch[2] = { 0 };
    uint8_t(*picture)[3];

    painted_add_shot_noise(p, 0.5F, 0.03F, 11);
    CHECK_INT(match(p, 1).outcome, PATCH_MATCH_ADDED);
    picture = painted_compose(p);
    for (int i = 1; i < PAINTED_PIXELS - 1; i++) {
        int x = i % PAINTED_SIDE, half = x > PAINTED_SIDE / 2;
        double d = picture[i][1] - 0.5 * (picture[i - 1][1] + picture[i + 1][1]);

        if (x < 90 || x > 210 || (x > 120 && x < 180))
            continue;
        (p->hole[i] ? patch : ring)[half] += p->hole[i] && p->paste[i] < 255 ? 0 : d * d;
        (p->hole[i] ? n_patch : n_ring)[half] += !(p->hole[i] && p->paste[i] < 255);
    }
    for (int k = 0; k < 2; k++) {
        double ratio = sqrt(patch[k] / n_patch[k]) / sqrt(ring[k] / n_ring[k]);

        CHECK(ratio > 0.8 && ratio < 1.2);
    }
    free(picture);
    painted_free(p);
}

TEST(patch_match__adds_nothing_to_a_photo_without_grain)
{
    struct painted *p = painted_new(100, 100);
    struct patch_match m = match(p, 1);

    CHECK_INT(m.outcome, PATCH_MATCH_ENOUGH_OF);
    CHECK(memcmp(p->patch, p->truth, sizeof p->patch) == 0);
    painted_free(p);
}

TEST(patch_match__leaves_a_patch_alone_that_is_the_photo)
{
    for (unsigned seed = 20; seed < 24; seed++) {
        struct painted *p = painted_new(60, 160);
        struct patch_match m;
        uint8_t(*picture)[3];

        painted_add_noise(p, 3, 2, false, seed);
        painted_repeat(p);
        m = match(p, 1);
        CHECK_INT(m.outcome, PATCH_MATCH_ENOUGH_OF);
        for (int c = 0; c < 3; c++)
            CHECK(!m.tone.applied[c] && m.tone.gain[c] == 1.0 && m.tone.offset[c] == 0.0);
        picture = painted_compose(p);
        CHECK(painted_change(p, picture) == 0.0);
        free(picture);
        painted_free(p);
    }
}

/* Tufts: noise in broad and fine structure, whose strength changes from place to place. */
static void draw_grass(struct painted *p)
{
    painted_add_noise(p, 22, 3, true, 30);
    for (int i = 0; i < PAINTED_PIXELS; i++)
        for (int c = 0; c < 3; c++) {
            float wave = sinf((float)(i % PAINTED_SIDE) * 0.11F) * sinf((float)(i / PAINTED_SIDE) * 0.13F);

            p->noisy[i][c] = p->truth[i][c] + (p->noisy[i][c] - p->truth[i][c]) * (1 + 0.5F * wave);
        }
    painted_expose(p);
}

TEST(patch_match__does_not_take_grass_for_grain)
{
    struct painted *p = painted_new(110, 120);

    draw_grass(p);
    CHECK_INT(match(p, 1).outcome, PATCH_MATCH_TEXTURE);
    CHECK(memcmp(p->patch, p->truth, sizeof p->patch) == 0);
    painted_free(p);
}

/* Grass on the left; the wall on the right tells what the grain is. */
TEST(patch_match__measures_grain_beside_texture)
{
    struct painted *p = painted_new(110, 120);
    struct patch_match m;

    draw_grass(p);
    for (int i = 0; i < PAINTED_PIXELS; i++)
        for (int c = 0; c < 3 && i % PAINTED_SIDE >= 150; c++)
            p->noisy[i][c] = p->truth[i][c];
    painted_add_noise(p, 2, 1, false, 31);
    m = match(p, 1);
    CHECK_INT(m.outcome, PATCH_MATCH_ADDED);
    CHECK(m.sigma_photo > 1.0 && m.sigma_photo < 1.7); /* 2 in each of three channels is 1.34 in luma */
    painted_free(p);
}

TEST(patch_match__keeps_a_photo_without_colour_grey)
{
    struct painted *p = painted_new(80, 130);

    for (int i = 0; i < PAINTED_PIXELS; i++)
        for (int c = 0; c < 3; c++)
            p->noisy[i][c] = p->patch[i][c] = p->truth[i][0];
    painted_add_noise(p, 6, 2, true, 40);
    CHECK_INT(match(p, 3).outcome, PATCH_MATCH_ADDED);
    for (int i = 0; i < PAINTED_PIXELS; i++)
        CHECK(p->patch[i][0] == p->patch[i][1] && p->patch[i][1] == p->patch[i][2]);
    painted_free(p);
}

TEST(patch_match__keeps_a_burnt_out_sky_white)
{
    struct painted *p = painted_new(100, 330);

    painted_add_noise(p, 4, 1, false, 41);
    for (int i = 0; i < PAINTED_PIXELS; i++)
        for (int c = 0; c < 3; c++)
            p->patch[i][c] = p->patch[i][c] > 255 ? 255 : p->patch[i][c];
    CHECK_INT(match(p, 3).outcome, PATCH_MATCH_ADDED);
    for (int i = 0; i < PAINTED_PIXELS; i++)
        CHECK(!(p->truth[i][0] > 270) || p->patch[i][0] == 255.0F);
    painted_free(p);
}

/* Independent noises lose variance where they are mixed: at half and half 0.71 of the deviation is left. */
TEST(patch_match__keeps_the_grain_within_the_ramp)
{
    struct painted *p = painted_new(90, 150);
    double ratio;

    painted_add_noise(p, 5, 1, true, 42);
    match(p, 1);
    ratio = ratio_of_patch(p, PAINTED_MIDDLE, 1);
    CHECK(ratio > 0.9 && ratio < 1.1);
    painted_free(p);
}

TEST(patch_match__is_the_same_for_the_same_seed)
{
    struct painted *p = painted_new(90, 150), *again = painted_new(90, 150), *other = painted_new(90, 150);

    painted_add_noise(p, 3, 1, false, 50);
    painted_add_noise(again, 3, 1, false, 50);
    painted_add_noise(other, 3, 1, false, 50);
    match(p, 12345678901234567U);
    match(again, 12345678901234567U);
    match(other, 12345678901234568U);
    CHECK(memcmp(p->patch, again->patch, sizeof p->patch) == 0);
    CHECK(memcmp(p->patch, other->patch, sizeof p->patch) != 0);
    painted_free(p);
    painted_free(again);
    painted_free(other);
}

TEST(patch_match__changes_nothing_outside_the_hole)
{
    struct painted *p = painted_new(90, 150);

    painted_add_noise(p, 3, 1, false, 51);
    for (int i = 0; i < PAINTED_PIXELS; i++)
        p->patch[i][0] += 6;
    CHECK(match(p, 1).tone.applied[0]);
    for (int i = 0; i < PAINTED_PIXELS; i++)
        for (int c = 0; c < 3 && !p->hole[i]; c++)
            CHECK(p->patch[i][c] == p->truth[i][c] + (c ? 0 : 6));
    painted_free(p);
}

TEST(patch_match__says_when_there_is_nothing_to_measure)
{
    struct painted *p = painted_new(90, 150);

    painted_add_noise(p, 3, 1, false, 52);
    memset(p->hole, 255, sizeof p->hole); /* nothing is left of the photo */
    CHECK_INT(match(p, 1).outcome, PATCH_MATCH_NO_BLOCKS);
    memset(p->hole, 0, sizeof p->hole);
    memset(p->paste, 0, sizeof p->paste);
    p->hole[PAINTED_PIXELS / 2] = p->paste[PAINTED_PIXELS / 2] = 255;
    CHECK_INT(match(p, 1).outcome, PATCH_MATCH_TOO_SMALL);
    CHECK(memcmp(p->patch, p->truth, sizeof p->patch) == 0);
    p->area.width = 1; /* and in areas that hold no block at all */
    p->area.height = 1;
    CHECK_INT(match(p, 1).outcome, PATCH_MATCH_NO_BLOCKS);
    painted_free(p);
}
