/*
 * What becomes of photo files of every kind: the table of outcomes. Each file is made by an encoder, and most are then
 * changed as phones, transfers and programs change them. A file that is whole must have the pixels of the unchanged one,
 * and a file that lacks rows the pixels of those above.
 */
#include <string.h>

#include "models/codec/decode.h"
#include "models/codec/jpeg_layout.h"
#include "models/codec/png.h"
#include "test/support/check.h"
#include "test/support/jpeg_build.h"
#include "test/support/pictures.h"
#include "test/support/png_build.h"
#include "test/support/webp_build.h"

enum { ARENA = 256 << 20, MAX_PIXELS = 120 * 1000 * 1000, BYTE = 1, ASCII = 2, SHORT = 3, LONG = 4 };

/* What is done to a file before it is read; `n` is from the row of the table. */
typedef struct span change(struct arena *a, struct span file, int n);

enum outcome_wanted { WHOLE, TAIL /* accepted, with rows missing: PHOTO_TAIL_DAMAGED */, REFUSED };

struct row {
    const char *name;
    change *change;
    int n;
    enum outcome_wanted want;
    enum err_code code; /* where it is refused */
    int orientation;    /* 0: 1 */
};

static void check_pixels(const struct row *r, const struct image *got, const struct image *want, int missing)
{
    /* The colours of a JPEG are smoothed over the row below. */
    int rows = missing ? want->height - missing - 1 : want->height;
    size_t row_bytes = (size_t)want->width * (size_t)want->channels;

    if (got->width != want->width || got->height != want->height || got->channels != want->channels ||
        memcmp(got->pixels, want->pixels, row_bytes * (size_t)rows) != 0)
        test_fail(__FILE__, __LINE__, "%s: other pixels than those of the unchanged file", r->name);
}

static void check_row(struct arena *a, const struct row *r, struct span plain, const struct image *want)
{
    ARENA_SCRATCH(a);
    struct decode_options photo = { .alpha = IMAGE_ALPHA_ON_WHITE, .max_pixels = MAX_PIXELS, .rows_may_be_missing = true };
    struct decode_options mask = { .alpha = IMAGE_ALPHA_ON_WHITE, .max_pixels = MAX_PIXELS };
    struct span file = r->change ? r->change(a, plain, r->n) : plain;
    struct image_notes notes = { 0 };
    struct image got;
    struct err err = { 0 };
    enum err_code rc = image_decode(a, file, &photo, &got, &notes, &err);

    if (rc != (r->want == REFUSED ? r->code : ERR_OK))
        test_fail(__FILE__, __LINE__, "%s: %s %s", r->name, err_name(rc), err.msg);
    if (image_decode(a, file, &mask, &got, &(struct image_notes){ 0 }, NULL) != (r->want == TAIL ? ERR_CORRUPT : rc))
        test_fail(__FILE__, __LINE__, "%s: judged otherwise as a mask", r->name);
    if (rc)
        return;
    if ((notes.rows_missing > 0) != (r->want == TAIL) || notes.orientation != (r->orientation ? r->orientation : 1))
        test_fail(__FILE__, __LINE__, "%s: %d rows missing, orientation %d", r->name, notes.rows_missing,
                  notes.orientation);
    CHECK_OK(image_decode(a, file, &photo, &got, &notes, &err), err);
    if (want)
        check_pixels(r, &got, want, notes.rows_missing);
}

/* `want`: the pixels of `plain`; NULL: they are not compared */
static void check_rows(struct arena *a, const struct row *rows, size_t n, struct span plain)
{
    struct decode_options photo = { .alpha = IMAGE_ALPHA_ON_WHITE };
    struct err err = { 0 };
    struct image want;

    CHECK_OK(image_decode(a, plain, &photo, &want, NULL, &err), err);
    for (size_t i = 0; i < n; i++)
        check_row(a, &rows[i], plain, &want);
}

#define CHECK_ROWS(a, rows, plain) check_rows((a), (rows), sizeof(rows) / sizeof *(rows), (plain))

/* ---- changes to any file ---- */

static struct span cut_to_permille(struct arena *a, struct span file, int n)
{
    (void)a;
    return (struct span){ file.ptr, file.len * (size_t)n / 1000 };
}

static struct span without_last(struct arena *a, struct span file, int n)
{
    (void)a;
    return (struct span){ file.ptr, file.len - (size_t)n };
}

static struct span with_zeros_behind(struct arena *a, struct span file, int n)
{
    struct err err = { 0 };
    char *zeros = NULL;

    CHECK_OK(arena_alloc(a, (size_t)n, 1, &zeros, &err), err);
    return bytes_spliced(a, file, file.len, 0, (struct span){ zeros, (size_t)n });
}

static struct span with_zeros_from_permille(struct arena *a, struct span file, int n)
{
    size_t at = file.len * (size_t)n / 1000;

    return with_zeros_behind(a, (struct span){ file.ptr, at }, (int)(file.len - at));
}

