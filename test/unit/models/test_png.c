#include "models/image/png.h"

#include <string.h>

#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"

TEST(png__reads_back_what_it_wrote)
{
    static const int sizes[][2] = { { 1, 1 }, { 3, 2 }, { 17, 31 }, { 640, 480 } };
    struct arena a;
    struct err err = { 0 };
    struct image src, got;
    struct span file;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    for (size_t i = 0; i < 8; i++) {
        picture_of_noise(&a, sizes[i / 2][0], sizes[i / 2][1], i % 2 ? 3 : 1, 7, &src);
        CHECK_OK(png_write(&a, &src, &file, &err), err);
        CHECK_OK(png_read(&a, file, IMAGE_ALPHA_DROP, &got, NULL, &err), err);
        CHECK_SAME_PICTURE(&got, &src);
    }
    arena_done(&a);
}

TEST(png__refuses_every_shortened_file)
{
    struct arena a;
    struct err err = { 0 };
    struct image src, got;
    struct span file;

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    picture_of_noise(&a, 9, 7, 3, 3, &src);
    CHECK_OK(png_write(&a, &src, &file, &err), err);
    for (size_t n = 0; n < file.len; n++)
        CHECK_INT(png_read(&a, (struct span){ file.ptr, n }, IMAGE_ALPHA_DROP, &got, NULL, NULL),
                  n < 8 ? ERR_NOT_AN_IMAGE : ERR_CORRUPT);
    arena_done(&a);
}
