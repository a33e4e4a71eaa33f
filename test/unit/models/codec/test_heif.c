#include "models/codec/heif.h"

#include <stdio.h>
#include <stdlib.h>

#include "models/codec/decode.h"
#include "models/notes/icc.h"
#include "test/support/check.h"
#include "test/support/pictures.h"

#define FOLDER "test/golden/pictures/heic/"

/* The quarters of the samples, by test/golden/pictures/heic/make.py. */
static const uint8_t quarters[4][3] = { { 200, 40, 40 }, { 40, 180, 60 }, { 40, 60, 200 }, { 220, 200, 40 } };

/* An upright picture of the four quarters, and the same turned by a quarter anticlockwise. */
static const int upright[4] = { 0, 1, 2, 3 }, turned[4] = { 1, 3, 0, 2 };

static const struct decode_options options = { .alpha = IMAGE_ALPHA_DROP, .jail = true, .heic = true };

static void need_heic(void)
{
    if (decode_heic_refusal(&options))
        SKIP(decode_heic_refusal(&options));
}

/* The middle of quarter q, counted row by row. */
static const uint8_t *middle(const struct image *im, int q)
{
    size_t x = (size_t)(im->width * (1 + 2 * (q % 2)) / 4), y = (size_t)(im->height * (1 + 2 * (q / 2)) / 4);

    return im->pixels + (y * (size_t)im->width + x) * 3;
}

/* HEVC at quality 90 changes a flat colour by one or two levels. */
static void check_quarters(const struct image *im, const int order[4])
{
    CHECK_INT(im->channels, 3);
    for (int q = 0; q < 4; q++)
        for (int c = 0; c < 3; c++)
            if (abs(middle(im, q)[c] - quarters[order[q]][c]) > 3)
                test_fail(__FILE__, __LINE__, "quarter %d, channel %d: %d, want %d", q, c, middle(im, q)[c],
                          quarters[order[q]][c]);
}

TEST(heif__reads_heic_in_the_jail)
{
    static const struct {
        const char *name;
        int width, height;
        const int *order;
        bool icc, alpha;
    } files[] = {
        { "plain.heic", 64, 48, upright, false, false },   { "exif_icc.heic", 64, 48, upright, true, false },
        { "ten_bits.heic", 64, 48, upright, false, false }, { "alpha.heic", 64, 48, upright, false, true },
        { "turned.heic", 48, 64, turned, true, false },    { "two.heic", 64, 48, upright, false, false },
    };
    struct arena a;
    struct err err = { 0 };

    need_heic();
    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct image im;
        struct image_notes notes;
        char path[200];

        (void)snprintf(path, sizeof path, FOLDER "%s", files[i].name);
        CHECK_OK(image_decode(&a, file_bytes(&a, path), &options, &im, &notes, &err), err);
        CHECK_INT(im.width, files[i].width);
        CHECK_INT(im.height, files[i].height);
        check_quarters(&im, files[i].order);
        CHECK_INT(notes.orientation, 1); /* the Exif data of two files say 6 */
        CHECK_INT(icc_is_rgb(notes.icc), files[i].icc);
        CHECK_INT(notes.alpha != NULL, files[i].alpha);
    }
    arena_done(&a);
}

TEST(heif__flattens_alpha_as_for_a_png)
{
    /* quarter 1 is half transparent (128), quarter 2 wholly */
    static const uint8_t on_black[3] = { 20, 90, 30 }, on_white[3] = { 147, 217, 157 };
    struct decode_options o = options;
    struct arena a;
    struct err err = { 0 };
    struct image im;
    struct image_notes notes;
    struct span file;

    need_heic();
    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    file = file_bytes(&a, FOLDER "alpha.heic");
    o.alpha = IMAGE_ALPHA_ON_BLACK;
    CHECK_OK(image_decode(&a, file, &o, &im, &notes, &err), err);
    for (int c = 0; c < 3; c++)
        CHECK(abs(middle(&im, 1)[c] - on_black[c]) <= 3 && middle(&im, 2)[c] <= 3);
    CHECK_INT(notes.alpha[12 * 64 + 16], 255);
    CHECK(abs(notes.alpha[12 * 64 + 48] - 128) <= 2);
    CHECK(notes.alpha[36 * 64 + 16] <= 2);
    o.alpha = IMAGE_ALPHA_ON_WHITE;
    CHECK_OK(image_decode(&a, file, &o, &im, &notes, &err), err);
    for (int c = 0; c < 3; c++)
        CHECK(abs(middle(&im, 1)[c] - on_white[c]) <= 3 && middle(&im, 2)[c] >= 252);
    arena_done(&a);
}

