#include "models/codec/png.h"

#include <string.h>

#include "models/notes/icc.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"
#include "test/support/png_build.h"

enum { GREY = 0, RGB = 2, PALETTE = 3, GREY_ALPHA = 4, RGBA = 6 };

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

/* One row of each kind. Expected values: ISO/IEC 15948, 11.2.2 (kinds) and 11.3.2.1 (tRNS); 16 bits as Pillow (the high
 * byte). */
TEST(png__makes_8_bits_of_every_kind)
{
    static const struct {
        int bits, colour_type, width, channels;
        struct span plte, trns, row;
        const char *want;
    } kinds[] = {
        { 1, GREY, 4, 1, { 0 }, { 0 }, SPAN("\0\xa0"), "\xff\0\xff\0" },
        { 2, GREY, 4, 1, { 0 }, { 0 }, SPAN("\0\x1b"), "\0\x55\xaa\xff" },
        { 4, GREY, 2, 1, { 0 }, { 0 }, SPAN("\0\x1f"), "\x11\xff" },
        { 16, GREY, 2, 1, { 0 }, { 0 }, SPAN("\0\x7f\xff\x80\0"), "\x7f\x80" },
        { 8, GREY, 2, 1, { 0 }, SPAN("\0\x07"), SPAN("\0\x07\x08"), "\0\x08" }, /* grey 7 is transparent */
        { 8, GREY_ALPHA, 2, 1, { 0 }, { 0 }, SPAN("\0\xc8\x80\xff\0"), "\x64\0" },
        { 16, GREY_ALPHA, 1, 1, { 0 }, { 0 }, SPAN("\0\xc8\xff\xff\xff"), "\xc8" },
        { 8, RGB, 1, 3, { 0 }, { 0 }, SPAN("\0abc"), "abc" },
        { 16, RGB, 1, 3, { 0 }, { 0 }, SPAN("\0a\xff" "b\xff" "c\xff"), "abc" },
        { 8, RGB, 2, 3, { 0 }, SPAN("\0a\0b\0c"), SPAN("\0abcabd"), "\0\0\0abd" },
        { 8, RGBA, 2, 3, { 0 }, { 0 }, SPAN("\0abc\xff" "abc\0"), "abc\0\0\0" },
        { 16, RGBA, 1, 3, { 0 }, { 0 }, SPAN("\0a0b0c0\xff\xff"), "abc" },
        { 1, PALETTE, 2, 3, SPAN("abcdef"), { 0 }, SPAN("\0\x40"), "abcdef" },
        { 8, PALETTE, 2, 3, SPAN("abcdef"), SPAN("\xff\0"), SPAN("\0\0\1"), "abc\0\0\0" },
        { 8, PALETTE, 2, 3, SPAN("abcdef"), { 0 }, SPAN("\0\1\x09"), "def\0\0\0" }, /* an index beyond the palette */
    };
    struct arena a;
    struct err err = { 0 };
    struct png_build b;
    struct image got;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        png_begin(&a, &b);
        png_ihdr(&b, (uint32_t)kinds[i].width, 1, kinds[i].bits, kinds[i].colour_type, 0);
        if (kinds[i].plte.len)
            png_chunk(&b, "PLTE", kinds[i].plte);
        if (kinds[i].trns.len)
            png_chunk(&b, "tRNS", kinds[i].trns);
        png_idat(&b, kinds[i].row);
        CHECK_OK(png_read(&a, png_end(&b), IMAGE_ALPHA_ON_BLACK, &got, NULL, &err), err);
        if (got.channels != kinds[i].channels || got.width != kinds[i].width ||
            memcmp(got.pixels, kinds[i].want, image_bytes(&got)) != 0)
            test_fail(__FILE__, __LINE__, "kind %zu: %d x %d, first %d", i, got.width, got.channels, got.pixels[0]);
    }
    arena_done(&a);
}

TEST(png__puts_white_black_or_nothing_behind_transparent_pixels)
{
    static const struct { enum image_alpha alpha; const char *want; } cases[] = {
        { IMAGE_ALPHA_DROP, "\x64\x64\x64\x64\x64\x64" },
        { IMAGE_ALPHA_ON_BLACK, "\0\0\0\x28\x28\x28" },
        { IMAGE_ALPHA_ON_WHITE, "\xff\xff\xff\xc1\xc1\xc1" },
    };
    struct arena a;
    struct err err = { 0 };
    struct png_build b;
    struct image got;
    struct span file;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    png_begin(&a, &b);
    png_ihdr(&b, 2, 1, 8, RGBA, 0);
    png_idat(&b, SPAN("\0ddd\0ddd\x66")); /* 100 at an alpha of 0 and of 40 % */
    file = png_end(&b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_OK(png_read(&a, file, cases[i].alpha, &got, NULL, &err), err);
        CHECK(memcmp(got.pixels, cases[i].want, 6) == 0);
    }
    arena_done(&a);
}

