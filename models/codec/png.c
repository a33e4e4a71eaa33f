#include "models/codec/png.h"

#include <png.h>
#include <setjmp.h>
#include <string.h>

#include "models/notes/exif.h"
#include "models/notes/icc.h"
#include "models/image/alpha.h"

enum { SIGNATURE_BYTES = 8, READ_BYTES = 256 /* at once: what a file lacks at its end costs so many more at most */ };

/* One file being read. libpng leaves through `jump` on errors, so everything that is used afterwards is here, not in
 * locals. */
struct reader {
    jmp_buf jump;
    png_struct *png;
    png_info *info;
    struct span file, rest; /* rest: of the file */
    bool ended;             /* bytes were wanted behind the end of the file */
    bool is_last_pass;      /* over the rows; it completes each row that it comes to */
    int rows_read;          /* in this pass */
    int rows_missing;
    struct arena *arena;
    struct image image;
    uint8_t *pixels;                /* as libpng delivers them: image.channels, and alpha where there is one */
    bool alpha;                     /* from an alpha channel or a transparent colour */
    bool indexed, channel_of_alpha; /* what the file has */
    bool raw;                       /* IMAGE_ALPHA_RAW */
    bool low_bytes;                 /* no colour of 16 bits has been over 255 yet, and the low bytes are kept */
    uint8_t *index;                 /* of the palette, before it is looked up */
    struct err *err;
    enum err_code rc;
};

static void read_failed(png_struct *png, const char *why)
{
    struct reader *r = png_get_error_ptr(png);

    if (!r->rc)
        r->rc = err_set(r->err, ERR_CORRUPT, "png: %s", why);
    longjmp(r->jump, 1);
}

static void warned(png_struct *png, const char *why)
{
    (void)png, (void)why; /* libpng warns about optional data, which it then drops */
}

static void read_bytes(png_struct *png, png_byte *dst, size_t n)
{
    struct reader *r = png_get_io_ptr(png);

    if (n > r->rest.len) {
        r->ended = true;
        png_error(png, "the file ends early");
    }
    memcpy(dst, r->rest.ptr, n);
    r->rest.ptr += n;
    r->rest.len -= n;
}

/* Texts, suggested palettes and other unused chunks are skipped: to inflate compressed ones would take time. */
static void skip_what_is_not_used(png_struct *png)
{
    static const char used[] = "tRNS\0iCCP\0eXIf";

    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_AS_DEFAULT, (const png_byte *)used, 3);
}

static void read_header(struct reader *r)
{
    png_set_read_fn(r->png, r, read_bytes);
    png_set_user_limits(r->png, 0x7fffffff, 0x7fffffff); /* image_check_size() below has the limits and the message */
    png_set_chunk_malloc_max(r->png, ICC_MAX_BYTES + 4096);
    png_set_compression_buffer_size(r->png, READ_BYTES);
    skip_what_is_not_used(r->png);
    png_read_info(r->png, r->info);
    r->image.width = (int)png_get_image_width(r->png, r->info);
    r->image.height = (int)png_get_image_height(r->png, r->info);
    r->rc = image_check_size(r->image.width, r->image.height, r->err);
    if (r->rc)
        longjmp(r->jump, 1);
}

/* A value over 255: of the colours so far, whose high bytes were all 0, only whether they are 0 remains. */
static void forget_low_bytes(const struct reader *r, size_t channels)
{
    size_t n = (size_t)r->image.width * (size_t)r->image.height, colours = channels - (channels % 2 == 0);

    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < colours; c++)
            r->pixels[i * channels + c] = r->pixels[i * channels + c] != 0;
}

/* libpng calls this for each row of 16 bits: high byte first, and alpha, where there is one, behind the colours. */
static void keep_8_of_16_bits(png_struct *png, png_row_info *row, png_byte *data)
{
    struct reader *r = png_get_user_transform_ptr(png);
    size_t channels = row->channels, n = row->width * channels;
    unsigned high = 0;

    for (size_t i = 0; r->low_bytes && i < n; i++)
        high |= channels % 2 == 0 && i % channels == channels - 1 ? 0 : data[2 * i];
    if (high) {
        r->low_bytes = false;
        forget_low_bytes(r, channels);
    }
    for (size_t i = 0; i < n; i++) {
        bool is_alpha = channels % 2 == 0 && i % channels == channels - 1;

        uint8_t high_byte = data[2 * i], low_byte = data[2 * i + 1];

        if (r->low_bytes && !is_alpha)
            data[i] = low_byte;
        else
            data[i] = high_byte || is_alpha ? high_byte : low_byte != 0; /* what is not 0 stays so */
    }
}

