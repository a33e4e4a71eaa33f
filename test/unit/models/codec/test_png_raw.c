#include <string.h>

#include "models/codec/png.h"
#include "test/support/check.h"
#include "test/support/pictures.h"
#include "test/support/png_build.h"

enum { GREY = 0, RGB = 2, PALETTE = 3, GREY_ALPHA = 4, RGBA = 6 };

/* What a mask is decoded to. Expected values: ISO/IEC 15948, 11.2.2 (kinds) and 11.3.2.1 (tRNS); NULL: no such plane. */
TEST(png_raw__keeps_alpha_places_and_small_values)
{
    static const struct {
        const char *name;
        int bits, colour_type, width, interlaced;
        struct span plte, trns, row;
        const char *colours, *alpha, *index;
    } kinds[] = {
        { "16 bits, labels", 16, GREY, 3, 0, { 0 }, { 0 }, SPAN("\0\0\0\0\1\0\xff"), "\0\1\xff", NULL, NULL },
        { "16 bits, whole range", 16, GREY, 3, 0, { 0 }, { 0 }, SPAN("\0\0\0\0\1\xff\xff"), "\0\1\xff", NULL, NULL },
        { "16 bits, a label over 255", 16, GREY, 3, 0, { 0 }, { 0 }, SPAN("\0\0\0\0\3\1\x2c"), "\0\1\1", NULL, NULL },
        { "16 bits, large values", 16, GREY, 2, 0, { 0 }, { 0 }, SPAN("\0\x7f\xff\x80\0"), "\x7f\x80", NULL, NULL },
        { "16 bits, interlaced", 16, GREY, 2, 1, { 0 }, { 0 }, SPAN("\0\0\3\0\1\5"), "\1\1", NULL, NULL },
        { "16 bits, grey and alpha", 16, GREY_ALPHA, 2, 0, { 0 }, { 0 }, SPAN("\0\0\2\xff\xff\0\3\x80\0"), "\2\3", "\xff\x80", NULL },
        { "16 bits, colours and alpha", 16, RGBA, 1, 0, { 0 }, { 0 }, SPAN("\0a\0b\0\0\1\x40\0"), "ab\1", "\x40", NULL },
        { "16 bits, small colours", 16, RGB, 1, 0, { 0 }, { 0 }, SPAN("\0\0\1\0\2\0\3"), "\1\2\3", NULL, NULL },
        { "colours and alpha", 8, RGBA, 2, 0, { 0 }, { 0 }, SPAN("\0abc\xff" "def\0"), "abcdef", "\xff\0", NULL },
        { "a transparent grey", 8, GREY, 2, 0, { 0 }, SPAN("\0\x07"), SPAN("\0\x07\x08"), "\7\x08", "\0\xff", NULL },
        { "a transparent colour", 8, RGB, 2, 0, { 0 }, SPAN("\0a\0b\0c"), SPAN("\0abcabd"), "abcabd", "\0\xff", NULL },
        { "one bit", 1, GREY, 4, 0, { 0 }, { 0 }, SPAN("\0\xa0"), "\xff\0\xff\0", NULL, NULL },
        { "a palette of bits", 1, PALETTE, 2, 0, SPAN("abcdef"), { 0 }, SPAN("\0\x40"), "abcdef", NULL, "\0\1" },
        { "a palette of one colour", 8, PALETTE, 3, 0, SPAN("abcabcabc"), { 0 }, SPAN("\0\0\2\1"), "abcabcabc", NULL, "\0\2\1" },
        { "a palette with alpha", 8, PALETTE, 3, 0, SPAN("abcdefghi"), SPAN("\0\x80"), SPAN("\0\0\1\2"), "abcdefghi", "\0\x80\xff", "\0\1\2" },
        { "a place beyond the palette", 8, PALETTE, 2, 0, SPAN("abcdef"), { 0 }, SPAN("\0\1\x09"), "def\0\0\0", NULL, "\1\x09" },
    };
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t n = (size_t)kinds[i].width;
        struct image_notes notes;
        struct png_build b;
        struct image got;

        png_begin(&a, &b);
        png_ihdr(&b, (uint32_t)n, 1, kinds[i].bits, kinds[i].colour_type, kinds[i].interlaced);
        if (kinds[i].plte.len)
            png_chunk(&b, "PLTE", kinds[i].plte);
        if (kinds[i].trns.len)
            png_chunk(&b, "tRNS", kinds[i].trns);
        png_idat(&b, kinds[i].row);
        CHECK_OK(png_read(&a, png_end(&b), IMAGE_ALPHA_RAW, &got, &notes, &err), err);
        if (got.width != kinds[i].width || memcmp(got.pixels, kinds[i].colours, image_bytes(&got)) != 0 ||
            !notes.alpha != !kinds[i].alpha || (notes.alpha && memcmp(notes.alpha, kinds[i].alpha, n) != 0) ||
            !notes.index != !kinds[i].index || (notes.index && memcmp(notes.index, kinds[i].index, n) != 0))
            test_fail(__FILE__, __LINE__, "%s: first value %d", kinds[i].name, got.pixels[0]);
    }
    arena_done(&a);
}
