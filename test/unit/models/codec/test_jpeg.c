#include "models/codec/jpeg.h"

#include <string.h>

#include "models/codec/decode.h"
#include "models/codec/jpeg_notes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"

enum { ARENA = 64 << 20 };

TEST(jpeg__decodes_to_the_bytes_of_pillow)
{
    static const char *const names[] = { "420", "422", "444", "grey", "progressive", "cmyk", "ycck" };
    struct arena a;
    struct err err = { 0 };
    struct image got, rgb, want;
    struct span file;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        file = file_bytes(&a, golden("pictures/decode_%s.jpg", names[i]));
        CHECK_OK(jpeg_read(&a, file, &got, NULL, &err), err);
        CHECK_INT(got.channels, strcmp(names[i], "grey") ? 3 : 1);
        picture_from_png(&a, golden("pictures/decode_%s.png", names[i]), &want);
        CHECK_OK(image_to_rgb(&a, &got, &rgb, &err), err);
        CHECK_OK(image_to_rgb(&a, &want, &want, &err), err);
        CHECK_SAME_PICTURE(&rgb, &want);
    }
    arena_done(&a);
}

/* Every length of sequential and progressive files. The rows before the cut are those of the whole file, but for the
 * smoothing of the colours, which looks a row ahead. */
TEST(jpeg__takes_a_shortened_file_for_its_rows)
{
    static const char *const names[] = { "420", "422", "progressive", "ycck" };
    struct arena a;
    struct err err = { 0 };
    struct image want, got;
    struct image_notes notes;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct span file = file_bytes(&a, golden("pictures/decode_%s.jpg", names[i]));
        int accepted = 0;

        CHECK_OK(jpeg_read(&a, file, &want, NULL, &err), err);
        for (size_t n = 0; n < file.len; n++) {
            ARENA_SCRATCH(&a);
            struct span cut = { file.ptr, n };
            enum err_code rc = jpeg_read(&a, cut, &got, &notes, NULL);
            int rows = want.height - notes.rows_missing;

            if (rc) {
                CHECK_INT(rc, n < 2 ? ERR_NOT_AN_IMAGE : ERR_CORRUPT);
                CHECK(n < file.len - 2); /* without EOI it has all rows */
                continue;
            }
            accepted++;
            CHECK(notes.rows_missing <= image_max_rows_missing(want.height));
            rows -= rows < want.height;
            CHECK(memcmp(got.pixels, want.pixels, image_bytes(&want) / (size_t)want.height * (size_t)rows) == 0);
            CHECK_INT(jpeg_read(&a, cut, &got, NULL, NULL), notes.rows_missing ? ERR_CORRUPT : ERR_OK);
        }
        CHECK(accepted >= 2);
    }
    arena_done(&a);
}

TEST(jpeg__survives_a_wrong_byte_anywhere)
{
    struct arena a;
    struct err err = { 0 };
    struct image got;
    struct image_notes notes;
    struct span file;
    char *bytes = NULL;
    int refused = 0;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    file = file_bytes(&a, golden("pictures/decode_progressive.jpg"));
    CHECK_OK(span_dup(&a, file, &bytes, &err), err);
    for (size_t i = 0; i < file.len; i++) {
        struct arena_mark mark = arena_mark(&a);

        bytes[i] = (char)(file.ptr[i] ^ 0x5a);
        /* The bytes of the size are left alone: a huge picture would be legal, and slow. */
        if (i < 150 || i > 170)
            refused += jpeg_read(&a, (struct span){ bytes, file.len }, &got, &notes, NULL) != ERR_OK;
        bytes[i] = file.ptr[i];
        arena_rewind(&a, mark);
    }
    CHECK(refused > 0);
    arena_done(&a);
}

/* A header that announces 60000 x 60000 pixels. */
TEST(jpeg__judges_the_size_before_it_takes_memory)
{
    struct arena a;
    struct err err = { 0 };
    struct image im, got;
    struct span file;
    char *sof;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    picture_of_noise(&a, 8, 8, 3, 1, &im);
    CHECK_OK(jpeg_write(&a, &im, &(struct jpeg_options){ .quality = 50 }, &file, &err), err);
    sof = memmem(file.ptr, file.len, "\xff\xc0\x00\x11\x08", 5);
    CHECK(sof != NULL);
    memcpy(sof + 5, "\xea\x60\xea\x60", 4);
    CHECK_INT(jpeg_read(&a, file, &got, NULL, NULL), ERR_TOO_LARGE);
    memcpy(sof + 5, "\x40\x00\x40\x00", 4); /* each side is allowed, the area is not */
    CHECK_INT(jpeg_read(&a, file, &got, NULL, NULL), ERR_TOO_LARGE);
    memcpy(sof + 5, "\x00\x00\x00\x08", 4);
    CHECK(jpeg_read(&a, file, &got, NULL, NULL) != ERR_OK);
    arena_done(&a);
}