static struct span with_itself_behind(struct arena *a, struct span file, int n)
{
    (void)n;
    return bytes_spliced(a, file, file.len, 0, file);
}

/* ---- changes to a JPEG file ---- */

static size_t scan_header(struct span file, int n)
{
    return bytes_find(file, SPAN("\xff\xda"), n);
}

static size_t frame_header(struct span file)
{
    struct jpeg_layout l = jpeg_layout(file);
    const char marker[2] = { (char)0xff, (char)l.frame };

    return bytes_find(file, (struct span){ marker, 2 }, 0);
}

/* As cameras of Samsung write: the last coefficient of a sequential scan is 0. */
static struct span with_scan_parameters_of_samsung(struct arena *a, struct span file, int n)
{
    size_t at = scan_header(file, 0);

    (void)n;
    return bytes_spliced(a, file, at + 2 + (size_t)file.ptr[at + 3] - 2, 1, SPAN("\0"));
}

static struct span with_zeros_in_place_of_eoi(struct arena *a, struct span file, int n)
{
    return with_zeros_behind(a, without_last(a, file, 2), n);
}

/* As panoramas and motion photos of Samsung: no EOI, then the camera's own data, which have markers by chance. */
static struct span with_trailer_in_place_of_eoi(struct arena *a, struct span file, int n)
{
    static const struct span trailers[] = {
        SPAN("\0\0\xff\x40SEFHe\0\0\0\1\0\0\0SEFT"),
        SPAN("MotionPhoto_Data\xff\x01\xff\xc4\0\x08\1\2\3\4\5\6ftypmp42"), /* as if a Huffman table came */
        SPAN("\0\0\0\x18" "ftypmp42\xff\xc0\0\x11\x08\0\x10\0\x10\3\1\x11\0\2\x11\1\3\x11\1"),
        SPAN("\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0" "data that look like those of another scan"),
        SPAN("\xff\xdb\0"),
        SPAN("\xff"),
        SPAN("\xff\xe1\xff\xff" "a segment longer than the file"),
    };

    return bytes_spliced(a, file, file.len - 2, 2, trailers[n]);
}

static struct span with_second_picture_in_place_of_eoi(struct arena *a, struct span file, int n)
{
    (void)n;
    return bytes_spliced(a, file, file.len - 2, 2, file);
}

/* Multi-picture format: an index in APP2, and a second picture behind the first. */
static struct span with_second_picture(struct arena *a, struct span file, int n)
{
    struct span both = bytes_spliced(a, file, file.len, 0, file);

    (void)n;
    return bytes_spliced(a, both, 2, 0, SPAN("\xff\xe2\0\x1eMPF\0MM\0*\0\0\0\x08\0\1\xb0\1\0\4\0\0\0\1\0\0\0\2"));
}

static struct span with_stray_bytes_before_the_frame(struct arena *a, struct span file, int n)
{
    return bytes_spliced(a, file, frame_header(file), 0, (struct span){ "\0\1\2\3\4\5\6\7", (size_t)n });
}

static struct span with_stray_bytes_before_eoi(struct arena *a, struct span file, int n)
{
    return bytes_spliced(a, file, file.len - 2, 0, (struct span){ "\0\1\2\3\4\5\6\7", (size_t)n });
}

static struct span with_fill_bytes(struct arena *a, struct span file, int n)
{
    (void)n;
    return bytes_spliced(a, file, frame_header(file), 0, SPAN("\xff\xff\xff\xff"));
}

static struct span ending_in_the_header(struct arena *a, struct span file, int n)
{
    (void)a;
    return (struct span){ file.ptr, scan_header(file, 0) + (size_t)n };
}

/* Ends after the n-th scan, with EOI or without. */
static struct span of_scans(struct arena *a, struct span file, int n)
{
    return bytes_spliced(a, (struct span){ file.ptr, scan_header(file, n) }, scan_header(file, n), 0, SPAN(""));
}

static struct span of_scans_and_eoi(struct arena *a, struct span file, int n)
{
    struct span cut = of_scans(a, file, n);

    return bytes_spliced(a, cut, cut.len, 0, SPAN("\xff\xd9"));
}

static struct span with_eoi_at_permille(struct arena *a, struct span file, int n)
{
    return bytes_spliced(a, file, file.len * (size_t)n / 1000, 2, SPAN("\xff\xd9"));
}

static struct span with_bits_a_sample(struct arena *a, struct span file, int n)
{
    return bytes_spliced(a, file, frame_header(file) + 4, 1, (struct span){ (const char[]){ (char)n }, 1 });
}

static struct span with_frame(struct arena *a, struct span file, int n)
{
    return bytes_spliced(a, file, frame_header(file) + 1, 1, (struct span){ (const char[]){ (char)n }, 1 });
}

static struct span with_hierarchy(struct arena *a, struct span file, int n)
{
    size_t at = frame_header(file);

    (void)n;
    return bytes_spliced(a, bytes_spliced(a, file, at, 0, (struct span){ file.ptr + at, 19 }), at + 1, 1, SPAN("\xde"));
}

