#include "models/mask/mask_orientation.h"

#include "test/support/check.h"

#define ANY    MASK_ORIENTATION_ANY
#define SHOWN  MASK_DISPLAYED
#define STORED MASK_STORED

/* A photo of 600 x 400 as displayed; `mask` as stored, at half that size or another. */
TEST(mask_orientation__turns_a_mask_where_sizes_say_so)
{
    static const struct { int photo, mask[2], own; enum mask_orientation wish; enum err_code rc; struct mask_turn want; } cases[] = {
        { 1, { 300, 200 }, 1, ANY, ERR_OK, { SHOWN, 1 } },
        { 2, { 300, 200 }, 1, ANY, ERR_OK, { SHOWN, 1 } }, /* sizes cannot say */
        { 3, { 300, 200 }, 1, ANY, ERR_OK, { SHOWN, 1 } },
        { 4, { 300, 200 }, 1, ANY, ERR_OK, { SHOWN, 1 } },
        { 5, { 300, 200 }, 1, ANY, ERR_OK, { SHOWN, 1 } },
        { 8, { 300, 200 }, 1, ANY, ERR_OK, { SHOWN, 1 } },
        { 5, { 200, 300 }, 1, ANY, ERR_OK, { STORED, 5 } }, /* the stored sides */
        { 6, { 200, 300 }, 1, ANY, ERR_OK, { STORED, 6 } },
        { 7, { 200, 300 }, 1, ANY, ERR_OK, { STORED, 7 } },
        { 8, { 200, 300 }, 1, ANY, ERR_OK, { STORED, 8 } },
        { 6, { 200, 300 }, 6, ANY, ERR_OK, { SHOWN, 6 } },  /* its own Exif data */
        { 8, { 200, 300 }, 6, ANY, ERR_OK, { SHOWN, 6 } },
        { 1, { 200, 300 }, 8, ANY, ERR_OK, { SHOWN, 8 } },
        { 3, { 300, 200 }, 3, ANY, ERR_OK, { SHOWN, 3 } },
        { 6, { 300, 200 }, 6, ANY, ERR_OK, { SHOWN, 1 } },  /* Exif data that were kept when it was turned */
        { 2, { 300, 200 }, 1, STORED, ERR_OK, { STORED, 2 } },
        { 3, { 300, 200 }, 1, STORED, ERR_OK, { STORED, 3 } },
        { 4, { 300, 200 }, 1, STORED, ERR_OK, { STORED, 4 } },
        { 6, { 200, 300 }, 6, STORED, ERR_OK, { STORED, 6 } },
        { 6, { 300, 200 }, 1, SHOWN, ERR_OK, { SHOWN, 1 } },
        { 6, { 200, 300 }, 1, SHOWN, ERR_MASK_SIZE, { ANY, 0 } },
        { 6, { 300, 200 }, 1, STORED, ERR_MASK_SIZE, { ANY, 0 } },
        { 1, { 200, 300 }, 1, ANY, ERR_MASK_SIZE, { ANY, 0 } }, /* an upright photo is turned by nothing */
        { 3, { 200, 300 }, 1, ANY, ERR_MASK_SIZE, { ANY, 0 } },
        { 6, { 300, 300 }, 1, ANY, ERR_MASK_SIZE, { ANY, 0 } },
        { 6, { 202, 300 }, 1, ANY, ERR_OK, { STORED, 6 } }, /* 1 part in 100 */
        { 1, { 300, 200 }, 1, MASK_ORIENTATION_UNKNOWN, ERR_MASK_AMBIGUOUS, { ANY, 0 } },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mask_sides sides = { 600, 400, cases[i].photo, cases[i].mask[0], cases[i].mask[1], cases[i].own };
        struct mask_turn got = { MASK_ORIENTATION_ANY, 0 };
        struct err err = { 0 };

        CHECK_INT(mask_choose_turn(&sides, cases[i].wish, &got, &err), cases[i].rc);
        CHECK_INT(got.orientation, cases[i].want.orientation);
        CHECK_INT(got.turn, cases[i].want.turn);
    }
}

TEST(mask_orientation__has_the_words_of_the_session)
{
    CHECK_STR(mask_orientation_word(MASK_DISPLAYED), "displayed");
    CHECK_STR(mask_orientation_word(MASK_STORED), "stored");
    CHECK_INT(mask_orientation_of_word("stored"), MASK_STORED);
    CHECK_INT(mask_orientation_of_word("displayed"), MASK_DISPLAYED);
    CHECK_INT(mask_orientation_of_word(""), MASK_ORIENTATION_UNKNOWN);
    CHECK_INT(mask_orientation_of_word("Stored"), MASK_ORIENTATION_UNKNOWN);
}
