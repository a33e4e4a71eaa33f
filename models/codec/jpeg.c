#include "models/codec/jpeg.h"

#include <stdio.h> /* jpeglib.h needs FILE */
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "models/notes/colour.h"
#include "models/notes/icc.h"
#include "models/codec/jpeg_layout.h"
#include "models/codec/jpeg_notes.h"
#include "models/codec/jpeg_output.h"
#include "models/codec/jpeg_scan.h"

enum {
    DECODER_MAX_BYTES = 1 << 30, /* more than the coefficients of a progressive four-colour picture of 120 megapixels */
    PADDING_MAX_BYTES = 8        /* before the end marker; some cameras write a few, more are doubtful */
};

struct error_row {
    int libjpeg;
    enum err_code code;
};

/* Codes of libjpeg's fatal errors; all others mean a damaged file. */
static const struct error_row fatal[] = {
    { JERR_OUT_OF_MEMORY, ERR_NOMEM },
    { JERR_NO_BACKING_STORE, ERR_TOO_LARGE },
    { JERR_IMAGE_TOO_BIG, ERR_TOO_LARGE },
    { JERR_WIDTH_OVERFLOW, ERR_TOO_LARGE },
    { JERR_BAD_PRECISION, ERR_UNSUPPORTED },
    { JERR_SOF_UNSUPPORTED, ERR_UNSUPPORTED },
    { JERR_ARITH_NOTIMPL, ERR_UNSUPPORTED },
    { JERR_CONVERSION_NOTIMPL, ERR_UNSUPPORTED },
    { JERR_FRACT_SAMPLE_NOTIMPL, ERR_UNSUPPORTED },
    { JERR_CCIR601_NOTIMPL, ERR_UNSUPPORTED },
    { JERR_NO_SOI, ERR_NOT_AN_IMAGE },
};

struct reader {
    struct jpeg_guard guard; /* first: libjpeg passes a pointer to it, which is cast back */
    bool gave_up;            /* libjpeg did, at data that it cannot make anything of */
    struct jpeg_decompress_struct c;
    struct jpeg_progress_mgr progress;
    struct span file;
    struct jpeg_layout layout;
    struct arena *arena;
    struct image image;
    uint8_t *cmyk;            /* one row, where the file has four colours */
    struct colour_inks *inks; /* NULL: the file does not say what its four colours look like */
    int rows_missing;
};

static void failed(j_common_ptr c)
{
    enum err_code code = ERR_CORRUPT;

    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        if (c->err->msg_code == fatal[i].libjpeg)
            code = fatal[i].code;
    ((struct reader *)c->err)->gave_up = code == ERR_CORRUPT;
    jpeg_guard_leave_saying(c, code);
}

static void refuse(struct reader *r, enum err_code rc)
{
    jpeg_guard_leave(&r->guard, rc);
}

static void count_scans(j_common_ptr c)
{
    struct reader *r = (struct reader *)c->client_data;
    int64_t pixels = (int64_t)r->c.image_width * r->c.image_height;

    if (r->c.input_scan_number > JPEG_MAX_SCANS)
        refuse(r, err_set(r->guard.err, ERR_TOO_LARGE, "jpeg: the file has more than %d scans", JPEG_MAX_SCANS));
    if (r->c.input_scan_number * pixels > JPEG_MAX_SCANNED_PIXELS)
        refuse(r, err_set(r->guard.err, ERR_TOO_LARGE, "jpeg: the file has more than %d scans of %lld pixels",
                          r->c.input_scan_number - 1, (long long)pixels));
}

/* The rows from `first` on are not there, or not to be trusted. Few of them, at the bottom, can be done without. */
static void lose_rows(struct reader *r, int64_t first)
{
    int64_t height = r->c.image_height;

    if (height - first > image_max_rows_missing((int)height))
        refuse(r, err_set(r->guard.err, ERR_CORRUPT, "jpeg: the data end or are damaged at row %lld of %lld",
                          (long long)first, (long long)height));
    if (height - first > r->rows_missing)
        r->rows_missing = (int)(height - first);
}