static struct span of_size(struct arena *a, struct span file, int n)
{
    static const struct span sizes[] = { SPAN("\x2e\xe0\x2a\xf8"), SPAN("\x40\x01\0\x08"), SPAN("\xff\xff\xff\xff"), SPAN("\0\0\0\x08") };

    return bytes_spliced(a, file, frame_header(file) + 5, 4, sizes[n]);
}

/* n is the orientation, and 100 times the type, negative for the other order of bytes. */
static struct span with_orientation(struct arena *a, struct span file, int n)
{
    int value = n < 0 ? -n : n;

    return jpeg_with_exif(a, file, exif_of_orientation(a, value % 100, value / 100, n < 0));
}

static size_t restart_marker(struct span file, int n)
{
    const char marker[2] = { (char)0xff, (char)(0xd0 + n % 8) };

    return bytes_find(file, (struct span){ marker, 2 }, n / 8);
}

/* Without the data between the n-th restart marker and the next. */
static struct span without_interval(struct arena *a, struct span file, int n)
{
    size_t at = restart_marker(file, n);

    return bytes_spliced(a, file, at, restart_marker(file, n + 1) - at, SPAN(""));
}

/* n padding bytes before a restart marker in the middle. */
static struct span with_padding(struct arena *a, struct span file, int n)
{
    return bytes_spliced(a, file, restart_marker(file, 12), 0,
                         (struct span){ "padding padding padding padding padding padding", (size_t)n });
}

/* n bytes lost in the middle, or put in. */
static struct span with_a_hole(struct arena *a, struct span file, int n)
{
    return bytes_spliced(a, file, file.len / 2, (size_t)n, SPAN(""));
}

static struct span with_bytes_put_in(struct arena *a, struct span file, int n)
{
    return bytes_spliced(a, file, file.len / 2, 0, (struct span){ file.ptr + file.len / 3, (size_t)n });
}

/* The codes of one bits only do not exist; 0xff needs a stuffed zero. */
static struct span with_bad_codes_at_permille(struct arena *a, struct span file, int n)
{
    return bytes_spliced(a, file, file.len * (size_t)n / 1000, 16, SPAN("\xff\0\xff\0\xff\0\xff\0\xff\0\xff\0\xff\0\xff\0"));
}

/* ---- the tables ---- */

