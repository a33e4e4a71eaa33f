/* Expected codes were printed by Pillow's ImageCms (Little CMS 2.19, without its shortcuts) for the profiles of
 * test/support/profiles.c, with relative colorimetric intent and black point compensation. */
#include "models/notes/colour.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "models/codec/decode.h"
#include "models/notes/icc.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"
#include "test/support/profiles.h"

enum { ARENA = 64 << 20, GRID = 33, DARK = 12, PIXELS_MOST = GRID * GRID * GRID + DARK * DARK * DARK + 256 };

/* A grid over all colours, another over the darkest, and all greys. */
static size_t put_colours(uint8_t *codes)
{
    size_t n = 0;

    for (int i = 0; i < PIXELS_MOST; i++, n++) {
        int k = i, side = GRID, scale = 255;

        if (i >= GRID * GRID * GRID) {
            k -= GRID * GRID * GRID;
            side = DARK;
            scale = DARK - 1;
        }
        for (int c = 0; c < 3; c++, k /= side)
            codes[3 * n + (size_t)c] = (uint8_t)(k % side * scale / (side - 1));
        if (i >= PIXELS_MOST - 256)
            memset(codes + 3 * n, i - (PIXELS_MOST - 256), 3);
    }
    return n;
}

struct colours {
    uint8_t *codes;
    float *srgb, *back;
    size_t n;
};

static void colours_new(struct arena *a, struct colours *ret)
{
    struct err err = { 0 };

    CHECK_OK(arena_alloc(a, PIXELS_MOST, 3, &ret->codes, &err), err);
    CHECK_OK(arena_alloc(a, PIXELS_MOST, 3 * sizeof(float), &ret->srgb, &err), err);
    CHECK_OK(arena_alloc(a, PIXELS_MOST, 3 * sizeof(float), &ret->back, &err), err);
    ret->n = put_colours(ret->codes);
}

static void there_and_back(const struct colour *c, struct colours *x)
{
    colour_to_srgb(c, x->codes, x->n, x->srgb);
    colour_from_srgb(c, x->srgb, x->n, x->back);
}

static void open_space(struct arena *a, struct span icc, struct colour *ret)
{
    struct err err = { 0 };

    CHECK_OK(colour_open(a, icc, ret, &err), err);
    CHECK(strlen(ret->name) > 0 && strlen(ret->name) < COLOUR_NAME_MAX);
}

TEST(colour__there_and_back_gives_the_same_codes)
{
    const struct profile_rgb *const spaces[] = { &profile_p3, &profile_adobe, &profile_prophoto };
    struct arena a;
    struct err err = { 0 };
    struct colours x;
    struct colour c;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    colours_new(&a, &x);
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        open_space(&a, profile_of_rgb(&a, spaces[i]), &c);
        CHECK(!c.is_srgb && !c.unusable);
        CHECK_STR(c.name, spaces[i]->name);
        there_and_back(&c, &x);
        for (size_t k = 0; k < 3 * x.n; k++)
            CHECK_INT(lroundf(x.back[k]), x.codes[k]);
    }
    arena_done(&a);
}

/* In 16 bits, a table of a plain power may give codes 0 and 1 the same light. */
TEST(colour__there_and_back_through_the_table_of_a_curve_moves_black_at_the_most)
{
    struct arena a;
    struct err err = { 0 };
    struct colours x;
    struct colour c;
    struct profile_rgb p = profile_adobe;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    colours_new(&a, &x);
    for (p.points = 256; p.points <= 4096; p.points *= 4) {
        open_space(&a, profile_of_rgb(&a, &p), &c);
        CHECK(!c.is_srgb);
        there_and_back(&c, &x);
        for (size_t k = 0; k < 3 * x.n; k++)
            CHECK(lroundf(x.back[k]) == x.codes[k] || (x.codes[k] == 1 && lroundf(x.back[k]) == 0));
    }
    arena_done(&a);
}

