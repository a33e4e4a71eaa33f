#include "models/image/orient.h"

#include <string.h>

#include "models/codec/decode.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"

TEST(orient__handles_all_eight_orientations_as_pillow_does)
{
    struct arena a;
    struct err err = { 0 };
    struct image stored, got, want;
    struct image_notes notes;

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    for (int i = 1; i <= 8; i++) {
        struct span file = file_bytes(&a, golden("pictures/oriented_%d.jpg", i));

        CHECK_OK(image_decode(&a, file, &(struct decode_options){ .alpha = IMAGE_ALPHA_DROP }, &stored, &notes, &err), err);
        CHECK_INT(notes.orientation, i);
        CHECK_OK(image_orient(&a, &stored, notes.orientation, &got, &err), err);
        picture_from_png(&a, golden("pictures/oriented_%d.upright.png", i), &want);
        CHECK_SAME_PICTURE(&got, &want);
    }
    arena_done(&a);
}

/* A picture of 2 x 3 pixels, "ab", "cd", "ef"; what becomes of its corners is from the table of the Exif
 * specification. */
TEST(orient__puts_the_first_row_and_column_where_exif_says)
{
    static const char *const want[9] = { "", "abcdef", "badcfe", "fedcba", "efcdab", "acebdf", "ecafdb", "fdbeca",
                                         "bdface" };
    uint8_t letters[] = "abcdef";
    struct image src = { 2, 3, 1, letters }, got;
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    for (int i = 1; i <= 8; i++) {
        CHECK_OK(image_orient(&a, &src, i, &got, &err), err);
        CHECK_INT(got.width, i > 4 ? 3 : 2);
        CHECK(memcmp(got.pixels, want[i], 6) == 0);
    }
    CHECK_INT(image_orient(&a, &src, 0, &got, NULL), ERR_INVALID);
    CHECK_INT(image_orient(&a, &src, 9, &got, NULL), ERR_INVALID);
    arena_done(&a);
}

/* Against the orienting itself: the displayed pixels that come of the stored rows, and no others, are in the box. */
TEST(orient__knows_where_the_last_rows_are_displayed)
{
    enum { WIDTH = 5, HEIGHT = 7 };
    uint8_t pixels[WIDTH * HEIGHT];
    struct image src = { WIDTH, HEIGHT, 1, pixels }, got;
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    for (int rows = 0; rows <= HEIGHT; rows++)
        for (int o = 1; o <= 8; o++) {
            struct image_box box = image_box_of_last_rows(WIDTH, HEIGHT, rows, o);

            for (int i = 0; i < WIDTH * HEIGHT; i++)
                pixels[i] = i / WIDTH >= HEIGHT - rows;
            CHECK_OK(image_orient(&a, &src, o, &got, &err), err);
            for (int y = 0; y < got.height; y++)
                for (int x = 0; x < got.width; x++)
                    CHECK_INT(x >= box.left && x < box.right && y >= box.top && y < box.bottom,
                              got.pixels[y * got.width + x]);
        }
    arena_done(&a);
}