/* A grey progressive file of 16 x 16 pixels (made by jpegtran). Its last scan refines nothing, so that it may be
 * repeated; it is written n times. */
static struct span with_scans(struct arena *a, size_t n)
{
    static const char front[] =
        "\xff\xd8\xff\xdb\x00\x43\x00\x1b\x12\x14\x17\x14\x11\x1b\x17\x16\x17\x1e\x1c\x1b\x20\x28\x42\x2b"
        "\x28\x25\x25\x28\x51\x3a\x3d\x30\x42\x60\x55\x65\x64\x5f\x55\x5d\x5b\x6a\x78\x99\x81\x6a\x71\x90"
        "\x73\x5b\x5d\x85\xb5\x86\x90\x9e\xa3\xab\xad\xab\x67\x80\xbc\xc9\xba\xa6\xc7\x99\xa8\xab\xa4\xff"
        "\xc2\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00\xff\xc4\x00\x16\x00\x01\x01\x01\x00\x00\x00\x00"
        "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x06\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00\xa8\xcb"
        "\xbf\xff\xc4\x00\x16\x10\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x14"
        "\x61";
    static const char scan[] = "\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00\x7e\x8f\xd1\xfa\x3f\x4f";
    size_t front_len = sizeof front - 1, scan_len = sizeof scan - 1;
    struct err err = { 0 };
    char *bytes = NULL;

    CHECK_OK(arena_alloc(a, front_len + n * scan_len + 2, 1, &bytes, &err), err);
    memcpy(bytes, front, front_len);
    for (size_t i = 0; i < n; i++)
        memcpy(bytes + front_len + i * scan_len, scan, scan_len);
    memcpy(bytes + front_len + n * scan_len, "\xff\xd9", 2);
    return (struct span){ bytes, front_len + n * scan_len + 2 };
}

TEST(jpeg__refuses_a_file_of_very_many_scans)
{
    struct arena a;
    struct err err = { 0 };
    struct image got;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    CHECK_OK(jpeg_read(&a, with_scans(&a, 1), &got, NULL, &err), err);
    CHECK_OK(jpeg_read(&a, with_scans(&a, JPEG_MAX_SCANS - 1), &got, NULL, &err), err); /* one more scan is in `front` */
    CHECK_INT(jpeg_read(&a, with_scans(&a, JPEG_MAX_SCANS), &got, NULL, NULL), ERR_TOO_LARGE);
    arena_done(&a);
}

TEST(jpeg__refuses_what_it_cannot_decode_by_kind)
{
    struct arena a;
    struct err err = { 0 };
    struct image im, got;
    struct span file;
    char *sof;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    CHECK_INT(jpeg_read(&a, SPAN("GIF89a"), &got, NULL, NULL), ERR_NOT_AN_IMAGE);
    picture_of_noise(&a, 8, 8, 3, 1, &im);
    CHECK_OK(jpeg_write(&a, &im, &(struct jpeg_options){ .quality = 50 }, &file, &err), err);
    sof = memmem(file.ptr, file.len, "\xff\xc0\x00\x11\x08", 5);
    CHECK(sof != NULL);
    sof[4] = 12; /* bits a sample */
    CHECK_INT(jpeg_read(&a, file, &got, NULL, NULL), ERR_UNSUPPORTED);
    sof[4] = 8;
    sof[1] = (char)0xc3; /* lossless */
    CHECK_INT(jpeg_read(&a, file, &got, NULL, NULL), ERR_UNSUPPORTED);
    arena_done(&a);
}

/* Some phones write a few bytes between the last pixel and EOI. Every viewer shows such a file. */
TEST(jpeg__skips_stray_bytes_before_a_marker)
{
    struct arena a;
    struct err err = { 0 };
    struct image want, got;
    struct span file;
    char *bytes = NULL;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    file = file_bytes(&a, golden("pictures/decode_420.jpg"));
    CHECK_OK(jpeg_read(&a, file, &want, NULL, &err), err);
    CHECK_OK(arena_alloc(&a, file.len + 3, 1, &bytes, &err), err);
    memcpy(bytes, file.ptr, file.len - 2);
    memcpy(bytes + file.len - 2, "\0\0\0\xff\xd9", 5);
    CHECK_OK(jpeg_read(&a, (struct span){ bytes, file.len + 3 }, &got, NULL, &err), err);
    CHECK_SAME_PICTURE(&got, &want);
    arena_done(&a);
}

