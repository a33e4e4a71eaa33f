#include "models/image/resize.h"

#include <stdio.h>
#include <string.h>

#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"

static void check_golden_case(const char *prefix, int i)
{
    struct arena a;
    struct err err = { 0 };
    struct image in, want, got;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    picture_from_png(&a, golden("pictures/%s%d.in.png", prefix, i), &in);
    picture_from_png(&a, golden("pictures/%s%d.out.png", prefix, i), &want);
    CHECK_OK(image_resize(&a, &in, want.width, want.height, &got, &err), err);
    CHECK_SAME_PICTURE(&got, &want);
    arena_done(&a);
}

TEST(resize__gives_the_bytes_of_pillow_for_rgb)
{
    for (int i = 0; i < 7; i++)
        check_golden_case("resize_", i);
}

TEST(resize__gives_the_bytes_of_pillow_for_grey)
{
    for (int i = 0; i < 7; i++)
        check_golden_case("resize_l", i);
}

/* Expected rows: Pillow's output. */
TEST(resize__gives_the_published_rows)
{
    static const struct { int n_in, n_out; uint8_t in[8], out[8]; } rows[] = {
        { 8, 5, { 0, 0, 0, 255, 255, 255, 0, 0 }, { 0, 31, 255, 189, 0 } },
        { 5, 8, { 10, 200, 30, 250, 90 }, { 0, 102, 199, 62, 78, 246, 174, 67 } },
        { 4, 2, { 0, 64, 128, 255 }, { 30, 187 } },
    };
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t in[8];
        struct image across = { rows[i].n_in, 1, 1, in }, down = { 1, rows[i].n_in, 1, in }, got;

        memcpy(in, rows[i].in, sizeof in);
        CHECK_OK(image_resize(&a, &across, rows[i].n_out, 1, &got, &err), err);
        CHECK(memcmp(got.pixels, rows[i].out, (size_t)rows[i].n_out) == 0);
        CHECK_OK(image_resize(&a, &down, 1, rows[i].n_out, &got, &err), err);
        CHECK(memcmp(got.pixels, rows[i].out, (size_t)rows[i].n_out) == 0);
    }
    arena_done(&a);
}

/* Sizes on both sides of the point where the order of the passes changes. Expected checksums: Pillow 13.0.0,
 * `Image.frombytes("L", (31, 53), bytes((7 * i * i + 13 * i) % 256 ...)).resize(size, LANCZOS)`. */
TEST(resize__takes_the_passes_in_the_order_of_pillow_13)
{
    static const struct { int width, height; uint32_t sum; } cases[] = {
        { 21, 33, 616765824u }, { 21, 32, 1912914670u }, { 36, 52, 495778951u }, { 21, 56, 2947589284u },
        { 40, 52, 4291373121u }, { 20, 20, 4049784929u }, { 7, 5, 3936647235u }, { 7, 4, 1859704979u },
        { 90, 80, 1437484724u }, { 3, 53, 3880390844u }, { 31, 11, 2377199186u }, { 1, 1, 127u },
    };
    struct arena a;
    struct err err = { 0 };
    struct image src, got;

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    CHECK_OK(image_new(&a, 31, 53, 1, &src, &err), err);
    for (unsigned i = 0; i < 31 * 53; i++)
        src.pixels[i] = (uint8_t)(7 * i * i + 13 * i);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t sum = 0;

        CHECK_OK(image_resize(&a, &src, cases[i].width, cases[i].height, &got, &err), err);
        for (size_t k = 0; k < image_bytes(&got); k++)
            sum = 31 * sum + got.pixels[k];
        CHECK_INT(sum, cases[i].sum);
    }
    arena_done(&a);
}

TEST(resize__copies_when_the_size_is_the_same)
{
    struct arena a;
    struct err err = { 0 };
    struct image src, got;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    picture_of_noise(&a, 17, 5, 3, 1, &src);
    CHECK_OK(image_resize(&a, &src, 17, 5, &got, &err), err);
    CHECK(got.pixels != src.pixels);
    CHECK_SAME_PICTURE(&got, &src);
    arena_done(&a);
}

TEST(resize__refuses_sizes_beyond_the_limits_and_gives_its_scratch_back)
{
    struct arena a;
    struct err err = { 0 };
    struct image src, got;
    size_t used;

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    picture_of_noise(&a, 40, 30, 3, 2, &src);
    CHECK_INT(image_resize(&a, &src, 0, 5, &got, NULL), ERR_INVALID);
    CHECK_INT(image_resize(&a, &src, IMAGE_MAX_SIDE + 1, 1, &got, NULL), ERR_TOO_LARGE);
    CHECK_INT(image_resize(&a, &src, 16000, 16000, &got, NULL), ERR_TOO_LARGE);
    CHECK_INT(image_resize(&a, &src, 4000, 4000, &got, NULL), ERR_NOMEM);
    used = a.used;
    CHECK_OK(image_resize(&a, &src, 64, 64, &got, &err), err);
    CHECK_INT(a.used - used, 64 * 64 * 3);
    arena_done(&a);
}

/* The sizes grow and shrink, and take one pass, two in either order, or none. */
TEST(resize__makes_a_part_equal_to_that_of_the_whole)
{
    static const struct { int width, height; } sizes[] = { { 61, 47 }, { 200, 47 }, { 61, 13 },  { 20, 40 },
                                                           { 55, 9 },  { 180, 99 }, { 300, 20 }, { 7, 120 } };
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
        int width = sizes[i / 2].width, height = sizes[i / 2].height, channels = i % 2 ? 3 : 1;
        const struct image_box boxes[] = { { 0, 0, width, height },
                                           { width / 3, height / 4, width / 3 + 1, height },
                                           { 0, height - 1, width / 2 + 1, height },
                                           { width - 3, 2, width, height / 2 + 2 } };
        struct image src, whole, part;

        picture_of_noise(&a, 61, 47, channels, 3, &src);
        CHECK_OK(image_resize(&a, &src, width, height, &whole, &err), err);
        for (size_t b = 0; b < sizeof boxes / sizeof *boxes; b++) {
            size_t row = (size_t)(boxes[b].right - boxes[b].left) * (size_t)channels;

            CHECK_OK(image_resize_box(&a, &src, width, height, boxes[b], &part, &err), err);
            CHECK_INT(image_bytes(&part), row * (size_t)(boxes[b].bottom - boxes[b].top));
            for (int y = boxes[b].top; y < boxes[b].bottom; y++)
                CHECK(memcmp(part.pixels + (size_t)(y - boxes[b].top) * row,
                             whole.pixels + (size_t)((y * width + boxes[b].left) * channels), row) == 0);
        }
        CHECK_INT(image_resize_box(&a, &src, width, height, (struct image_box){ 2, 2, 2, 5 }, &part, NULL), ERR_INVALID);
        CHECK_INT(image_resize_box(&a, &src, width, height, (struct image_box){ -1, 0, 2, 5 }, &part, NULL), ERR_INVALID);
        CHECK_INT(image_resize_box(&a, &src, width, height, (struct image_box){ 0, 0, 2, height + 1 }, &part, NULL),
                  ERR_INVALID);
    }
    arena_done(&a);
}