/* How the raw values of a mask are asked for: places in the palette instead of its colours, and of 16 bits the low
 * byte when no colour has more. */
static void ask_for_raw(struct reader *r, int type)
{
    if (type == PNG_COLOR_TYPE_PALETTE) {
        png_set_packing(r->png);
        return;
    }
    png_set_expand(r->png);
    if (png_get_bit_depth(r->png, r->info) != 16)
        return;
    r->low_bytes = true;
    png_set_read_user_transform_fn(r->png, keep_8_of_16_bits);
    png_set_user_transform_info(r->png, r, 8, 0);
}

/* Anything -> 8 bits of grey, grey + alpha, RGB or RGBA. */
static void ask_for_8_bits(struct reader *r)
{
    int type = png_get_color_type(r->png, r->info);

    r->indexed = type == PNG_COLOR_TYPE_PALETTE || png_get_bit_depth(r->png, r->info) == 1;
    r->channel_of_alpha = type & PNG_COLOR_MASK_ALPHA;
    if (r->raw) {
        ask_for_raw(r, type);
    } else {
        png_set_expand(r->png);
        png_set_strip_16(r->png);
    }
    (void)png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
    r->alpha = png_get_color_type(r->png, r->info) & PNG_COLOR_MASK_ALPHA;
    r->image.channels = png_get_color_type(r->png, r->info) & PNG_COLOR_MASK_COLOR ? 3 : 1;
    if (r->raw && type == PNG_COLOR_TYPE_PALETTE)
        r->image.channels = 1; /* until look_up_colours() */
    r->channel_of_alpha |= r->raw && r->alpha;
}

static void read_rows(struct reader *r)
{
    size_t row_bytes = png_get_rowbytes(r->png, r->info);
    int passes = png_get_interlace_type(r->png, r->info) == PNG_INTERLACE_ADAM7 ? PNG_INTERLACE_ADAM7_PASSES : 1;

    if (row_bytes != (size_t)r->image.width * (size_t)(r->image.channels + r->alpha))
        png_error(r->png, "unexpected row size");
    r->rc = arena_alloc(r->arena, (size_t)r->image.height, row_bytes, &r->pixels, r->err);
    if (r->rc)
        longjmp(r->jump, 1);
    for (int pass = 0; pass < passes; pass++) {
        r->is_last_pass = pass == passes - 1;
        for (r->rows_read = 0; r->rows_read < r->image.height; r->rows_read++)
            png_read_row(r->png, r->pixels + (size_t)r->rows_read * row_bytes, NULL);
    }
    png_read_end(r->png, r->info);
}

static bool read_guarded(struct reader *r)
{
    if (setjmp(r->jump))
        return false;
    read_header(r);
    ask_for_8_bits(r);
    read_rows(r);
    return true;
}

/* Where the last IDAT chunk ends, its checksum included, by the lengths of the chunks. */
static size_t pixels_end(struct span file)
{
    enum { CHUNK_BYTES = 12 }; /* u32 length, type, u32 checksum */
    size_t at = SIGNATURE_BYTES, ret = at;

    while (at <= file.len && file.len - at >= CHUNK_BYTES) {
        size_t next = at + CHUNK_BYTES + span_be32(file.ptr + at);

        if (memcmp(file.ptr + at + 4, "IDAT", 4) == 0)
            ret = next;
        at = next;
    }
    return ret;
}

/* libpng, when it has delivered the last row, reads on to the end of the pixels' chunks before it returns. */
static bool has_last_row(const struct reader *r)
{
    if (png_get_interlace_type(r->png, r->info) == PNG_INTERLACE_ADAM7)
        return png_get_current_pass_number(r->png) >= PNG_INTERLACE_ADAM7_PASSES;
    return (int64_t)png_get_current_row_number(r->png) >= r->image.height;
}

/*
 * What libpng refuses may still have its rows. Those before the end of the file are right, as are all rows when the
 * damage is behind the last IDAT chunk, whose checksum was right then. Any other damage is at an unknown place: a
 * checksum tells of its whole chunk, and that often has the whole picture.
 */
static enum err_code judge(struct reader *r)
{
    bool is_behind = r->file.len - r->rest.len > pixels_end(r->file);
    int missing;

