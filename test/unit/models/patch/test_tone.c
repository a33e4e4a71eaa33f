#include "models/patch/tone.h"

#include <math.h>

#include "test/support/scenes/painted.h"

static struct tone correct(struct painted *p)
{
    struct tone t;
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    CHECK_OK(tone_measure(&a, &p->area, &t, &err), err);
    CHECK_INT(a.used, 0);
    tone_apply(&t, &p->area);
    arena_done(&a);
    return t;
}

static void tint(struct painted *p, const float by[3])
{
    for (int i = 0; i < PAINTED_PIXELS; i++)
        for (int c = 0; c < 3; c++)
            p->patch[i][c] += by[c];
}

/* The mean difference from the scene in the paste. */
static double error_of(const struct painted *p, int c)
{
    double sum = 0;
    int n = 0;

    for (int i = 0; i < PAINTED_PIXELS; i++)
        if (p->paste[i] == 255) {
            sum += (double)(p->patch[i][c] - p->truth[i][c]);
            n++;
        }
    return fabs(sum / n);
}

TEST(tone__takes_out_a_tint_of_six_levels)
{
    static const float tints[][3] = { { 6, -6, 4 }, { 6, 6, 6 }, { -6, -6, -6 }, { 0, 0, 6 }, { -6, 0, 3 } };

    for (int k = 0; k < 5; k++)
        for (int noise = 0; noise < 3; noise++) {
            struct painted *p = painted_new(60, 180);

            painted_add_noise(p, 6 * (float)noise, 2, true, (unsigned)k + 1);
            tint(p, tints[k]);
            correct(p);
            for (int c = 0; c < 3; c++)
                CHECK(error_of(p, c) <= 1.0);
            painted_free(p);
        }
}

/* One channel is black in the patch almost everywhere, as in a yellow wall: the others are measured all the same. */
TEST(tone__looks_at_each_channel_by_itself)
{
    static const float down[3] = { -6, -6, -6 };
    struct painted *p = painted_new(60, 180);

    for (int i = 0; i < PAINTED_PIXELS; i++)
        p->noisy[i][2] = p->patch[i][2] = 3;
    painted_expose(p);
    tint(p, down);
    for (int i = 0; i < PAINTED_PIXELS; i++)
        p->patch[i][2] = fmaxf(p->patch[i][2], 0);
    correct(p);
    CHECK(error_of(p, 0) <= 1.0 && error_of(p, 1) <= 1.0);
    painted_free(p);
}

TEST(tone__takes_out_a_change_of_contrast)
{
    struct painted *p = painted_new(40, 210);
    struct tone t;

    painted_add_noise(p, 2, 1, false, 60);
    for (int i = 0; i < 3 * PAINTED_PIXELS; i++)
        p->patch[i / 3][i % 3] = 1.06F * p->patch[i / 3][i % 3] - 5;
    t = correct(p);
    for (int i = 0; i < 3 * PAINTED_PIXELS; i++)
        CHECK(!p->paste[i / 3] || fabsf(p->patch[i / 3][i % 3] - p->truth[i / 3][i % 3]) <= 1.0F);
    for (int c = 0; c < 3; c++)
        CHECK(t.gain[c] >= TONE_GAIN_LEAST && t.gain[c] < 1 && fabs(t.offset[c]) <= TONE_OFFSET_MOST);
    painted_free(p);
}

TEST(tone__leaves_a_true_patch_alone)
{
    for (unsigned seed = 0; seed < 6; seed++) {
        struct painted *p = painted_new(60, 180);
        struct tone t;

        painted_add_noise(p, 4 * (float)seed, 1 + (int)seed, seed & 1, seed + 70);
        t = correct(p);
        CHECK(t.cells > 0);
        for (int c = 0; c < 3; c++)
            CHECK(!t.applied[c] && t.gain[c] == 1.0 && t.offset[c] == 0.0);
        painted_free(p);
    }
}

TEST(tone__keeps_to_its_limits)
{
    static const float far[3] = { 40, -40, 0 };
    struct painted *p = painted_new(60, 180);
    struct tone t;

    tint(p, far);
    t = correct(p);
    for (int c = 0; c < 3; c++) {
        CHECK(fabs(t.offset[c]) <= TONE_OFFSET_MOST);
        CHECK(t.gain[c] >= TONE_GAIN_LEAST && t.gain[c] <= TONE_GAIN_MOST);
    }
    painted_free(p);
}

/* The rim of a removed object shines into the cells, and the patch is right. */
TEST(tone__does_not_follow_the_rim_of_the_removed_object)
{
    struct painted *p = painted_new(100, 140);
    struct tone t;

    painted_add_noise(p, 2, 1, false, 80);
    for (int i = 0; i < 3 * PAINTED_PIXELS; i++)
        p->noisy[i / 3][i % 3] += p->hole[i / 3] ? (float)(4 + i % 3) + 4 * sinf((float)(i / 3 / PAINTED_SIDE) / 9) : 0;
    painted_expose(p);
    t = correct(p);
    CHECK(t.cells > 0);
    for (int c = 0; c < 3; c++)
        CHECK(!t.applied[c]);
    painted_free(p);
}

/* A sky that is white in the photo and in the patch says nothing, and stays white. */
TEST(tone__does_not_darken_what_is_burnt_out)
{
    static const float up[3] = { 6, 6, 6 };
    struct painted *p = painted_new(120, 300);

    tint(p, up);
    for (int i = 0; i < 3 * PAINTED_PIXELS; i++)
        p->patch[i / 3][i % 3] = fminf(p->patch[i / 3][i % 3], 255);
    CHECK(correct(p).applied[0]);
    for (int i = 0; i < PAINTED_PIXELS; i++)
        CHECK(!(p->truth[i][0] >= 255) || p->patch[i][0] == 255.0F);
    painted_free(p);
}