static void check_codes(const struct colour *c, const uint8_t (*codes)[3], const uint8_t (*want)[3], size_t n)
{
    uint8_t got[3];

    for (size_t i = 0; i < n; i++) {
        colour_to_srgb_u8(c, codes[i], 1, got);
        for (int k = 0; k < 3; k++)
            if (abs(got[k] - want[i][k]) > 1)
                test_fail(__FILE__, __LINE__, "%s: %d %d %d became %d %d %d, want %d %d %d", c->name, codes[i][0],
                          codes[i][1], codes[i][2], got[0], got[1], got[2], want[i][0], want[i][1], want[i][2]);
    }
}

TEST(colour__the_model_sees_what_pillow_makes_of_a_profile)
{
    static const uint8_t codes[10][3] = { { 255, 0, 0 },     { 0, 255, 0 },     { 0, 0, 255 },   { 200, 120, 40 },
                                          { 90, 140, 60 },   { 20, 30, 40 },    { 128, 128, 128 }, { 250, 240, 220 },
                                          { 10, 200, 180 },  { 64, 0, 128 } };
    static const uint8_t p3[10][3] = { { 255, 0, 0 },   { 0, 255, 0 },     { 0, 0, 255 },     { 213, 115, 0 },
                                       { 73, 142, 46 }, { 17, 30, 41 },    { 128, 128, 128 }, { 252, 240, 218 },
                                       { 0, 204, 180 }, { 71, 0, 133 } };
    static const uint8_t adobe[10][3] = { { 255, 0, 0 },   { 0, 255, 0 },     { 0, 0, 255 },     { 224, 121, 25 },
                                          { 53, 141, 50 }, { 5, 24, 36 },     { 129, 129, 129 }, { 254, 240, 220 },
                                          { 0, 201, 181 }, { 73, 0, 132 } };
    static const uint8_t prophoto[10][3] = { { 255, 0, 0 },   { 0, 255, 0 },     { 0, 0, 255 },     { 255, 114, 0 },
                                             { 58, 166, 50 }, { 0, 43, 55 },     { 146, 146, 146 }, { 255, 241, 224 },
                                             { 0, 230, 191 }, { 80, 0, 157 } };
    struct arena a;
    struct err err = { 0 };
    struct colour c;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    open_space(&a, profile_of_rgb(&a, &profile_p3), &c);
    check_codes(&c, codes, p3, 10);
    open_space(&a, profile_of_rgb(&a, &profile_adobe), &c);
    check_codes(&c, codes, adobe, 10);
    open_space(&a, profile_of_rgb(&a, &profile_prophoto), &c);
    check_codes(&c, codes, prophoto, 10);
    open_space(&a, profile_of_rgb_tables(&a), &c);
    CHECK(c.is_srgb || !c.unusable);
    check_codes(&c, codes, codes, 10);
    arena_done(&a);
}

/* Numbers of CSS Color 4 for full red and green of Display P3. */
TEST(colour__beyond_srgb_nothing_is_clipped)
{
    static const uint8_t codes[2][3] = { { 255, 0, 0 }, { 0, 255, 0 } };
    static const double want[6] = { 1.0930, -0.2267, -0.1501, -0.5116, 1.0183, -0.3107 };
    struct arena a;
    struct err err = { 0 };
    struct colour c;
    float got[6];

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    open_space(&a, profile_of_rgb(&a, &profile_p3), &c);
    colour_to_srgb(&c, codes[0], 2, got);
    for (int i = 0; i < 6; i++)
        CHECK(fabs(got[i] / 255 - want[i]) < 0.002);
    arena_done(&a);
}

