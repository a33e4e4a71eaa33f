/* The measure of bands in test/support/scenes/bands.h judges what is known to be right and wrong. */
#include <math.h>

#include "test/support/scenes/bands.h"
#include "test/support/check.h"

enum { WIDTH = 40, HEIGHT = 600 };

static const struct image_box all = { 0, 0, WIDTH, HEIGHT };

/* The sky blended with itself over a ramp of 100 rows; `first` rounds the patch before the blend. */
static void blend(struct image *im, bool first, float wrong)
{
    float sky[3];

    for (int y = 200; y < 400; y++)
        for (int x = 0; x < WIDTH; x++) {
            uint8_t *p = im->pixels + ((size_t)y * WIDTH + (size_t)x) * 3;
            float weight = fminf(1.0F, (float)(y - 200) / 100);

            bands_sky(x, y, HEIGHT, sky);
            for (int c = 0; c < 3; c++) {
                float patch = first ? rintf(sky[c] / 2) * 2 : sky[c] + wrong;
                p[c] = (uint8_t)lroundf(weight * patch + (1 - weight) * sky[c]);
            }
        }
}

TEST(bands__what_is_rounded_once_has_those_of_the_original)
{
    struct arena a;
    struct err err = { 0 };
    struct image original, got;
    struct bands b;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    bands_sky_picture(&a, WIDTH, HEIGHT, &original);
    bands_sky_picture(&a, WIDTH, HEIGHT, &got);
    blend(&got, false, 0.0F);
    CHECK_NO_BANDS(&got, &original, all);
    b = bands_measure(&original, all);
    CHECK_INT(b.largest_step, 1);
    CHECK_INT(b.reversals, 0);
    CHECK(b.longest_run > 10 && b.longest_run < 60);
    arena_done(&a);
}

TEST(bands__coarse_values_and_a_tint_are_seen)
{
    struct arena a;
    struct err err = { 0 };
    struct image original, coarse, tint;
    struct bands o, b;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    bands_sky_picture(&a, WIDTH, HEIGHT, &original);
    bands_sky_picture(&a, WIDTH, HEIGHT, &coarse);
    bands_sky_picture(&a, WIDTH, HEIGHT, &tint);
    blend(&coarse, true, 0.0F);
    blend(&tint, false, 6.0F);
    o = bands_measure(&original, all);
    b = bands_measure(&coarse, all);
    CHECK(b.longest_run > o.longest_run + 2 && b.largest_step > o.largest_step);
    b = bands_measure(&tint, all);
    CHECK(b.largest_step > o.largest_step && b.reversals > 0);
    arena_done(&a);
}
