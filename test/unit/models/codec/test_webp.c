#include "models/codec/webp.h"

#include <stdlib.h>
#include <string.h>

#include "test/support/check.h"
#include "test/support/jpeg_build.h"
#include "test/support/pictures.h"
#include "test/support/webp_build.h"

enum { ARENA = 64 << 20 };

TEST(webp__gives_back_lossless_pixels_and_near_ones_of_lossy_files)
{
    static const int sizes[][2] = { { 1, 1 }, { 3, 2 }, { 17, 31 }, { 300, 200 } };
    struct arena a;
    struct err err = { 0 };
    struct image src, got;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    for (size_t i = 0; i < 8; i++) {
        double sum = 0;
        struct span file;

        picture_of_noise(&a, sizes[i / 2][0], sizes[i / 2][1], 3, 5, &src);
        for (size_t k = 0; k < image_bytes(&src); k++)
            src.pixels[k] = (uint8_t)(100 + src.pixels[k] / 32);
        file = webp_build(&a, src.pixels, src.width, src.height, 3, i % 2);
        CHECK_OK(webp_read(&a, file, IMAGE_ALPHA_DROP, &got, NULL, &err), err);
        if (i % 2)
            CHECK_SAME_PICTURE(&got, &src);
        for (size_t k = 0; k < image_bytes(&src); k++)
            sum += abs(got.pixels[k] - src.pixels[k]);
        CHECK(sum / (double)image_bytes(&src) < 4);
    }
    arena_done(&a);
}

/* 100 at an alpha of 0, of 40 % and of 100 %: the values of the same test of PNG. */
TEST(webp__puts_white_black_or_nothing_behind_transparent_pixels)
{
    static const struct { enum image_alpha alpha; const char *want; } cases[] = {
        { IMAGE_ALPHA_ON_BLACK, "\0\0\0\x28\x28\x28\x64\x64\x64" },
        { IMAGE_ALPHA_ON_WHITE, "\xff\xff\xff\xc1\xc1\xc1\x64\x64\x64" },
    };
    const uint8_t pixels[] = "ddd\0ddd\x66" "ddd\xff";
    struct arena a;
    struct err err = { 0 };
    struct image_notes notes;
    struct image got;
    struct span file;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    file = webp_build(&a, pixels, 3, 1, 4, true);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_OK(webp_read(&a, file, cases[i].alpha, &got, &notes, &err), err);
        CHECK_INT(got.channels, 3);
        CHECK(memcmp(got.pixels, cases[i].want, 9) == 0);
        CHECK(notes.alpha && memcmp(notes.alpha, "\0\x66\xff", 3) == 0);
    }
    arena_done(&a);
}

TEST(webp__reads_orientation_and_profile)
{
    const struct span icc = SPAN("any bytes");
    struct arena a;
    struct err err = { 0 };
    struct image src, got;
    struct image_notes notes;
    struct span file, tiff;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    picture_of_noise(&a, 20, 10, 3, 5, &src);
    for (int i = 0; i < 4; i++) {
        file = webp_build(&a, src.pixels, 20, 10, 3, i % 2);
        tiff = exif_of_orientation(&a, 6, 3, i / 2);
        if (i == 3) /* as some programs write it */
            tiff = bytes_spliced(&a, tiff, 0, 0, SPAN("Exif\0\0"));
        CHECK_OK(webp_read(&a, webp_extended(&a, file, icc, tiff), IMAGE_ALPHA_DROP, &got, &notes, &err), err);
        CHECK_INT(notes.orientation, 6);
        CHECK(span_eq(notes.icc, icc));
        CHECK(span_eq(notes.exif, exif_of_orientation(&a, 6, 3, i / 2)));
        CHECK(notes.alpha == NULL);
        CHECK_OK(webp_read(&a, file, IMAGE_ALPHA_DROP, &got, &notes, &err), err);
        CHECK_INT(notes.orientation, 1);
        CHECK_INT(notes.icc.len, 0);
        CHECK_INT(notes.exif.len, 0);
    }
    arena_done(&a);
}

/* Every length, lossy and lossless: the rows before the cut are those of the whole file, but for the smoothing of edges
 * between blocks, which the last of them lack. */
TEST(webp__takes_a_shortened_file_for_its_rows)
{
    struct arena a;
    struct err err = { 0 };
    struct image src, want, got;
    struct image_notes notes;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    picture_of_noise(&a, 16, 100, 3, 5, &src);
    for (int i = 0; i < 2; i++) {
        struct span file = webp_build(&a, src.pixels, 16, 100, 3, i);
        int accepted = 0;

        CHECK_OK(webp_read(&a, file, IMAGE_ALPHA_DROP, &want, NULL, &err), err);
        for (size_t n = 0; n < file.len; n++) {
            ARENA_SCRATCH(&a);
            enum err_code rc = webp_read(&a, (struct span){ file.ptr, n }, IMAGE_ALPHA_DROP, &got, &notes, NULL);

            if (rc) {
                CHECK_INT(rc, n < 12 ? ERR_NOT_AN_IMAGE : ERR_CORRUPT);
                continue;
            }
            accepted++;
            CHECK(notes.rows_missing <= 16);
            CHECK(memcmp(got.pixels, want.pixels, (size_t)(100 - notes.rows_missing) * 48) == 0);
        }
        CHECK(accepted > 0);
    }
    arena_done(&a);
}

TEST(webp__survives_a_wrong_byte_anywhere)
{
    struct arena a;
    struct err err = { 0 };
    struct image src, got;
    struct image_notes notes;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    picture_of_noise(&a, 16, 20, 3, 5, &src);
    for (int k = 0; k < 3; k++) {
        struct span file = webp_build(&a, src.pixels, 16, 15, k == 2 ? 4 : 3, k == 0), changed;

        for (size_t i = 0; i < file.len; i++) {
            ARENA_SCRATCH(&a);
            const char wrong = (char)(file.ptr[i] ^ 0x5a);

            if (i >= 20 && i < 32) /* the size is left alone: a huge picture would be legal, and slow */
                continue;
            changed = bytes_spliced(&a, file, i, 1, (struct span){ &wrong, 1 });
            (void)!webp_read(&a, changed, IMAGE_ALPHA_ON_WHITE, &got, &notes, NULL);
        }
    }
    arena_done(&a);
}

TEST(webp__refuses_animations_and_judges_the_size_before_it_takes_memory)
{
    struct arena a;
    struct err err = { 0 };
    struct image src, got;
    struct span file, huge;

    CHECK_OK(arena_init(&a, 2 << 20, &err), err);
    picture_of_noise(&a, 16, 20, 3, 5, &src);
    file = webp_build(&a, src.pixels, 16, 20, 3, true);
    CHECK_INT(webp_read(&a, webp_animated(&a, file), IMAGE_ALPHA_DROP, &got, NULL, &err), ERR_UNSUPPORTED);
    CHECK(strstr(err.msg, "animated"));
    CHECK_INT(webp_read(&a, SPAN("RIFF\x24\0\0\0WAVEfmt "), IMAGE_ALPHA_DROP, &got, NULL, NULL), ERR_NOT_AN_IMAGE);
    huge = bytes_spliced(&a, file, 21, 4, SPAN("\xff\xff\xff\x0f")); /* 14 bits of width and of height, each less one */
    CHECK_INT(webp_read(&a, huge, IMAGE_ALPHA_DROP, &got, NULL, NULL), ERR_TOO_LARGE);
    arena_done(&a);
}