TEST(colour__a_profile_of_srgb_touches_nothing_however_it_is_written)
{
    struct profile_rgb formula = profile_srgb, table = profile_srgb, plain = profile_srgb;
    struct arena a;
    struct err err = { 0 };
    struct colours x;
    struct colour c;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    colours_new(&a, &x);
    formula.name = "c2";
    table.points = 1024;
    plain.gamma = 2.2;
    open_space(&a, profile_of_rgb(&a, &formula), &c);
    CHECK(c.is_srgb && !c.unusable);
    CHECK_STR(c.name, "sRGB");
    there_and_back(&c, &x);
    for (size_t k = 0; k < 3 * x.n; k++)
        CHECK(x.srgb[k] == x.codes[k] && x.back[k] == x.codes[k]);
    open_space(&a, profile_of_rgb(&a, &table), &c);
    CHECK(c.is_srgb);
    open_space(&a, (struct span){ NULL, 0 }, &c);
    CHECK(c.is_srgb && !c.unusable);
    CHECK_STR(c.name, "untagged");
    open_space(&a, profile_of_rgb(&a, &plain), &c); /* dark colours differ by up to six levels */
    CHECK(!c.is_srgb);
    arena_done(&a);
}

TEST(colour__a_picture_of_srgb_is_shared_and_another_is_converted)
{
    static const uint8_t codes[4][3] = { { 200, 120, 40 }, { 200, 120, 40 }, { 200, 120, 40 }, { 200, 120, 40 } };
    static const uint8_t want[3] = { 213, 115, 0 };
    struct arena a;
    struct err err = { 0 };
    struct colour c;
    struct image got, im = { 2, 2, 3, (uint8_t *)codes };

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    open_space(&a, (struct span){ NULL, 0 }, &c);
    CHECK_OK(colour_image_to_srgb(&c, &a, &im, &got, &err), err);
    CHECK(got.pixels == im.pixels);
    open_space(&a, profile_of_rgb(&a, &profile_p3), &c);
    CHECK_OK(colour_image_to_srgb(&c, &a, &im, &got, &err), err);
    for (int i = 0; i < 12; i++)
        CHECK(abs(got.pixels[i] - want[i % 3]) <= 1);
    arena_done(&a);
}

/* What lcms2 does with tables: close, and never outside of what the device can show. */
TEST(colour__tables_come_back_close_and_within_the_codes)
{
    struct arena a;
    struct err err = { 0 };
    struct colours x;
    struct colour c;
    double sum = 0;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    colours_new(&a, &x);
    open_space(&a, profile_of_rgb_tables(&a), &c);
    CHECK(!c.unusable);
    there_and_back(&c, &x);
    for (size_t k = 0; k < 3 * x.n; k++) {
        CHECK(x.back[k] >= 0 && x.back[k] <= 255);
        sum += fabs((double)x.back[k] - x.codes[k]);
    }
    CHECK(sum / (double)(3 * x.n) < 1.5);
    for (size_t k = 0; k < 3 * x.n; k++)
        x.srgb[k] = x.srgb[k] * 3 - 200;
    colour_from_srgb(&c, x.srgb, x.n, x.back);
    for (size_t k = 0; k < 3 * x.n; k++)
        CHECK(x.back[k] >= 0 && x.back[k] <= 255);
    arena_done(&a);
}

TEST(colour__how_many_pixels_come_at_once_changes_nothing)
{
    struct arena a;
    struct err err = { 0 };
    struct colours x;
    struct colour c;
    float *one, got[3], back[3];
    uint8_t bytes[3 * 4097], byte[3];

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    colours_new(&a, &x);
    CHECK_OK(arena_alloc(&a, 3 * 4097, sizeof *one, &one, &err), err);
    for (int kind = 0; kind < 2; kind++) {
        open_space(&a, kind ? profile_of_rgb_tables(&a) : profile_of_rgb(&a, &profile_p3), &c);
        there_and_back(&c, &x);
        colour_to_srgb_u8(&c, x.codes, 4097, bytes);
        for (size_t i = 0; i < 4097; i += 31) {
            colour_to_srgb(&c, x.codes + 3 * i, 1, got);
            colour_from_srgb(&c, got, 1, back);
            colour_to_srgb_u8(&c, x.codes + 3 * i, 1, byte);
            CHECK(!memcmp(got, x.srgb + 3 * i, sizeof got) && !memcmp(back, x.back + 3 * i, sizeof back));
            CHECK(!memcmp(byte, bytes + 3 * i, 3));
        }
    }
    arena_done(&a);
}