TEST(outcomes__of_sequential_jpeg_files)
{
    static const struct row rows[] = {
        { "as it is", NULL, 0, WHOLE, ERR_OK, 0 },
        { "scan parameters of Samsung", with_scan_parameters_of_samsung, 0, WHOLE, ERR_OK, 0 },
        { "trailer in place of EOI, a reserved marker", with_trailer_in_place_of_eoi, 0, WHOLE, ERR_OK, 0 },
        { "trailer in place of EOI, a bad table", with_trailer_in_place_of_eoi, 1, WHOLE, ERR_OK, 0 },
        { "trailer in place of EOI, a frame", with_trailer_in_place_of_eoi, 2, WHOLE, ERR_OK, 0 },
        { "trailer in place of EOI, a scan", with_trailer_in_place_of_eoi, 3, WHOLE, ERR_OK, 0 },
        { "trailer in place of EOI, half a segment", with_trailer_in_place_of_eoi, 4, WHOLE, ERR_OK, 0 },
        { "half of EOI", with_trailer_in_place_of_eoi, 5, WHOLE, ERR_OK, 0 },
        { "trailer in place of EOI, a long segment", with_trailer_in_place_of_eoi, 6, WHOLE, ERR_OK, 0 },
        { "a second picture in place of EOI", with_second_picture_in_place_of_eoi, 0, WHOLE, ERR_OK, 0 },
        { "a second picture, MPF", with_second_picture, 0, WHOLE, ERR_OK, 0 },
        { "the file twice", with_itself_behind, 0, WHOLE, ERR_OK, 0 },
        { "zeros behind", with_zeros_behind, 5000, WHOLE, ERR_OK, 0 },
        { "3 stray bytes before the frame", with_stray_bytes_before_the_frame, 3, WHOLE, ERR_OK, 0 },
        { "8 stray bytes before the frame", with_stray_bytes_before_the_frame, 8, WHOLE, ERR_OK, 0 },
        { "3 stray bytes before EOI", with_stray_bytes_before_eoi, 3, WHOLE, ERR_OK, 0 },
        { "fill bytes", with_fill_bytes, 0, WHOLE, ERR_OK, 0 },
        { "no EOI", without_last, 2, WHOLE, ERR_OK, 0 },
        { "no EOI and one byte less", without_last, 3, TAIL, ERR_OK, 0 },
        { "cut at 99.9 %", cut_to_permille, 999, TAIL, ERR_OK, 0 },
        { "cut at 99 %", cut_to_permille, 990, TAIL, ERR_OK, 0 },
        { "cut at 97 %", cut_to_permille, 970, REFUSED, ERR_CORRUPT, 0 },
        { "cut at 50 %", cut_to_permille, 500, REFUSED, ERR_CORRUPT, 0 },
        { "EOI at 99.5 %", with_eoi_at_permille, 995, TAIL, ERR_OK, 0 },
        { "EOI at 50 %", with_eoi_at_permille, 500, REFUSED, ERR_CORRUPT, 0 },
        { "cut behind the header of the scan", ending_in_the_header, 14, REFUSED, ERR_CORRUPT, 0 },
        { "cut in the header of the scan", ending_in_the_header, 5, REFUSED, ERR_CORRUPT, 0 },
        { "cut before the scan", ending_in_the_header, 0, REFUSED, ERR_CORRUPT, 0 },
        { "bad codes near the end", with_bad_codes_at_permille, 990, TAIL, ERR_OK, 0 },
        { "a hole of 50 bytes", with_a_hole, 50, REFUSED, ERR_CORRUPT, 0 },
        { "a hole of 300 bytes", with_a_hole, 300, REFUSED, ERR_CORRUPT, 0 },
        { "a hole of 4000 bytes", with_a_hole, 4000, REFUSED, ERR_CORRUPT, 0 },
        { "100 bytes put in", with_bytes_put_in, 100, REFUSED, ERR_CORRUPT, 0 },
        { "2000 bytes put in", with_bytes_put_in, 2000, REFUSED, ERR_CORRUPT, 0 },
        { "zeros from 50 % on", with_zeros_from_permille, 500, REFUSED, ERR_CORRUPT, 0 },
        { "zeros from 99 % on", with_zeros_from_permille, 990, TAIL, ERR_OK, 0 },
        { "no EOI, zeros behind", with_zeros_in_place_of_eoi, 5000, WHOLE, ERR_OK, 0 },
        { "12 bits", with_bits_a_sample, 12, REFUSED, ERR_UNSUPPORTED, 0 },
        { "9 bits", with_bits_a_sample, 9, REFUSED, ERR_UNSUPPORTED, 0 },
        { "lossless", with_frame, 0xc3, REFUSED, ERR_UNSUPPORTED, 0 },
        { "lossless, arithmetic", with_frame, 0xcb, REFUSED, ERR_UNSUPPORTED, 0 },
        { "differential", with_frame, 0xc5, REFUSED, ERR_UNSUPPORTED, 0 },
        { "hierarchical", with_hierarchy, 0, REFUSED, ERR_UNSUPPORTED, 0 },
        { "JPEG-LS", with_frame, 0xf7, REFUSED, ERR_UNSUPPORTED, 0 },
        { "132 megapixels", of_size, 0, REFUSED, ERR_TOO_LARGE, 0 },
        { "16385 rows", of_size, 1, REFUSED, ERR_TOO_LARGE, 0 },
        { "65535 x 65535", of_size, 2, REFUSED, ERR_TOO_LARGE, 0 },
        { "no height", of_size, 3, REFUSED, ERR_CORRUPT, 0 },
    };
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    CHECK_ROWS(&a, rows, jpeg_build(&a, &(struct jpeg_kind){ .width = 120, .height = 608, .across = 2, .down = 2 }));
    arena_done(&a);
}

TEST(outcomes__of_progressive_jpeg_files)
{
    static const struct row rows[] = {
        { "as it is", NULL, 0, WHOLE, ERR_OK, 0 },
        { "no EOI", without_last, 2, WHOLE, ERR_OK, 0 },
        { "no EOI, zeros behind", with_zeros_in_place_of_eoi, 5000, WHOLE, ERR_OK, 0 },
        { "zeros from 50 % on", with_zeros_from_permille, 500, REFUSED, ERR_CORRUPT, 0 },
        { "trailer in place of EOI, a reserved marker", with_trailer_in_place_of_eoi, 0, WHOLE, ERR_OK, 0 },
        { "trailer in place of EOI, a bad table", with_trailer_in_place_of_eoi, 1, WHOLE, ERR_OK, 0 },
        { "trailer in place of EOI, a frame", with_trailer_in_place_of_eoi, 2, WHOLE, ERR_OK, 0 },
        { "trailer in place of EOI, a scan", with_trailer_in_place_of_eoi, 3, WHOLE, ERR_OK, 0 },
        { "a second picture in place of EOI", with_second_picture_in_place_of_eoi, 0, WHOLE, ERR_OK, 0 },
        { "a second picture, MPF", with_second_picture, 0, WHOLE, ERR_OK, 0 },
        { "3 stray bytes before EOI", with_stray_bytes_before_eoi, 3, WHOLE, ERR_OK, 0 },
        { "cut at 99.9 %", cut_to_permille, 999, TAIL, ERR_OK, 0 },
        { "cut at 97 %", cut_to_permille, 970, REFUSED, ERR_CORRUPT, 0 },
        { "cut at 50 %", cut_to_permille, 500, REFUSED, ERR_CORRUPT, 0 },
        { "9 of 10 scans", of_scans, 9, REFUSED, ERR_CORRUPT, 0 },
        { "1 of 10 scans", of_scans, 1, REFUSED, ERR_CORRUPT, 0 },
        { "no scan", of_scans, 0, REFUSED, ERR_CORRUPT, 0 },
        { "12 bits", with_bits_a_sample, 12, REFUSED, ERR_UNSUPPORTED, 0 },
        { "132 megapixels", of_size, 0, REFUSED, ERR_TOO_LARGE, 0 },
    };
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    CHECK_ROWS(&a, rows, jpeg_build(&a, &(struct jpeg_kind){ .width = 120, .height = 608, .across = 2, .down = 2,
                                                             .progressive = true }));
    arena_done(&a);
}

