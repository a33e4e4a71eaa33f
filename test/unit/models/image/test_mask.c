#include "models/image/mask.h"

#include <string.h>

#include "models/codec/decode.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"

static void read_mask(struct arena *a, const char *path, struct image *ret)
{
    struct image_notes notes;
    struct err err = { 0 };
    struct image im;

    CHECK_OK(image_decode(a, file_bytes(a, path), &(struct decode_options){ .alpha = IMAGE_ALPHA_ON_BLACK }, &im, &notes, &err), err);
    CHECK_OK(mask_from_image(a, &im, ret, &err), err);
}

TEST(mask__reads_the_same_mask_from_every_kind_of_file)
{
    static const char *const names[] = { "1bit.png", "grey8.png", "grey16.png", "grey_alpha.png", "rgb.png",
                                         "rgba_opaque.png", "palette.png", "interlaced.png", "jpeg.jpg" };
    struct arena a;
    struct err err = { 0 };
    struct image want, got;

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    read_mask(&a, golden("pictures/mask.expected.png"), &want);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        read_mask(&a, golden("pictures/mask_%s", names[i]), &got);
        CHECK_SAME_PICTURE(&got, &want);
    }
    arena_done(&a);
}

/* The half-size file has every other row, so that two edges of the mask are off by one row of 20 pixels, 40 pixels in
 * all, with any filter. Grey levels beside white must not overshoot the threshold. */
TEST(mask__of_half_the_size_is_fitted_to_the_photo)
{
    struct arena a;
    struct err err = { 0 };
    struct image want, half, got;
    int different = 0;

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    read_mask(&a, golden("pictures/mask.expected.png"), &want);
    read_mask(&a, golden("pictures/mask_half_size.png"), &half);
    CHECK_OK(mask_fit(&a, &half, want.width, want.height, &got, &err), err);
    for (size_t i = 0; i < image_bytes(&want); i++) {
        CHECK(got.pixels[i] == 0 || got.pixels[i] == 255);
        different += got.pixels[i] != want.pixels[i];
    }
    CHECK_INT(different, 40);
    arena_done(&a);
}

TEST(mask__of_another_shape_is_refused)
{
    static const struct { int mask[2], photo[2]; enum err_code want; } cases[] = {
        { { 100, 75 }, { 4000, 3000 }, ERR_OK },
        { { 512, 384 }, { 4032, 3024 }, ERR_OK },
        { { 10, 7 }, { 4000, 3000 }, ERR_OK },        /* 7.5, rounded down */
        { { 1, 1 }, { 30, 20 }, ERR_OK },             /* 0.67, rounded up */
        { { 200, 149 }, { 400, 300 }, ERR_OK },       /* one pixel less than 150 */
        { { 1000, 755 }, { 4000, 3000 }, ERR_OK },    /* 0.7 % */
        { { 1000, 760 }, { 4000, 3000 }, ERR_MASK_SIZE }, /* 1.3 % */
        { { 300, 400 }, { 400, 300 }, ERR_MASK_SIZE },
        { { 3000, 4000 }, { 4000, 3000 }, ERR_MASK_SIZE },
        { { 512, 512 }, { 1280, 960 }, ERR_MASK_SIZE },
    };
    struct arena a;
    struct err err = { 0 };
    struct image mask, got;

    CHECK_OK(arena_init(&a, 256 << 20, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena_mark mark = arena_mark(&a);
        enum err_code rc;

        CHECK_OK(image_new(&a, cases[i].mask[0], cases[i].mask[1], 1, &mask, &err), err);
        rc = mask_fit(&a, &mask, cases[i].photo[0], cases[i].photo[1], &got, NULL);
        if (rc != cases[i].want)
            test_fail(__FILE__, __LINE__, "case %zu: %s", i, err_name(rc));
        arena_rewind(&a, mark);
    }
    arena_done(&a);
}

TEST(mask__weighs_grey_as_pillow_does)
{
    uint8_t rgb[] = { 255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 128, 128, 128, 127, 127, 127, 10, 200, 90 };
    static const uint8_t want[] = { 76, 150, 29, 255, 128, 127, 131 }; /* Image.convert("L") */
    struct image src = { 7, 1, 3, rgb }, got;
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    CHECK_OK(image_to_grey(&a, &src, &got, &err), err);
    CHECK(memcmp(got.pixels, want, sizeof want) == 0);
    CHECK_OK(mask_from_image(&a, &src, &got, &err), err);
    CHECK(memcmp(got.pixels, "\0\xff\0\xff\xff\0\xff", 7) == 0);
    arena_done(&a);
}

TEST(mask__covers_every_marked_pixel_at_any_size)
{
    static const int sizes[][2] = { { 64, 64 }, { 16, 48 }, { 1, 1 }, { 97, 53 }, { 98, 54 }, { 300, 200 },
                                   { 13, 200 } };
    struct arena a;
    struct err err = { 0 };
    struct image mask, got;

    CHECK_OK(arena_init(&a, 4 << 20, &err), err);
    CHECK_OK(image_new(&a, 97, 53, 1, &mask, &err), err);
    for (size_t i = 0; i < image_bytes(&mask); i += 331)
        mask.pixels[i] = 255;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int w = sizes[s][0], h = sizes[s][1];

        CHECK_OK(mask_cover(&a, &mask, w, h, &got, &err), err);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                bool touched = false;
                for (int v = y * 53 / h; v <= ((y + 1) * 53 - 1) / h; v++)
                    for (int u = x * 97 / w; u <= ((x + 1) * 97 - 1) / w; u++)
                        touched |= mask.pixels[v * 97 + u] != 0;
                CHECK_INT(got.pixels[y * w + x], touched ? 255 : 0);
            }
    }
    arena_done(&a);
}

TEST(mask__knows_its_extent)
{
    struct arena a;
    struct err err = { 0 };
    struct mask_extent e;
    struct image mask;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    CHECK_OK(image_new(&a, 10, 8, 1, &mask, &err), err);
    e = mask_extent(&mask);
    CHECK(e.n_set == 0 && e.box.right == 0);
    mask.pixels[2 * 10 + 7] = mask.pixels[5 * 10 + 3] = 255;
    e = mask_extent(&mask);
    CHECK(e.n_set == 2 && e.box.left == 3 && e.box.right == 8 && e.box.top == 2 && e.box.bottom == 6);
    arena_done(&a);
}