TEST(colour__several_threads_may_use_one_space)
{
    struct arena a;
    struct err err = { 0 };
    struct colours x;
    struct colour c;
    int wrong = 0;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    colours_new(&a, &x);
    open_space(&a, profile_of_rgb_tables(&a), &c);
    colour_to_srgb(&c, x.codes, x.n, x.srgb);
#pragma omp parallel for num_threads(4) reduction(+ : wrong)
    for (size_t i = 0; i < 200; i++) {
        float got[3 * 100];

        colour_to_srgb(&c, x.codes + 300 * (i % 50), 100, got);
        wrong += memcmp(got, x.srgb + 300 * (i % 50), sizeof got) != 0;
    }
    CHECK_INT(wrong, 0);
    arena_done(&a);
}

TEST(colour__a_name_is_one_line_of_ascii)
{
    static const char long_name[] = "A name\nwith \"quotes\", \x1b[31mcolours and more letters than anybody would read in a row, "
                                    "which come to well over a hundred";
    struct profile_rgb p = profile_p3;
    struct arena a;
    struct err err = { 0 };
    struct colour c;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    p.name = long_name;
    open_space(&a, profile_of_rgb(&a, &p), &c);
    CHECK(!c.is_srgb);
    for (const char *s = c.name; *s; s++)
        CHECK(*s >= ' ' && *s <= '~');
    p.name = "";
    open_space(&a, profile_of_rgb(&a, &p), &c);
    CHECK_STR(c.name, "unnamed");
    arena_done(&a);
}

static void check_grey(struct arena *a, struct span icc, const uint8_t want[16])
{
    struct err err = { 0 };
    uint8_t grey[16];
    struct image im = { 16, 1, 1, grey };

    for (int i = 0; i < 16; i++)
        grey[i] = (uint8_t)(17 * i);
    CHECK_OK(colour_grey_to_srgb(a, icc, &im, &err), err);
    for (int i = 0; i < 16; i++)
        if (abs(grey[i] - want[i]) > 1)
            test_fail(__FILE__, __LINE__, "grey %d became %d, want %d", 17 * i, grey[i], want[i]);
}

TEST(colour__grey_becomes_the_grey_of_srgb_by_its_profile)
{
    static const uint8_t g22[16] = { 0, 9, 28, 48, 66, 84, 102, 120, 137, 154, 172, 188, 205, 222, 239, 255 };
    static const uint8_t g18[16] = { 0, 21, 45, 66, 86, 104, 121, 138, 154, 169, 184, 199, 214, 228, 241, 255 };
    static const uint8_t table[16] = { 0, 23, 48, 69, 89, 107, 124, 140, 156, 171, 186, 201, 215, 228, 242, 255 };
    uint8_t same[16];
    struct arena a;
    struct err err = { 0 };
    struct colour c;
    struct span icc;

    for (int i = 0; i < 16; i++)
        same[i] = (uint8_t)(17 * i);
    CHECK_OK(arena_init(&a, ARENA, &err), err);
    check_grey(&a, profile_of_grey(&a, 2.2, 0), g22);
    check_grey(&a, profile_of_grey(&a, 1.8, 0), g18);
    check_grey(&a, profile_of_grey(&a, 1.75, 256), table);
    check_grey(&a, profile_of_rgb(&a, &profile_adobe), same); /* not for grey */
    check_grey(&a, (struct span){ NULL, 0 }, same);
    icc = profile_of_grey(&a, 1.8, 0);
    open_space(&a, icc, &c);
    CHECK(c.is_srgb && !c.unusable);
    CHECK_STR(c.name, "Grey of a test");
    memset((char *)(uintptr_t)icc.ptr + 132, 0, 36); /* the directory of tags */
    check_grey(&a, icc, same);
    open_space(&a, icc, &c);
    CHECK(c.is_srgb && c.unusable);
    arena_done(&a);
}