/* Whether pixels are wrong, by the warning. Not so at the end of the file: libjpeg reads ahead, and says so with
 * another warning when it lacks data. An arithmetic decoder takes missing data for zeros. */
static bool is_damage(const struct reader *r, const struct jpeg_error_mgr *m)
{
    return m->msg_code == JWRN_JPEG_EOF ? r->c.arith_code : !jpeg_warning_is_harmless(m);
}

/* Each scan goes down the picture in rows of blocks. What follows a damaged place is damaged, too, up to a restart
 * marker; but then damage is so far up that it does not matter where it ends. */
static void judge(j_common_ptr c, int level)
{
    struct reader *r = (struct reader *)c->client_data;

    if (level < 0 && is_damage(r, c->err))
        lose_rows(r, (int64_t)r->c.input_iMCU_row * r->c.max_v_samp_factor * DCTSIZE);
}

static void check_layout(struct reader *r)
{
    const char *kind;

    r->layout = jpeg_layout(r->file);
    kind = jpeg_layout_unsupported(&r->layout);
    if (kind)
        refuse(r, err_set(r->guard.err, ERR_UNSUPPORTED,
                          "the picture is %s, which cannot be edited; please save it as an "
                          "ordinary JPEG and upload it again",
                          kind));
}

static void read_header(struct reader *r)
{
    r->guard.mgr.error_exit = failed;
    r->guard.mgr.emit_message = judge;
    jpeg_create_decompress(&r->c);
    r->c.client_data = r;
    check_layout(r);
    r->c.mem->max_memory_to_use = DECODER_MAX_BYTES;
    r->progress.progress_monitor = count_scans;
    r->c.progress = &r->progress;
    jpeg_mem_src(&r->c, (const unsigned char *)r->file.ptr, r->layout.end);
    (void)jpeg_read_header(&r->c, TRUE);
}

static J_COLOR_SPACE output_space(struct reader *r)
{
    switch (r->c.num_components) {
    case 1:
        return JCS_GRAYSCALE;
    case 3:
        return JCS_RGB;
    case 4:
        return JCS_CMYK;
    default:
        refuse(r, err_set(r->guard.err, ERR_UNSUPPORTED, "jpeg: %d components; 1, 3 and 4 are supported",
                          r->c.num_components));
        return JCS_UNKNOWN;
    }
}

static enum err_code open_inks(struct reader *r)
{
    struct image_notes notes;

    TRY(jpeg_notes(r->arena, r->file, &notes, r->guard.err));
    return colour_inks_open(r->arena, notes.icc, &r->inks, r->guard.err);
}

static enum err_code take_memory(struct reader *r)
{
    TRY(image_new(r->arena, (int)r->c.image_width, (int)r->c.image_height, r->c.num_components == 1 ? 1 : 3, &r->image,
                  r->guard.err));
    if (r->c.out_color_space != JCS_CMYK)
        return ERR_OK;
    TRY(arena_alloc(r->arena, r->c.image_width, 4, &r->cmyk, r->guard.err));
    return open_inks(r);
}

static void start(struct reader *r)
{
    enum err_code rc = image_check_size(r->c.image_width, r->c.image_height, r->guard.err);

    if (rc)
        refuse(r, rc);
    r->c.out_color_space = output_space(r);
    r->c.dct_method = JDCT_ISLOW;
    r->c.do_fancy_upsampling = TRUE;
    rc = take_memory(r);
    if (rc)
        refuse(r, rc);
    (void)jpeg_start_decompress(&r->c);
}

/* a * b / 255, rounded, for a and b up to 255. */
static unsigned mul_255(unsigned a, unsigned b)
{
    unsigned t = a * b + 128;

    return (t + (t >> 8)) >> 8;
}

/* In inverted CMYK 255 means no ink. Without a profile, red is the light that cyan and black ink let through, and so
 * on. */