/* Every length: the rows before the cut are those of the whole file, and with too few of them the file is refused. */
TEST(png__takes_a_shortened_file_for_its_rows)
{
    static const char *const names[] = { "mask_interlaced", "mask_rgb", "mask_palette" };
    struct arena a;
    struct err err = { 0 };
    struct image want, got;
    struct image_notes notes;

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct span file = file_bytes(&a, golden("pictures/%s.png", names[i]));
        int accepted = 0, most;

        CHECK_OK(png_read(&a, file, IMAGE_ALPHA_DROP, &want, NULL, &err), err);
        most = image_max_rows_missing(want.height);
        for (size_t n = 0; n < file.len; n++) {
            ARENA_SCRATCH(&a);
            struct span cut = { file.ptr, n };
            enum err_code rc = png_read(&a, cut, IMAGE_ALPHA_DROP, &got, &notes, NULL);

            if (rc) {
                CHECK_INT(rc, n < 8 ? ERR_NOT_AN_IMAGE : ERR_CORRUPT);
                CHECK(n < file.len - 12); /* without its IEND it has all rows */
                continue;
            }
            accepted++;
            CHECK(notes.rows_missing <= most);
            CHECK(memcmp(got.pixels, want.pixels,
                         image_bytes(&want) / (size_t)want.height * (size_t)(want.height - notes.rows_missing)) == 0);
            CHECK_INT(png_read(&a, cut, IMAGE_ALPHA_DROP, &got, NULL, NULL), notes.rows_missing ? ERR_CORRUPT : ERR_OK);
        }
        CHECK(accepted >= 12);
    }
    arena_done(&a);
}

/* Checksums cover every byte that the pixels depend on. What is behind them does not matter. */
TEST(png__refuses_a_wrong_byte_anywhere_before_the_end_of_the_pixels)
{
    struct arena a;
    struct err err = { 0 };
    struct image src, got;
    struct image_notes notes;
    struct span file;
    char *bytes = NULL;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    picture_of_noise(&a, 9, 7, 3, 3, &src);
    CHECK_OK(png_write(&a, &src, &file, &err), err);
    CHECK_OK(span_dup(&a, file, &bytes, &err), err);
    for (size_t i = 0; i < file.len; i++) {
        ARENA_SCRATCH(&a);

        bytes[i] = (char)(file.ptr[i] ^ 0x21);
        if (i < file.len - 12)
            CHECK(png_read(&a, (struct span){ bytes, file.len }, IMAGE_ALPHA_DROP, &got, &notes, NULL) != ERR_OK);
        else {
            CHECK_OK(png_read(&a, (struct span){ bytes, file.len }, IMAGE_ALPHA_DROP, &got, &notes, &err), err);
            CHECK_INT(notes.rows_missing, 0);
            CHECK_SAME_PICTURE(&got, &src);
        }
        bytes[i] = file.ptr[i];
    }
    arena_done(&a);
}

/* Files of a few bytes that announce more pixels than are accepted, or an acceptable number that they do not contain. */
TEST(png__judges_the_size_before_it_takes_memory)
{
    static const struct { uint32_t width, height; enum err_code want; } bombs[] = {
        { 60000, 60000, ERR_TOO_LARGE },   { 0x7fffffff, 0x7fffffff, ERR_TOO_LARGE },
        { 16385, 1, ERR_TOO_LARGE },       { 1, 16385, ERR_TOO_LARGE },
        { 16384, 16384, ERR_TOO_LARGE },   { 0xffffffff, 1, ERR_CORRUPT },
        { 0, 10, ERR_CORRUPT },            { 1000, 1000, ERR_NOMEM },
        { 500, 500, ERR_CORRUPT },
    };
    struct arena a;
    struct err err = { 0 };
    struct png_build b;
    struct image got;

    CHECK_OK(arena_init(&a, 2 << 20, &err), err);
    for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
        struct arena_mark mark = arena_mark(&a);
        enum err_code rc;

        png_begin(&a, &b);
        png_ihdr(&b, bombs[i].width, bombs[i].height, 8, RGB, 0);
        png_idat(&b, SPAN("\0abc"));
        rc = png_read(&a, png_end(&b), IMAGE_ALPHA_DROP, &got, NULL, NULL);
        if (rc != bombs[i].want)
            test_fail(__FILE__, __LINE__, "bomb %zu: %s, want %s", i, err_name(rc), err_name(bombs[i].want));
        arena_rewind(&a, mark);
    }
    arena_done(&a);
}