static void check_inks(const struct colour_inks *inks)
{
    static const uint8_t cmyk[12][4] = { { 0, 0, 0, 0 },        { 255, 0, 0, 0 },      { 0, 255, 0, 0 },   { 0, 0, 255, 0 },
                                         { 0, 0, 0, 255 },      { 255, 255, 255, 255 }, { 100, 40, 20, 10 }, { 30, 90, 160, 60 },
                                         { 0, 128, 128, 0 },    { 200, 180, 30, 120 },  { 255, 255, 0, 0 },  { 12, 8, 8, 0 } };
    static const uint8_t want[12][3] = { { 255, 255, 255 }, { 39, 160, 225 }, { 206, 48, 129 },  { 246, 231, 56 },
                                         { 48, 48, 48 },    { 1, 1, 1 },      { 213, 219, 231 }, { 215, 194, 152 },
                                         { 233, 196, 172 }, { 102, 98, 135 }, { 29, 26, 113 },   { 251, 251, 251 } };
    uint8_t inverted[4], rgb[3];

    for (int i = 0; i < 12; i++) {
        for (int k = 0; k < 4; k++)
            inverted[k] = (uint8_t)(255 - cmyk[i][k]);
        colour_inks_to_srgb(inks, inverted, 1, rgb);
        for (int k = 0; k < 3; k++)
            if (abs(rgb[k] - want[i][k]) > 2)
                test_fail(__FILE__, __LINE__, "inks %d: channel %d is %d, want %d", i, k, rgb[k], want[i][k]);
    }
}

TEST(colour__inks_look_as_pillow_shows_them)
{
    struct arena a;
    struct err err = { 0 };
    struct colour_inks *inks = NULL;
    struct colour c;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    CHECK_OK(colour_inks_open(&a, profile_of_cmyk(&a), &inks, &err), err);
    CHECK(inks != NULL);
    check_inks(inks);
    open_space(&a, profile_of_cmyk(&a), &c);
    CHECK(c.is_srgb && !c.unusable);
    CHECK_STR(c.name, "Four inks of a test");
    CHECK_OK(colour_inks_open(&a, profile_of_rgb(&a, &profile_p3), &inks, &err), err);
    CHECK(inks == NULL);
    arena_done(&a);
}

/* A pixel of a picture. */
struct point {
    int x, y, rgb[3];
};

static void check_points(const struct image *im, const struct point *want, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 3; k++)
            if (abs(im->pixels[3 * (want[i].y * im->width + want[i].x) + k] - want[i].rgb[k]) > 2)
                test_fail(__FILE__, __LINE__, "(%d, %d): channel %d is %d, want %d", want[i].x, want[i].y, k,
                          im->pixels[3 * (want[i].y * im->width + want[i].x) + k], want[i].rgb[k]);
}

/* The points were read from what Pillow makes of the same files. */
TEST(colour__a_file_of_four_inks_goes_through_its_own_profile)
{
    static const struct point cmyk[] = { { 0, 0, { 255, 255, 255 } },   { 47, 0, { 90, 164, 175 } },
                                         { 0, 32, { 214, 111, 135 } },  { 47, 32, { 12, 12, 9 } },
                                         { 24, 16, { 178, 167, 160 } }, { 16, 8, { 217, 214, 211 } },
                                         { 5, 20, { 223, 186, 186 } },  { 30, 9, { 171, 182, 177 } } };
    static const struct point ycck[] = { { 0, 0, { 255, 255, 255 } },   { 47, 0, { 90, 165, 176 } },
                                         { 0, 32, { 214, 112, 136 } },  { 47, 32, { 12, 11, 9 } },
                                         { 24, 16, { 178, 167, 161 } }, { 16, 8, { 217, 214, 211 } },
                                         { 5, 20, { 223, 185, 185 } },  { 30, 9, { 171, 182, 177 } } };
    static const struct decode_options photo = { .alpha = IMAGE_ALPHA_ON_WHITE };
    struct arena a;
    struct err err = { 0 };
    struct image got;
    struct image_notes notes;
    struct span file;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    file = jpeg_with_profile(&a, file_bytes(&a, golden("pictures/decode_cmyk.jpg")), profile_of_cmyk(&a));
    CHECK_OK(image_decode(&a, file, &photo, &got, &notes, &err), err);
    CHECK_INT(got.channels, 3);
    CHECK(icc_is_cmyk(notes.icc));
    check_points(&got, cmyk, 8);
    file = jpeg_with_profile(&a, file_bytes(&a, golden("pictures/decode_ycck.jpg")), profile_of_cmyk(&a));
    CHECK_OK(image_decode(&a, file, &photo, &got, &notes, &err), err);
    check_points(&got, ycck, 8);
    arena_done(&a);
}