static void row_from_cmyk(const struct colour_inks *inks, uint8_t *rgb, const uint8_t *cmyk, int width)
{
    if (inks) {
        colour_inks_to_srgb(inks, cmyk, (size_t)width, rgb);
        return;
    }
    for (size_t x = 0; x < (size_t)width; x++) {
        unsigned black = cmyk[4 * x + 3];

        for (size_t c = 0; c < 3; c++)
            rgb[3 * x + c] = (uint8_t)(black - mul_255(255u - cmyk[4 * x + c], black));
    }
}

/* Whether every scan was there: known from the end marker, and without it from what the scans have told of each
 * coefficient of a progressive file. */
static bool has_every_scan(const struct reader *r)
{
    if (!r->layout.has_every_component)
        return false;
    if (r->layout.has_eoi || !r->c.progressive_mode)
        return true;
    for (int c = 0; c < r->c.num_components; c++)
        for (int i = 0; i < DCTSIZE2; i++)
            if (r->c.coef_bits[c][i] != 0)
                return false;
    return true;
}

static void check_scans(struct reader *r)
{
    if (!has_every_scan(r))
        refuse(r, err_set(r->guard.err, ERR_CORRUPT, "jpeg: the file ends before the last of its scans"));
}

/* What follows the last row does not matter: libjpeg, which would go on to the end marker, is not asked to. */
static void read_rows(struct reader *r)
{
    size_t row_bytes = (size_t)r->image.width * (size_t)r->image.channels;

    while (r->c.output_scanline < r->c.output_height) {
        uint8_t *row = r->image.pixels + (size_t)r->c.output_scanline * row_bytes;
        JSAMPROW target = r->cmyk ? r->cmyk : row;

        if (jpeg_read_scanlines(&r->c, &target, 1) != 1)
            refuse(r, err_set(r->guard.err, ERR_CORRUPT, "jpeg: row %u is missing", r->c.output_scanline));
        if (r->cmyk)
            row_from_cmyk(r->inks, row, r->cmyk, r->image.width);
    }
}

/* Bytes that the decoder did not need, before the end marker. */
static size_t bytes_left(const struct reader *r)
{
    const char *at = (const char *)r->c.src->next_input_byte;
    const char *end = r->file.ptr + r->layout.end;

    return r->layout.has_eoi && at >= r->file.ptr && at < end ? (size_t)(end - at) : 0;
}

/* Too few or too many bytes for the rows may be too few or too many at the end, or have been lost or put in anywhere.
 */
static void look_for_damage(struct reader *r)
{
    bool is_doubtful = r->rows_missing > 0 || bytes_left(r) > PADDING_MAX_BYTES;
    int64_t row = is_doubtful ? jpeg_scan_unsound_row((struct span){ r->file.ptr, r->layout.end }) : INT64_MAX;

    if (row < r->c.image_height)
        lose_rows(r, row);
}

static enum err_code read_guarded(struct reader *r)
{
    if (setjmp(r->guard.jump))
        return r->guard.rc;
    read_header(r);
    start(r);
    check_scans(r);
    read_rows(r);
    look_for_damage(r);
    return ERR_OK;
}

static enum err_code read_all(struct reader *r, struct image *ret, struct image_notes *ret_notes)
{
    TRY(read_guarded(r));
    if (r->rows_missing && !ret_notes)
        return err_set(r->guard.err, ERR_CORRUPT, "jpeg: the last %d of %d rows are missing or damaged",
                       r->rows_missing, r->image.height);
    if (ret_notes) {
        TRY(jpeg_notes(r->arena, r->file, ret_notes, r->guard.err));
        ret_notes->rows_missing = r->rows_missing;
    }
    *ret = r->image;
    return ERR_OK;
}

/* Where the scans end before the place at which libjpeg gave up. What it met there may be no part of the picture, but
 * the camera's own data behind a picture without an end marker. 0: there is no such place. */
static size_t scans_end(const struct reader *r)
{
    const char *at = r->c.src ? (const char *)r->c.src->next_input_byte : NULL;
    bool is_inside = at >= r->file.ptr && at <= r->file.ptr + r->file.len;

    return jpeg_layout_scans_end(r->file, is_inside ? (size_t)(at - r->file.ptr) : r->file.len);
}