/* A profile of `len` bytes with a header after ICC.1:2022 7.2 and no tags: libpng drops profiles whose header is
 * wrong. */
static struct span rgb_profile(struct arena *a, size_t len)
{
    struct err err = { 0 };
    char *p = NULL;

    CHECK_OK(arena_alloc(a, len, 1, &p, &err), err);
    p[0] = (char)(len >> 24), p[1] = (char)(len >> 16), p[2] = (char)(len >> 8), p[3] = (char)len;
    memcpy(p + 8, "\x04\x30", 2);
    memcpy(p + 12, "mntrRGB XYZ ", 12);
    memcpy(p + 36, "acsp", 4);
    memcpy(p + 68, "\0\0\xf6\xd6\0\1\0\0\0\0\xd3\x2d", 12); /* the D50 illuminant */
    for (size_t i = 132; i < len; i++)
        p[i] = (char)(i * i * 31 >> 3);
    return (struct span){ p, len };
}

TEST(png__reads_orientation_and_profile_before_or_after_the_pixels)
{
    const struct span exif = SPAN("MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0");
    struct arena a;
    struct err err = { 0 };
    struct png_build b;
    struct image got;
    struct image_notes notes;
    struct span icc;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    icc = rgb_profile(&a, 400);
    CHECK(icc_is_rgb(icc));
    for (int behind = 0; behind < 2; behind++) {
        png_begin(&a, &b);
        png_ihdr(&b, 1, 1, 8, RGB, 0);
        png_iccp(&b, icc);
        if (!behind)
            png_chunk(&b, "eXIf", exif);
        png_idat(&b, SPAN("\0abc"));
        if (behind)
            png_chunk(&b, "eXIf", exif);
        CHECK_OK(png_read(&a, png_end(&b), IMAGE_ALPHA_DROP, &got, &notes, &err), err);
        CHECK_INT(notes.orientation, 6);
        CHECK(span_eq(notes.icc, icc));
    }
    arena_done(&a);
}

/* With a profile of a length that is no multiple of 4, or that its header denies, the picture is written without it. */
TEST(png__writes_the_profile_that_it_is_given_or_none)
{
    struct arena a;
    struct err err = { 0 };
    struct image src, got;
    struct image_notes notes;
    struct span file;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    picture_of_noise(&a, 40, 30, 3, 7, &src);
    for (int cut = 0; cut < 6; cut++) {
        struct span icc = rgb_profile(&a, 400);

        icc.len -= (size_t)cut;
        CHECK_OK(png_write_with_profile(&a, &src, icc, &file, &err), err);
        CHECK_OK(png_read(&a, file, IMAGE_ALPHA_DROP, &got, &notes, &err), err);
        CHECK_SAME_PICTURE(&got, &src);
        CHECK_INT(notes.icc.len, cut ? 0 : 400);
    }
    CHECK_OK(png_write_with_profile(&a, &src, SPAN("not a profile"), &file, &err), err);
    CHECK_OK(png_read(&a, file, IMAGE_ALPHA_DROP, &got, &notes, &err), err);
    CHECK_INT(notes.icc.len, 0);
    arena_done(&a);
}

/* Skipped; the picture is read. */
TEST(png__skips_oversized_profiles_and_texts)
{
    struct arena a;
    struct err err = { 0 };
    struct png_build b;
    struct image got;
    struct image_notes notes;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    png_begin(&a, &b);
    png_ihdr(&b, 1, 1, 8, RGB, 0);
    png_iccp(&b, rgb_profile(&a, ICC_MAX_BYTES + 100000));
    png_chunk(&b, "zTXt", SPAN("key\0\0not deflated at all"));
    png_chunk(&b, "tEXt", SPAN("GPS\0somewhere"));
    png_idat(&b, SPAN("\0abc"));
    CHECK_OK(png_read(&a, png_end(&b), IMAGE_ALPHA_DROP, &got, &notes, &err), err);
    CHECK_INT(notes.icc.len, 0);
    CHECK_INT(notes.orientation, 1);
    CHECK(memcmp(got.pixels, "abc", 3) == 0);
    arena_done(&a);
}