TEST(jpeg__keeps_a_profile_of_many_segments_and_writes_nothing_else)
{
    struct arena a;
    struct err err = { 0 };
    struct image im, got;
    struct image_notes notes;
    struct span file, icc = { NULL, 200 * 1000 };
    char *bytes = NULL;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    CHECK_OK(arena_alloc(&a, icc.len, 1, &bytes, &err), err);
    for (size_t i = 0; i < icc.len; i++)
        bytes[i] = (char)(i * 7 + i / 251);
    icc.ptr = bytes;
    picture_of_noise(&a, 30, 20, 3, 1, &im);
    CHECK_OK(jpeg_write(&a, &im, &(struct jpeg_options){ .quality = 95, .icc = icc }, &file, &err), err);
    CHECK(memmem(file.ptr, file.len, "Exif", 4) == NULL);
    CHECK_OK(jpeg_read(&a, file, &got, &notes, &err), err);
    CHECK_INT(notes.orientation, 1);
    CHECK(span_eq(notes.icc, icc));
    icc.len = (1 << 20) + 1;
    CHECK_INT(jpeg_write(&a, &im, &(struct jpeg_options){ .quality = 95, .icc = icc }, &file, NULL), ERR_TOO_LARGE);
    arena_done(&a);
}

/* Parts of a profile are missing, occur twice or contradict each other: there is no profile then, and no error. */
TEST(jpeg__drops_a_profile_with_damaged_parts)
{
#define PART(number, total) "\xff\xe2\x00\x12ICC_PROFILE\0" number total "ab"
    static const struct { struct span segments; size_t len; } cases[] = {
        { SPAN("\xff\xd8" PART("\1", "\1") "\xff\xda"), 2 },
        { SPAN("\xff\xd8" PART("\2", "\2") PART("\1", "\2") "\xff\xda"), 4 },
        { SPAN("\xff\xd8" PART("\1", "\2") "\xff\xda"), 0 },
        { SPAN("\xff\xd8" PART("\1", "\1") PART("\1", "\1") "\xff\xda"), 0 },
        { SPAN("\xff\xd8" PART("\1", "\2") PART("\2", "\3") "\xff\xda"), 0 },
        { SPAN("\xff\xd8" PART("\0", "\1") "\xff\xda"), 0 },
        { SPAN("\xff\xd8" PART("\3", "\2") "\xff\xda"), 0 },
        { SPAN("\xff\xd8\xff\xe2\x00\x0eICC_PROFILE\0\xff\xda"), 0 },
        { SPAN("\xff\xd8\xff\xe2\xff\xff" "ICC_PROFILE\0\1\1"), 0 },
    };
    struct arena a;
    struct err err = { 0 };
    struct image_notes notes;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_OK(jpeg_notes(&a, cases[i].segments, &notes, &err), err);
        CHECK_INT(notes.icc.len, cases[i].len);
    }
    arena_done(&a);
}

/* At quality 95 with full chroma the pixels stay close; with half the chroma the file is smaller. */
TEST(jpeg__writes_what_it_can_read_again)
{
    struct arena a;
    struct err err = { 0 };
    struct image im, got;
    struct span full, half, grey;
    double sum = 0;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    picture_from_png(&a, golden("pictures/decode_444.png"), &im);
    CHECK_OK(jpeg_write(&a, &im, &(struct jpeg_options){ .quality = 95 }, &full, &err), err);
    CHECK_OK(jpeg_write(&a, &im, &(struct jpeg_options){ .quality = 95, .chroma = JPEG_CHROMA_HALF }, &half, &err), err);
    CHECK(half.len < full.len);
    CHECK_OK(jpeg_read(&a, full, &got, NULL, &err), err);
    CHECK_INT(got.width, im.width);
    for (size_t i = 0; i < image_bytes(&im); i++)
        sum += (got.pixels[i] - im.pixels[i]) * (got.pixels[i] - im.pixels[i]);
    CHECK(sum / (double)image_bytes(&im) < 6.0); /* PSNR over 40 dB */
    picture_of_noise(&a, 5, 3, 1, 1, &im);
    CHECK_OK(jpeg_write(&a, &im, &(struct jpeg_options){ .quality = 95 }, &grey, &err), err);
    CHECK_OK(jpeg_read(&a, grey, &got, NULL, &err), err);
    CHECK_INT(got.channels, 1);
    arena_done(&a);
}

/* The tables of the standard instead of the picture's own: more bytes, the same pixels. */
TEST(jpeg__packs_the_same_pixels_faster_and_larger)
{
    struct arena a;
    struct err err = { 0 };
    struct image im, from_fast, from_small;
    struct span fast, small;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    picture_from_png(&a, golden("pictures/decode_444.png"), &im);
    CHECK_OK(jpeg_write(&a, &im, &(struct jpeg_options){ .quality = 95, .fast = true }, &fast, &err), err);
    CHECK_OK(jpeg_write(&a, &im, &(struct jpeg_options){ .quality = 95 }, &small, &err), err);
    CHECK(small.len < fast.len);
    CHECK_OK(jpeg_read(&a, fast, &from_fast, NULL, &err), err);
    CHECK_OK(jpeg_read(&a, small, &from_small, NULL, &err), err);
    CHECK_SAME_PICTURE(&from_fast, &from_small);
    arena_done(&a);
}