TEST(outcomes__of_jpeg_files_with_a_scan_for_each_component)
{
    static const struct row rows[] = {
        { "as it is", NULL, 0, WHOLE, ERR_OK, 0 },
        { "no EOI", without_last, 2, WHOLE, ERR_OK, 0 },
        { "trailer in place of EOI, a bad table", with_trailer_in_place_of_eoi, 1, WHOLE, ERR_OK, 0 },
        { "2 of 3 scans", of_scans, 2, REFUSED, ERR_CORRUPT, 0 },
        { "2 of 3 scans and EOI", of_scans_and_eoi, 2, REFUSED, ERR_CORRUPT, 0 },
        { "cut at 97 %", cut_to_permille, 970, REFUSED, ERR_CORRUPT, 0 },
        { "cut at 50 %", cut_to_permille, 500, REFUSED, ERR_CORRUPT, 0 },
    };
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    CHECK_ROWS(&a, rows, jpeg_build(&a, &(struct jpeg_kind){ .width = 120, .height = 608, .scan_a_component = true }));
    arena_done(&a);
}

/* 38 rows of blocks, a restart marker before each but the first. */
TEST(outcomes__of_jpeg_files_with_restart_markers)
{
    static const struct row rows[] = {
        { "as it is", NULL, 0, WHOLE, ERR_OK, 0 },
        { "no EOI", without_last, 2, WHOLE, ERR_OK, 0 },
        { "4 bytes of padding", with_padding, 4, WHOLE, ERR_OK, 0 },
        { "40 bytes of padding", with_padding, 40, REFUSED, ERR_CORRUPT, 0 },
        { "an interval lost in the middle", without_interval, 18, REFUSED, ERR_CORRUPT, 0 },
        { "cut at 99.5 %", cut_to_permille, 995, TAIL, ERR_OK, 0 },
        { "cut at 97 %", cut_to_permille, 970, REFUSED, ERR_CORRUPT, 0 },
        { "cut at 50 %", cut_to_permille, 500, REFUSED, ERR_CORRUPT, 0 },
        { "bad codes in the middle", with_bad_codes_at_permille, 500, REFUSED, ERR_CORRUPT, 0 },
    };
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    CHECK_ROWS(&a, rows, jpeg_build(&a, &(struct jpeg_kind){ .width = 120, .height = 608, .across = 2, .down = 2,
                                                             .restart_rows = 1 }));
    arena_done(&a);
}

TEST(outcomes__of_orientations_in_jpeg_files)
{
    enum { S = 100 * SHORT, L = 100 * LONG, B = 100 * BYTE };
    static const struct row rows[] = {
        { "SHORT 1", with_orientation, S + 1, WHOLE, ERR_OK, 1 }, { "SHORT 2", with_orientation, S + 2, WHOLE, ERR_OK, 2 },
        { "SHORT 3", with_orientation, S + 3, WHOLE, ERR_OK, 3 }, { "SHORT 4", with_orientation, S + 4, WHOLE, ERR_OK, 4 },
        { "SHORT 5", with_orientation, S + 5, WHOLE, ERR_OK, 5 }, { "SHORT 6", with_orientation, S + 6, WHOLE, ERR_OK, 6 },
        { "SHORT 7", with_orientation, S + 7, WHOLE, ERR_OK, 7 }, { "SHORT 8", with_orientation, S + 8, WHOLE, ERR_OK, 8 },
        { "LONG 1", with_orientation, L + 1, WHOLE, ERR_OK, 1 },  { "LONG 2", with_orientation, L + 2, WHOLE, ERR_OK, 2 },
        { "LONG 3", with_orientation, L + 3, WHOLE, ERR_OK, 3 },  { "LONG 4", with_orientation, L + 4, WHOLE, ERR_OK, 4 },
        { "LONG 5", with_orientation, L + 5, WHOLE, ERR_OK, 5 },  { "LONG 6", with_orientation, L + 6, WHOLE, ERR_OK, 6 },
        { "LONG 7", with_orientation, L + 7, WHOLE, ERR_OK, 7 },  { "LONG 8", with_orientation, L + 8, WHOLE, ERR_OK, 8 },
        { "SHORT 6, big-endian", with_orientation, -S - 6, WHOLE, ERR_OK, 6 },
        { "LONG 6, big-endian", with_orientation, -L - 6, WHOLE, ERR_OK, 6 },
        { "LONG 8, big-endian", with_orientation, -L - 8, WHOLE, ERR_OK, 8 },
        { "BYTE 3", with_orientation, B + 3, WHOLE, ERR_OK, 3 },
        { "BYTE 3, big-endian", with_orientation, -B - 3, WHOLE, ERR_OK, 3 },
        { "ASCII 6", with_orientation, 100 * ASCII + 6, WHOLE, ERR_OK, 1 },
        { "SHORT 0", with_orientation, S, WHOLE, ERR_OK, 1 },
        { "SHORT 9", with_orientation, S + 9, WHOLE, ERR_OK, 1 },
        { "LONG 9", with_orientation, L + 9, WHOLE, ERR_OK, 1 },
    };
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    CHECK_ROWS(&a, rows, jpeg_build(&a, &(struct jpeg_kind){ .width = 30, .height = 20 }));
    arena_done(&a);
}

