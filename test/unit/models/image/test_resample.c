#include "models/image/resample.h"

#include <math.h>

#include "models/image/resize.h"
#include "test/support/check.h"
#include "test/support/pictures.h"

enum { ARENA = 64 << 20 };

/* Pillow's bytes (test_resize.c), but for the rounding of each of its two passes: half a level, and half a level times
 * the sum of the filter's absolute weights, which is under 1.4. Both are cut off at 0 and 255, once each. */
TEST(resample__differs_from_pillow_by_its_roundings_alone)
{
    static const struct { int from[2], to[2]; } cases[] = {
        { { 64, 48 }, { 200, 100 } }, { { 200, 100 }, { 64, 48 } }, { { 50, 90 }, { 90, 50 } }, { { 7, 5 }, { 16, 16 } },
        { { 100, 80 }, { 100, 33 } }, { { 1, 1 }, { 9, 4 } },
    };
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int w = cases[c].to[0], h = cases[c].to[1];
        struct image src, want;
        struct image_f32 in, got;

        picture_of_noise(&a, cases[c].from[0], cases[c].from[1], 3, (unsigned)c + 1, &src);
        for (size_t i = 0; i < image_bytes(&src); i++)
            src.pixels[i] = (uint8_t)(90 + src.pixels[i] / 4); /* so that no overshoot is cut off */
        CHECK_OK(image_resize(&a, &src, w, h, &want, &err), err);
        CHECK_OK(image_f32_from(&a, &src, &in, &err), err);
        CHECK_OK(image_f32_resize_box(&a, &in, w, h, (struct image_box){ 0, 0, w, h }, &got, &err), err);
        for (size_t i = 0; i < image_bytes(&want); i++)
            CHECK(fabsf(got.pixels[i] - want.pixels[i]) <= 0.5f + 0.7f + 0.01f);
    }
    arena_done(&a);
}

TEST(resample__a_part_is_that_of_the_whole)
{
    const struct image_box part = { 31, 7, 77, 40 };
    struct arena a;
    struct err err = { 0 };
    struct image src;
    struct image_f32 in, whole, got;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    picture_of_noise(&a, 40, 30, 3, 5, &src);
    CHECK_OK(image_f32_from(&a, &src, &in, &err), err);
    CHECK_OK(image_f32_resize_box(&a, &in, 90, 50, (struct image_box){ 0, 0, 90, 50 }, &whole, &err), err);
    CHECK_OK(image_f32_resize_box(&a, &in, 90, 50, part, &got, &err), err);
    CHECK_INT(got.width, 46);
    CHECK_INT(got.height, 33);
    for (int y = 0; y < got.height; y++)
        for (int i = 0; i < 3 * got.width; i++)
            CHECK(got.pixels[y * 3 * got.width + i] == whole.pixels[(y + part.top) * 3 * 90 + 3 * part.left + i]);
    CHECK_INT(image_f32_resize_box(&a, &in, 90, 50, (struct image_box){ 0, 0, 91, 50 }, &got, NULL), ERR_INVALID);
    CHECK_INT(image_f32_resize_box(&a, &in, 90, 50, (struct image_box){ 5, 5, 5, 50 }, &got, NULL), ERR_INVALID);
    arena_done(&a);
}

TEST(resample__the_same_size_is_the_same_picture)
{
    struct arena a;
    struct err err = { 0 };
    struct image src;
    struct image_f32 in, got;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    picture_of_noise(&a, 33, 21, 3, 9, &src);
    CHECK_OK(image_f32_from(&a, &src, &in, &err), err);
    CHECK_OK(image_f32_resize_box(&a, &in, 33, 21, (struct image_box){ 0, 0, 33, 21 }, &got, &err), err);
    for (size_t i = 0; i < image_bytes(&src); i++)
        CHECK(got.pixels[i] == src.pixels[i]);
    arena_done(&a);
}
