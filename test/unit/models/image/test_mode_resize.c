#include "models/image/mode_resize.h"

#include <string.h>

#include "models/codec/decode.h"
#include "models/image/resize.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"

static struct arena a;

static struct image resized(const struct image *src, const struct image_notes *notes, int width, int height)
{
    struct err err = { 0 };
    struct image got;

    CHECK_OK(image_resize_in_mode(&a, src, notes, width, height, &got, &err), err);
    CHECK(got.width == width && got.height == height && got.channels == src->channels);
    return got;
}

/* Expected bytes: Pillow 13.0, from pictures with these bytes in modes P, LA and RGBA. */
TEST(mode_resize__takes_the_nearest_pixel_of_palettes_and_single_bits)
{
    static uint8_t pixels[15] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 };
    static const uint8_t smaller[] = { 0, 2, 4, 5, 7, 9, 5, 7, 9, 10, 12, 14 };
    static const uint8_t wider[] = { 0, 1, 1, 2, 3, 3, 4, 10, 11, 11, 12, 13, 13, 14 };
    const struct image_notes notes = { .indexed = true };
    const struct image src = { 5, 3, 1, pixels };
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    CHECK(memcmp(resized(&src, &notes, 3, 4).pixels, smaller, sizeof smaller) == 0);
    CHECK(memcmp(resized(&src, &notes, 7, 2).pixels, wider, sizeof wider) == 0);
    CHECK(memcmp(resized(&src, &notes, 5, 3).pixels, pixels, sizeof pixels) == 0);
    arena_done(&a);
}

TEST(mode_resize__weights_colours_with_their_alpha)
{
    static uint8_t grey[] = { 10, 200, 30, 250, 90 }, grey_alpha[] = { 0, 255, 128, 1, 60 };
    static const uint8_t grey_3[] = { 197, 113, 0 }, grey_8[] = { 0, 223, 202, 107, 0, 0, 136, 83 };
    static uint8_t rgb[] = { 255, 255, 255, 10, 20, 30, 200, 100, 50, 0, 0, 0, 90, 80, 70, 1, 2, 3 };
    static uint8_t rgb_alpha[] = { 0, 255, 128, 7, 250, 64 };
    static const uint8_t rgb_6[] = { 255, 201, 40, 53, 35, 33, 5, 18, 30, 117, 85, 66, 104, 75, 58, 0, 0, 0 };
    const struct image l = { 5, 1, 1, grey }, c = { 2, 3, 3, rgb };
    const struct image_notes l_notes = { .alpha = grey_alpha }, c_notes = { .alpha = rgb_alpha };
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    CHECK(memcmp(resized(&l, &l_notes, 3, 1).pixels, grey_3, sizeof grey_3) == 0);
    CHECK(memcmp(resized(&l, &l_notes, 8, 1).pixels, grey_8, sizeof grey_8) == 0);
    CHECK(memcmp(resized(&c, &c_notes, 3, 2).pixels, rgb_6, sizeof rgb_6) == 0);
    CHECK(memcmp(resized(&c, &c_notes, 2, 3).pixels, rgb, sizeof rgb) == 0); /* the same size: unchanged */
    arena_done(&a);
}

TEST(mode_resize__reads_the_mode_from_the_file)
{
    static const struct {
        const char *name;
        bool indexed, alpha;
    } files[] = {
        { "mask_1bit.png", true, false },        { "mask_palette.png", true, false },
        { "mask_grey8.png", false, false },      { "mask_grey_alpha.png", false, true },
        { "mask_rgba_opaque.png", false, true }, { "mask_rgb.png", false, false },
        { "mask_jpeg.jpg", false, false },
    };
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct span file = file_bytes(&a, golden("pictures/%s", files[i].name));
        struct image_notes notes;
        struct image im, plain, got;

        CHECK_OK(image_decode(&a, file, &(struct decode_options){ .alpha = IMAGE_ALPHA_DROP }, &im, &notes, &err), err);
        CHECK(notes.indexed == files[i].indexed && !notes.alpha == !files[i].alpha);
        if (notes.alpha || notes.indexed)
            continue;
        CHECK_OK(image_resize(&a, &im, 20, 30, &plain, &err), err);
        got = resized(&im, &notes, 20, 30);
        CHECK_SAME_PICTURE(&got, &plain);
    }
    arena_done(&a);
}