    if (r->is_last_pass && has_last_row(r))
        r->rows_read = r->image.height;
    missing = r->image.height - r->rows_read;
    if (r->rc != ERR_CORRUPT || !r->is_last_pass || !(r->ended || is_behind) ||
        missing > image_max_rows_missing(r->image.height))
        return r->rc;
    r->rows_missing = missing;
    return ERR_OK;
}

static size_t n_pixels(const struct reader *r)
{
    return (size_t)r->image.width * (size_t)r->image.height;
}

static enum err_code copy_profile(struct reader *r, struct span *ret)
{
    png_byte *profile = NULL;
    png_uint_32 len = 0;
    char *name, *copy = NULL;
    int method;

    if (!png_get_iCCP(r->png, r->info, &name, &method, &profile, &len) || len > ICC_MAX_BYTES)
        return ERR_OK;
    TRY(span_dup(r->arena, (struct span){ (const char *)profile, len }, &copy, r->err));
    *ret = (struct span){ copy, len };
    return ERR_OK;
}

/* Called after png_read_end(), because the specification allows an eXIf chunk after the pixels. */
static enum err_code take_notes(struct reader *r, struct image_notes *ret)
{
    struct image_notes notes = { .orientation = 1, .indexed = r->indexed, .rows_missing = r->rows_missing };
    png_byte *exif = NULL;
    png_uint_32 exif_len = 0;

    if (png_get_eXIf_1(r->png, r->info, &exif_len, &exif)) {
        notes.orientation = exif_orientation((struct span){ (const char *)exif, exif_len });
        TRY(exif_copy(r->arena, (struct span){ (const char *)exif, exif_len }, &notes.exif, r->err));
    }
    TRY(copy_profile(r, &notes.icc));
    if (r->channel_of_alpha)
        TRY(image_copy_alpha(r->arena, r->pixels, n_pixels(r), r->image.channels, &notes.alpha, r->err));
    *ret = notes;
    return ERR_OK;
}

/* The colours, and alpha where the palette has it, of every place; a place behind the end of the palette is black. */
static void look_up(const struct reader *r, const png_color *palette, int n_colours, const png_byte *alphas,
                    int n_alphas)
{
    size_t n = (size_t)r->image.width * (size_t)r->image.height;
    uint8_t *p = r->pixels;

    for (size_t i = 0; i < n; i++) {
        int at = r->index[i];
        png_color c = at < n_colours ? palette[at] : (png_color){ 0, 0, 0 };

        *p++ = c.red, *p++ = c.green, *p++ = c.blue;
        if (r->alpha)
            *p++ = at < n_alphas ? alphas[at] : 255;
    }
}

/* What libpng would have delivered; the places themselves are kept. */
static enum err_code look_up_colours(struct reader *r)
{
    png_color *palette = NULL;
    png_byte *alphas = NULL;
    int n_colours = 0, n_alphas = 0;
    uint8_t *pixels = NULL;

    (void)png_get_PLTE(r->png, r->info, &palette, &n_colours);
    (void)png_get_tRNS(r->png, r->info, &alphas, &n_alphas, NULL);
    r->alpha = r->channel_of_alpha = n_alphas > 0;
    r->image.channels = 3;
    TRY(arena_alloc(r->arena, (size_t)r->image.width * (size_t)r->image.height, r->alpha ? 4 : 3, &pixels, r->err));
    r->index = r->pixels;
    r->pixels = pixels;
    look_up(r, palette, n_colours, alphas, n_alphas);
    return ERR_OK;
}

static enum err_code read_all(struct reader *r, enum image_alpha alpha, struct image *ret,
                              struct image_notes *ret_notes)
{
    if (!read_guarded(r))
        TRY(judge(r));
    if (r->rows_missing && !ret_notes)
        return r->rc;
    if (r->raw && png_get_color_type(r->png, r->info) == PNG_COLOR_TYPE_PALETTE)
        TRY(look_up_colours(r));
    r->image.pixels = r->pixels;
    if (ret_notes)
        TRY(take_notes(r, ret_notes));
    if (ret_notes)
        ret_notes->index = r->index;
    if (r->alpha)
        image_flatten(r->pixels, n_pixels(r), r->image.channels, alpha);
    *ret = r->image;
    return ERR_OK;
}

enum err_code png_read(struct arena *a, struct span file, enum image_alpha alpha, struct image *ret,
                       struct image_notes *ret_notes, struct err *err)
{
    struct err why = { 0 };
    struct reader r = { .file = file, .rest = file, .arena = a, .raw = alpha == IMAGE_ALPHA_RAW, .err = &why };
    enum err_code rc;