/* A profile that cannot be applied, or is for other pixels, leaves the plain conversion. */
TEST(colour__a_file_of_four_inks_without_a_usable_profile_is_converted_plainly)
{
    static const struct decode_options photo = { .alpha = IMAGE_ALPHA_ON_WHITE };
    struct arena a;
    struct err err = { 0 };
    struct image got, want;
    struct span file, broken;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    file = file_bytes(&a, golden("pictures/decode_cmyk.jpg"));
    CHECK_OK(image_decode(&a, file, &photo, &want, NULL, &err), err);
    CHECK_OK(image_decode(&a, jpeg_with_profile(&a, file, profile_of_rgb(&a, &profile_p3)), &photo, &got, NULL, &err), err);
    CHECK_SAME_PICTURE(&got, &want);
    broken = profile_of_cmyk(&a);
    memset((char *)(uintptr_t)broken.ptr + 132, 0, 48);
    CHECK_OK(image_decode(&a, jpeg_with_profile(&a, file, broken), &photo, &got, NULL, &err), err);
    CHECK_SAME_PICTURE(&got, &want);
    arena_done(&a);
}

/* Whatever the bytes: an answer, and finite numbers. */
static void check_survived(struct arena *a, struct span icc)
{
    static const uint8_t codes[12] = { 0, 0, 0, 255, 255, 255, 200, 20, 90, 3, 200, 100 };
    struct arena_mark mark = arena_mark(a);
    struct err err = { 0 };
    struct colour_inks *inks = NULL;
    struct colour c;
    float srgb[12], back[12];
    uint8_t pixels[12] = { 0 };
    struct image grey = { 4, 1, 1, pixels };

    open_space(a, icc, &c);
    CHECK(!c.unusable || c.is_srgb);
    colour_to_srgb(&c, codes, 4, srgb);
    colour_from_srgb(&c, srgb, 4, back);
    for (int i = 0; i < 12; i++)
        CHECK(isfinite(srgb[i]) && back[i] >= 0 && back[i] <= 255);
    CHECK_OK(colour_grey_to_srgb(a, icc, &grey, &err), err);
    CHECK_OK(colour_inks_open(a, icc, &inks, &err), err);
    if (inks)
        colour_inks_to_srgb(inks, codes, 3, pixels);
    arena_rewind(a, mark);
}

TEST(colour__survives_every_shortened_profile)
{
    struct arena a;
    struct err err = { 0 };
    struct span icc[3];

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    icc[0] = profile_of_rgb(&a, &profile_adobe);
    icc[1] = profile_of_grey(&a, 1.8, 0);
    icc[2] = profile_of_cmyk(&a);
    for (int i = 0; i < 3; i++)
        for (size_t len = 0; len < icc[i].len; len += i == 2 ? 1009 : 3) {
            char *copy = exact_copy(icc[i].ptr, len);

            if (len >= 4)
                memcpy(copy, (const char[4]){ 0, 0, (char)(len >> 8), (char)len }, 4); /* the size it says */
            check_survived(&a, (struct span){ copy, len });
            free(copy);
        }
    arena_done(&a);
}