static void check_refused(struct span file, const struct decode_options *o, enum err_code want, const char *part)
{
    struct arena a;
    struct err err = { 0 };
    struct image im;
    enum err_code rc;

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    rc = image_decode(&a, file, o, &im, NULL, &err);
    if (rc != want || !strstr(err.msg, part))
        test_fail(__FILE__, __LINE__, "%s (%s), want %s with \"%s\"", err_name(rc), err.msg, err_name(want), part);
    arena_done(&a);
}

/* A copy of a file in which `from` is `to` wherever it stands. */
static struct span replaced(struct arena *a, struct span file, const char *from, const char *to, size_t n)
{
    struct err err = { 0 };
    char *copy = NULL;

    CHECK_OK(span_dup(a, file, &copy, &err), err);
    for (size_t i = 0; i + n <= file.len; i++)
        if (memcmp(copy + i, from, n) == 0)
            memcpy(copy + i, to, n);
    return (struct span){ copy, file.len };
}

TEST(heif__refuses_what_it_would_show_wrongly)
{
    struct arena a;
    struct err err = { 0 };
    struct span plain, icc;

    need_heic();
    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    plain = file_bytes(&a, FOLDER "plain.heic");
    icc = file_bytes(&a, FOLDER "nclx.heic");
    check_refused(file_bytes(&a, FOLDER "coded_av1.avif"), &options, ERR_HEIC, "AVIF");
    check_refused(replaced(&a, plain, "ftypheic", "ftypmsf1", 8), &options, ERR_HEIC, "sequence");
    check_refused(replaced(&a, icc, "nclx\0\1\0\15", "nclx\0\11\0\20", 8), &options, ERR_HEIC, "PQ");
    check_refused(replaced(&a, icc, "nclx\0\1\0\15", "nclx\0\11\0\22", 8), &options, ERR_HEIC, "HLG");
    arena_done(&a);
}

TEST(heif__refuses_pictures_over_the_limit_before_it_decodes)
{
    struct decode_options o = options;
    struct arena a;
    struct err err = { 0 };

    need_heic();
    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    o.max_pixels = 64 * 48 - 1;
    check_refused(file_bytes(&a, FOLDER "plain.heic"), &o, ERR_TOO_LARGE, "64 x 48 = 3072 pixels; at most 3071");
    o.max_pixels = 64 * 48;
    check_refused(file_bytes(&a, FOLDER "plain.heic"), &o, ERR_OK, "");
    arena_done(&a);
}

TEST(heif__judges_a_size_that_the_file_only_states)
{
#define SIZE "ispe\0\0\0\0\0\0\0\x40\0\0\0\x30"
    struct arena a;
    struct err err = { 0 };
    struct span plain;

    need_heic();
    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    plain = file_bytes(&a, FOLDER "plain.heic");
    check_refused(replaced(&a, plain, SIZE, "ispe\0\0\0\0\0\0\0\x40\0\0\0\0", 16), &options, ERR_CORRUPT, "64 x 0");
    check_refused(replaced(&a, plain, SIZE, "ispe\0\0\0\0\0\0\x50\0\0\0\0\x30", 16), &options, ERR_TOO_LARGE, "20480 x 48");
}

TEST(heif__damage_is_never_a_picture)
{
    struct arena a;
    struct err err = { 0 };
    struct span file;

    need_heic();
    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    file = file_bytes(&a, FOLDER "exif_icc.heic");
    for (size_t n = 20; n < file.len; n += 180)
        check_refused((struct span){ file.ptr, n }, &options, ERR_CORRUPT, "heif: ");
    arena_done(&a);
}

TEST(heif__is_off_by_setting_and_without_a_jail)
{
    struct decode_options o = options;
    struct arena a;
    struct err err = { 0 };
    struct span file;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    file = file_bytes(&a, FOLDER "plain.heic");
    o.heic = false;
    check_refused(file, &o, ERR_HEIC, "HEIC=off");
    o = options;
    o.jail = false;
    check_refused(file, &o, ERR_HEIC, heif_unavailable_reason() ? "libheif" : "DECODE_JAIL=off");
    arena_done(&a);
}