    if (file.len < SIGNATURE_BYTES || png_sig_cmp((const png_byte *)file.ptr, 0, SIGNATURE_BYTES))
        return err_set(err, ERR_NOT_AN_IMAGE, "png: the file does not begin with the PNG signature");
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, read_failed, warned);
    if (r.png)
        r.info = png_create_info_struct(r.png);
    rc = r.info ? read_all(&r, alpha, ret, ret_notes) : err_set(&why, ERR_NOMEM, "png: no memory for a reader");
    png_destroy_read_struct(&r.png, &r.info, NULL);
    return rc ? err_set(err, rc, "%s", why.msg) : ERR_OK;
}

enum { QUICK_LEVEL = 1 }; /* of zlib: a photo takes a quarter of the time of the usual 6, and some percent more bytes */

/* One file being written, directly into the arena. */
struct writer {
    jmp_buf jump;
    png_struct *png;
    png_info *info;
    struct arena *arena;
    const struct image *image;
    struct span icc;
    char *bytes;
    size_t len, room;
    struct err *err;
    enum err_code rc;
};

static void write_failed(png_struct *png, const char *why)
{
    struct writer *w = png_get_error_ptr(png);

    if (!w->rc)
        w->rc = err_set(w->err, ERR_INTERNAL, "png: %s", why);
    longjmp(w->jump, 1);
}

static void write_bytes(png_struct *png, png_byte *src, size_t n)
{
    struct writer *w = png_get_io_ptr(png);

    if (n > w->room - w->len)
        png_error(png, "the file is larger than the bound on its size");
    memcpy(w->bytes + w->len, src, n);
    w->len += n;
}

static void flush_nothing(png_struct *png)
{
    (void)png;
}

/* An upper bound on the size of a file: the rows without compression (deflate then adds at most 5 bytes to 16 KiB, and
 * libpng 12 to an IDAT chunk of 8 KiB), and the headers. */
static size_t png_bound(const struct image *im, struct span icc)
{
    size_t raw = image_bytes(im) + (size_t)im->height + icc.len;

    return raw + raw / 256 + 4096;
}

/* A profile whose length libpng dislikes would end the writing; of other faults it only leaves the profile out. */
static void add_profile(struct writer *w)
{
    if (w->icc.len < 132 || w->icc.len % 4 || w->icc.len > INT32_MAX || w->icc.len != span_be32(w->icc.ptr))
        return;
    png_set_benign_errors(w->png, 1);
    png_set_iCCP(w->png, w->info, "icc", PNG_COMPRESSION_TYPE_BASE, (const png_byte *)w->icc.ptr,
                 (png_uint_32)w->icc.len);
}

static bool write_guarded(struct writer *w)
{
    const struct image *im = w->image;
    size_t row_bytes = (size_t)im->width * (size_t)im->channels;

    if (setjmp(w->jump))
        return false;
    png_set_write_fn(w->png, w, write_bytes, flush_nothing);
    png_set_IHDR(w->png, w->info, (png_uint_32)im->width, (png_uint_32)im->height, 8,
                 im->channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_compression_level(w->png, QUICK_LEVEL);
    png_set_filter(w->png, PNG_FILTER_TYPE_BASE, PNG_FILTER_SUB);
    add_profile(w);
    png_write_info(w->png, w->info);
    for (int y = 0; y < im->height; y++)
        png_write_row(w->png, im->pixels + (size_t)y * row_bytes);
    png_write_end(w->png, NULL);
    return true;
}

enum err_code png_write(struct arena *a, const struct image *im, struct span *ret_file, struct err *err)
{
    return png_write_with_profile(a, im, (struct span){ NULL, 0 }, ret_file, err);
}

enum err_code png_write_with_profile(struct arena *a, const struct image *im, struct span icc, struct span *ret_file,
                                     struct err *err)
{
    struct writer w = { .arena = a, .image = im, .icc = icc, .room = png_bound(im, icc), .err = err };
    enum err_code rc = ERR_OK;

    TRY(arena_alloc(a, w.room, 1, &w.bytes, err));
    w.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &w, write_failed, warned);
    if (w.png)
        w.info = png_create_info_struct(w.png);
    if (!w.info)
        rc = err_set(err, ERR_NOMEM, "png: no memory for a writer");
    else if (!write_guarded(&w))
        rc = w.rc;
    else
        *ret_file = (struct span){ w.bytes, w.len };
    png_destroy_write_struct(&w.png, &w.info);
    return rc;
}