TEST(colour__survives_a_wrong_byte_anywhere)
{
    static const char wrong[3] = { 0, (char)0xff, (char)0x80 };
    struct arena a;
    struct err err = { 0 };
    struct span icc;
    int unusable = 0;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    icc = profile_of_rgb(&a, &profile_p3);
    for (size_t i = 0; i < icc.len; i++) {
        char *copy = exact_copy(icc.ptr, icc.len);
        struct arena_mark mark = arena_mark(&a);
        struct colour c;

        copy[i] = wrong[i % 3];
        check_survived(&a, (struct span){ copy, icc.len });
        open_space(&a, (struct span){ copy, icc.len }, &c);
        unusable += c.unusable;
        arena_rewind(&a, mark);
        free(copy);
    }
    CHECK(unusable > 50);
    arena_done(&a);
}

static double cpu_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* The announcements of a file of some hundred bytes: tables of a gigabyte, curves without numbers, thousands of tags. */
TEST(colour__a_hostile_profile_costs_no_time)
{
    static const char table[] = "mft2\0\0\0\0\3\3\xff\0" "\0\1\0\0\0\0\0\0\0\0\0\0" "\0\0\0\0\0\1\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0\0\1\0\0"
                                "\x10\0\x10\0" "\0\0\xff\xff\0\0\xff\xff\0\0\xff\xff";
    static const char stages[] = "mAB \0\0\0\0\3\3\0\0" "\0\0\0\x20" "\0\0\0\x20" "\0\0\0\x20" "\0\0\0\x20" "\0\0\0\x20"
                                 "\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\2\0\0\0";
    static const char endless[] = "curv\0\0\0\0\xff\xff\xff\xff\0\0";
    static const char steep[] = "para\0\0\0\0\0\4\0\0" "\x7f\xff\xff\xff" "\x80\0\0\0" "\x7f\xff\xff\xff" "\0\0\0\0" "\0\0\0\0" "\0\0\0\0" "\0\0\0\0";
    static const char flat[] = "curv\0\0\0\0\0\0\0\1\0\0\0\0";
    static const struct span data[] = { { table, sizeof table - 1 }, { stages, sizeof stages - 1 }, { endless, sizeof endless - 1 },
                                        { steep, sizeof steep - 1 }, { flat, sizeof flat - 1 } };
    static const char xyz[] = "XYZ \0\0\0\0\0\0\xf6\xd6\0\1\0\0\0\0\xd3\x2d";
    const struct span white = { xyz, sizeof xyz - 1 };
    struct arena a;
    struct err err = { 0 };
    double begin;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    for (size_t i = 0; i < sizeof data / sizeof *data; i++) {
        const struct profile_tag tags[] = { { "wtpt", white },   { "rXYZ", white },   { "gXYZ", white },  { "bXYZ", white },
                                            { "rTRC", data[i] }, { "gTRC", data[i] }, { "bTRC", data[i] }, { "kTRC", data[i] },
                                            { "A2B0", data[i] }, { "B2A0", data[i] }, { "A2B1", data[i] } };

        begin = cpu_ms();
        check_survived(&a, profile_of_tags(&a, "mntr", "RGB ", "Lab ", tags, 11));
        check_survived(&a, profile_of_tags(&a, "mntr", "RGB ", "XYZ ", tags, 8));
        check_survived(&a, profile_of_tags(&a, "prtr", "CMYK", "Lab ", tags, 11));
        check_survived(&a, profile_of_tags(&a, "mntr", "GRAY", "XYZ ", tags, 8));
        check_survived(&a, profile_of_tags(&a, "link", "RGB ", "RGB ", tags, 11));
        check_survived(&a, profile_of_tags(&a, "nmcl", "RGB ", "Lab ", tags, 11));
        CHECK(cpu_ms() - begin < 100);
    }
    arena_done(&a);
}