/* Reads once. *ret_cut: how much of a corrupt file may be a whole picture. */
static enum err_code read_once(struct arena *a, struct span file, struct image *ret, struct image_notes *ret_notes,
                               size_t *ret_cut, struct err *err)
{
    struct reader r = { .file = file, .arena = a };
    enum err_code rc;

    r.c.err = jpeg_guard_init(&r.guard, ERR_CORRUPT, err);
    rc = read_all(&r, ret, ret_notes);
    *ret_cut = r.gave_up ? scans_end(&r) : 0;
    jpeg_destroy_decompress(&r.c);
    return rc;
}

enum err_code jpeg_read(struct arena *a, struct span file, struct image *ret, struct image_notes *ret_notes,
                        struct err *err)
{
    struct arena_mark mark = arena_mark(a);
    struct err first = { 0 };
    enum err_code rc;
    size_t cut;

    if (!span_starts(file, "\xff\xd8"))
        return err_set(err, ERR_NOT_AN_IMAGE, "jpeg: the file does not begin with an SOI marker");
    rc = read_once(a, file, ret, ret_notes, &cut, &first);
    if (!rc)
        return ERR_OK;
    arena_rewind(a, mark);
    if (cut && !read_once(a, (struct span){ file.ptr, cut }, ret, ret_notes, &cut, NULL))
        return ERR_OK;
    return err_set(err, rc, "%s", first.msg);
}

struct writer {
    struct jpeg_guard guard;
    struct jpeg_compress_struct c;
    struct jpeg_sink sink;
    const struct image *image;
    const struct jpeg_options *options;
};

static void set_parameters(struct writer *w)
{
    int sampling = w->options->chroma == JPEG_CHROMA_FULL ? 1 : 2;

    w->c.image_width = (JDIMENSION)w->image->width;
    w->c.image_height = (JDIMENSION)w->image->height;
    w->c.input_components = w->image->channels;
    w->c.in_color_space = w->image->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&w->c);
    jpeg_set_quality(&w->c, w->options->quality, TRUE);
    w->c.dct_method = JDCT_ISLOW;
    w->c.optimize_coding = w->options->fast ? FALSE : TRUE;
    if (w->image->channels == 3)
        w->c.comp_info[0].h_samp_factor = w->c.comp_info[0].v_samp_factor = sampling;
}

static enum err_code write_guarded(struct writer *w)
{
    size_t row_bytes = (size_t)w->image->width * (size_t)w->image->channels;

    if (setjmp(w->guard.jump))
        return w->guard.rc;
    jpeg_create_compress(&w->c);
    jpeg_sink_start(&w->sink, &w->guard, &w->c);
    set_parameters(w);
    jpeg_start_compress(&w->c, TRUE);
    jpeg_write_metadata(&w->c, w->options);
    while (w->c.next_scanline < w->c.image_height) {
        JSAMPROW row = w->image->pixels + (size_t)w->c.next_scanline * row_bytes;
        (void)jpeg_write_scanlines(&w->c, &row, 1);
    }
    jpeg_finish_compress(&w->c);
    return ERR_OK;
}

static enum err_code write_all(struct writer *w, struct arena *a, struct span *ret_file, struct err *err)
{
    char *copy = NULL;

    TRY(write_guarded(w));
    TRY(span_dup(a, (struct span){ (const char *)w->sink.bytes, w->sink.len }, &copy, err));
    *ret_file = (struct span){ copy, w->sink.len };
    return ERR_OK;
}

enum err_code jpeg_write(struct arena *a, const struct image *im, const struct jpeg_options *options,
                         struct span *ret_file, struct err *err)
{
    struct writer w = { .image = im, .options = options };
    enum err_code rc;

    TRY(jpeg_check_metadata(options, err));
    w.c.err = jpeg_guard_init(&w.guard, ERR_INTERNAL, err);
    rc = write_all(&w, a, ret_file, err);
    jpeg_destroy_compress(&w.c);
    jpeg_sink_done(&w.sink);
    return rc;
}