/* Each kind as it is, without EOI, and half of it. */
TEST(outcomes__of_jpeg_files_of_every_kind)
{
    static const struct jpeg_kind kinds[] = {
        { .width = 121, .height = 203, .components = 1 },
        { .width = 121, .height = 203 },
        { .width = 121, .height = 203, .across = 2 },
        { .width = 121, .height = 203, .across = 2, .down = 2 },
        { .width = 121, .height = 203, .across = 4 },
        { .width = 121, .height = 203, .down = 2 },
        { .width = 121, .height = 203, .across = 4, .down = 2 },
        { .width = 121, .height = 203, .rgb = true },
        { .width = 121, .height = 203, .components = 4 },
        { .width = 121, .height = 203, .components = 4, .ycck = true },
        { .width = 121, .height = 203, .components = 4, .ycck = true, .progressive = true },
        { .width = 121, .height = 203, .components = 1, .progressive = true },
        { .width = 121, .height = 203, .across = 4, .progressive = true },
        { .width = 121, .height = 203, .across = 2, .down = 2, .restart_rows = 3, .progressive = true },
        { .width = 121, .height = 203, .components = 1, .restart_rows = 2 },
        { .width = 1, .height = 203 },
        { .width = 203, .height = 1 },
        { .width = 203, .height = 1, .across = 2, .down = 2, .progressive = true },
        { .width = 1, .height = 1 },
        { .width = 1, .height = 1, .across = 2, .down = 2 },
        { .width = 17, .height = 17, .across = 2, .down = 2 },
    };
    static const struct row rows[] = {
        { "as it is", NULL, 0, WHOLE, ERR_OK, 0 },
        { "no EOI", without_last, 2, WHOLE, ERR_OK, 0 },
        { "a second picture in place of EOI", with_second_picture_in_place_of_eoi, 0, WHOLE, ERR_OK, 0 },
        { "no pixels", ending_in_the_header, 0, REFUSED, ERR_CORRUPT, 0 },
        { "half", cut_to_permille, 500, REFUSED, ERR_CORRUPT, 0 },
    };
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct span file = jpeg_build(&a, &kinds[i]);
        struct image got;

        CHECK_ROWS(&a, rows, file);
        CHECK_OK(image_decode(&a, file, &(struct decode_options){ .alpha = IMAGE_ALPHA_DROP }, &got, NULL, &err), err);
        CHECK(got.width == kinds[i].width && got.height == kinds[i].height);
        CHECK_INT(got.channels, kinds[i].components == 1 ? 1 : 3);
    }
    arena_done(&a);
}

/* Arithmetic coding has no end of its data: where the file ends, zeros go on. So the last row of blocks is not trusted
 * without an EOI marker. */
TEST(outcomes__of_arithmetic_jpeg_files)
{
    static const struct row rows[] = {
        { "as it is", NULL, 0, WHOLE, ERR_OK, 0 },
        { "no EOI", without_last, 2, TAIL, ERR_OK, 0 },
        { "cut at 97 %", cut_to_permille, 970, REFUSED, ERR_CORRUPT, 0 },
        { "cut at 50 %", cut_to_permille, 500, REFUSED, ERR_CORRUPT, 0 },
    };
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    CHECK_ROWS(&a, rows, jpeg_build(&a, &(struct jpeg_kind){ .width = 120, .height = 608, .across = 2, .down = 2,
                                                             .arithmetic = true }));
    arena_done(&a);
}

/* ---- PNG ---- */

static struct span with_chunk_behind_ihdr(struct arena *a, struct span file, struct span chunk)
{
    return bytes_spliced(a, file, 8 + 25, 0, chunk);
}

static struct span with_wrong_checksum_of_a_text(struct arena *a, struct span file, int n)
{
    (void)n;
    return with_chunk_behind_ihdr(a, file, SPAN("\0\0\0\3tEXta\0b????"));
}

static struct span with_unknown_chunk(struct arena *a, struct span file, int n)
{
    (void)n;
    return with_chunk_behind_ihdr(a, file, SPAN("\0\0\0\0abCd????"));
}

static struct span with_orientation_in_png(struct arena *a, struct span file, int n)
{
    struct span tiff = exif_of_orientation(a, n % 100, n / 100, false);
    struct png_build b;

