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