    png_begin(a, &b);
    png_chunk(&b, "eXIf", tiff);
    return with_chunk_behind_ihdr(a, file, (struct span){ b.bytes + 8, b.len - 8 });
}

static struct span with_wrong_byte_at_permille(struct arena *a, struct span file, int n)
{
    size_t at = file.len * (size_t)n / 1000;

    return bytes_spliced(a, file, at, 1, (struct span){ (const char[]){ (char)(file.ptr[at] ^ 0x55) }, 1 });
}

static struct span with_size_in_png(struct arena *a, struct span file, int n)
{
    static const struct span sizes[] = { SPAN("\0\0\x2e\xe0\0\0\x2a\xf8"), SPAN("\0\0\x40\1\0\0\0\1") };

    return bytes_spliced(a, file, 16, 8, sizes[n]);
}

TEST(outcomes__of_png_files)
{
    static const struct row rows[] = {
        { "as it is", NULL, 0, WHOLE, ERR_OK, 0 },
        { "no IEND", without_last, 12, WHOLE, ERR_OK, 0 },
        { "half of IEND", without_last, 6, WHOLE, ERR_OK, 0 },
        { "no IEND and no checksum of the pixels", without_last, 16, WHOLE, ERR_OK, 0 },
        { "bytes behind", with_zeros_behind, 100, WHOLE, ERR_OK, 0 },
        { "the file twice", with_itself_behind, 0, WHOLE, ERR_OK, 0 },
        { "a text with a wrong checksum", with_wrong_checksum_of_a_text, 0, WHOLE, ERR_OK, 0 },
        { "an unknown chunk", with_unknown_chunk, 0, WHOLE, ERR_OK, 0 },
        { "orientation, SHORT", with_orientation_in_png, 100 * SHORT + 6, WHOLE, ERR_OK, 6 },
        { "orientation, LONG", with_orientation_in_png, 100 * LONG + 8, WHOLE, ERR_OK, 8 },
        { "orientation 9", with_orientation_in_png, 100 * LONG + 9, WHOLE, ERR_OK, 1 },
        { "cut at 99 %", cut_to_permille, 990, TAIL, ERR_OK, 0 },
        { "cut at 90 %", cut_to_permille, 900, REFUSED, ERR_CORRUPT, 0 },
        { "cut at 50 %", cut_to_permille, 500, REFUSED, ERR_CORRUPT, 0 },
        { "cut in the header", cut_to_permille, 1, REFUSED, ERR_CORRUPT, 0 },
        { "a wrong byte in the middle", with_wrong_byte_at_permille, 500, REFUSED, ERR_CORRUPT, 0 },
        { "132 megapixels", with_size_in_png, 0, REFUSED, ERR_TOO_LARGE, 0 },
        { "16385 columns", with_size_in_png, 1, REFUSED, ERR_TOO_LARGE, 0 },
    };
    struct arena a;
    struct err err = { 0 };
    struct image src;
    struct span file;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    for (int channels = 1; channels <= 3; channels += 2) {
        picture_of_noise(&a, 90, 300, channels, 4, &src);
        CHECK_OK(png_write(&a, &src, &file, &err), err);
        CHECK_ROWS(&a, rows, file);
    }
    arena_done(&a);
}

/* Rows of zeros, which every kind of PNG has. */
TEST(outcomes__of_png_files_of_every_kind)
{
    static const struct { int bits, type, interlaced; } kinds[] = {
        { 1, 0, 0 }, { 2, 0, 0 }, { 4, 0, 0 }, { 8, 0, 0 }, { 16, 0, 0 }, { 8, 2, 0 }, { 16, 2, 0 }, { 1, 3, 0 }, { 2, 3, 0 },
        { 4, 3, 0 }, { 8, 3, 0 }, { 8, 4, 0 }, { 16, 4, 0 }, { 8, 6, 0 }, { 16, 6, 0 }, { 8, 6, 1 }, { 1, 0, 1 }, { 8, 2, 1 },
    };
    static const struct row rows[] = {
        { "as it is", NULL, 0, WHOLE, ERR_OK, 0 },
        { "no IEND", without_last, 12, WHOLE, ERR_OK, 0 },
        { "no pixels", without_last, 24, REFUSED, ERR_CORRUPT, 0 },
    };
    static const char zeros[20000];
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct png_build b;

        png_begin(&a, &b);
        png_ihdr(&b, 37, 41, kinds[i].bits, kinds[i].type, kinds[i].interlaced);
        if (kinds[i].type == 3)
            png_chunk(&b, "PLTE", SPAN("abcdef"));
        png_idat(&b, (struct span){ zeros, sizeof zeros });
        CHECK_ROWS(&a, rows, png_end(&b));
    }
    arena_done(&a);
}

/* ---- WebP and others ---- */

static struct span extended_with_orientation(struct arena *a, struct span file, int n)
{
    return webp_extended(a, file, SPAN("a profile"), exif_of_orientation(a, n % 100, n / 100, n % 2));
}

static struct span animated(struct arena *a, struct span file, int n)
{
    (void)n;
    return webp_animated(a, file);
}

/* 12000 x 11000: in 14 bits each, less one, or in 16 bits each. */
static struct span with_huge_size(struct arena *a, struct span file, int n)
{
    bool lossless = memcmp(file.ptr + 12, "VP8L", 4) == 0;

    (void)n;
    return lossless ? bytes_spliced(a, file, 21, 4, SPAN("\xdf\xee\xbd\x0a"))
                    : bytes_spliced(a, file, 26, 4, SPAN("\xe0\x2e\xf8\x2a"));
}

static struct span without_all_but(struct arena *a, struct span file, int n)
{
    (void)a;
    return (struct span){ file.ptr, (size_t)n };
}

TEST(outcomes__of_webp_files)
{
    static const struct row alpha_rows[] = {
        { "as it is", NULL, 0, WHOLE, ERR_OK, 0 },
        { "bytes behind", with_zeros_behind, 100, WHOLE, ERR_OK, 0 },
        { "cut at 50 %", cut_to_permille, 500, REFUSED, ERR_CORRUPT, 0 },
        { "animated", animated, 0, REFUSED, ERR_UNSUPPORTED, 0 },
    };
    static const struct row rows[] = {
        { "as it is", NULL, 0, WHOLE, ERR_OK, 0 },
        { "bytes behind", with_zeros_behind, 100, WHOLE, ERR_OK, 0 },
        { "the file twice", with_itself_behind, 0, WHOLE, ERR_OK, 0 },
        { "orientation, SHORT", extended_with_orientation, 100 * SHORT + 6, WHOLE, ERR_OK, 6 },
        { "orientation, LONG", extended_with_orientation, 100 * LONG + 3, WHOLE, ERR_OK, 3 },
        { "orientation 9", extended_with_orientation, 100 * SHORT + 9, WHOLE, ERR_OK, 1 },
        { "cut at 99.9 %", cut_to_permille, 999, TAIL, ERR_OK, 0 },
        { "cut at 90 %", cut_to_permille, 900, REFUSED, ERR_CORRUPT, 0 },
        { "cut at 50 %", cut_to_permille, 500, REFUSED, ERR_CORRUPT, 0 },
        { "cut in the header", without_all_but, 40, REFUSED, ERR_CORRUPT, 0 },
        { "animated", animated, 0, REFUSED, ERR_UNSUPPORTED, 0 },
        { "132 megapixels", with_huge_size, 0, REFUSED, ERR_TOO_LARGE, 0 },
    };
    struct arena a;
    struct err err = { 0 };
    struct image src;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    picture_of_noise(&a, 20, 2608, 3, 4, &src); /* a hundredth of which is 26 rows */
    for (int lossless = 0; lossless < 2; lossless++)
        CHECK_ROWS(&a, rows, webp_build(&a, src.pixels, 20, 2608, 3, lossless));
    for (int lossless = 0; lossless < 2; lossless++) /* the same bytes with alpha */
        CHECK_ROWS(&a, alpha_rows, webp_build(&a, src.pixels, 20, 1956, 4, lossless));
    arena_done(&a);
}

TEST(outcomes__of_other_files)
{
    static const struct { struct span file; enum err_code want; } cases[] = {
        { SPAN(""), ERR_NOT_AN_IMAGE },
        { SPAN("\xff\xd8"), ERR_NOT_AN_IMAGE },
        { SPAN("\xff\xd8\xff"), ERR_CORRUPT },
        { SPAN("\xff\xd8\xff\xe0\0\x10JFIF"), ERR_CORRUPT },
        { SPAN("GIF89a\1\0\1\0\x80\0\0"), ERR_NOT_AN_IMAGE },
        { SPAN("BM\x46\0\0\0\0\0\0\0\x36\0\0\0"), ERR_NOT_AN_IMAGE },
        { SPAN("II*\0\x08\0\0\0\0\0"), ERR_NOT_AN_IMAGE }, /* TIFF, and most raw files */
        { SPAN("\0\0\0\x0cjP  \r\n\x87\n"), ERR_NOT_AN_IMAGE },
        { SPAN("\xff\x0a\xfa\x1f"), ERR_NOT_AN_IMAGE }, /* JPEG XL */
        { SPAN("%PDF-1.7\n"), ERR_NOT_AN_IMAGE },
        { SPAN("PK\3\4"), ERR_NOT_AN_IMAGE },
        { SPAN("{\"error\":{\"code\":404}}"), ERR_NOT_AN_IMAGE },
        { SPAN("\0\0\0\x18" "ftypheic\0\0\0\0mif1heic"), ERR_HEIC },
    };
    struct arena a;
    struct err err = { 0 };
    struct image got;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum err_code rc = image_decode(&a, cases[i].file, &(struct decode_options){ .alpha = IMAGE_ALPHA_ON_WHITE }, &got, NULL, NULL);

        if (rc != cases[i].want)
            test_fail(__FILE__, __LINE__, "case %zu: %s", i, err_name(rc));
    }
    arena_done(&a);
}
