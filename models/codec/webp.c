#include "models/codec/webp.h"

#include <string.h>

#include <webp/decode.h>

#include "models/notes/exif.h"
#include "models/notes/icc.h"
#include "models/image/alpha.h"

enum { RIFF_BYTES = 12, CHUNK_BYTES = 8 };

bool webp_is(struct span file)
{
    return file.len >= RIFF_BYTES && memcmp(file.ptr, "RIFF", 4) == 0 && memcmp(file.ptr + 8, "WEBP", 4) == 0;
}

bool webp_size(struct span file, int64_t *ret_width, int64_t *ret_height)
{
    WebPBitstreamFeatures f;

    if (WebPGetFeatures((const uint8_t *)file.ptr, file.len, &f) != VP8_STATUS_OK)
        return false;
    *ret_width = f.width;
    *ret_height = f.height;
    return true;
}

static size_t le32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;

    return (size_t)u[3] << 24 | (size_t)u[2] << 16 | (size_t)u[1] << 8 | u[0];
}

/* The payload of the first chunk of this name; empty when there is none, or when the file ends before it does. */
static struct span chunk(struct span file, const char *name)
{
    size_t at = RIFF_BYTES;

    while (at <= file.len && file.len - at >= CHUNK_BYTES) {
        size_t n = le32(file.ptr + at + 4), left = file.len - at - CHUNK_BYTES;

        if (memcmp(file.ptr + at, name, 4) == 0)
            return n <= left ? (struct span){ file.ptr + at + CHUNK_BYTES, n } : (struct span){ NULL, 0 };
        at += CHUNK_BYTES + n + n % 2;
    }
    return (struct span){ NULL, 0 };
}

static enum err_code take_notes(struct arena *a, struct span file, struct image_notes *notes, struct err *err)
{
    struct span icc = chunk(file, "ICCP"), exif = chunk(file, "EXIF");
    char *copy = NULL;

    if (exif.len > 6 && memcmp(exif.ptr, "Exif\0", 6) == 0)
        exif = (struct span){ exif.ptr + 6, exif.len - 6 };
    notes->orientation = exif_orientation(exif);
    TRY(exif_copy(a, exif, &notes->exif, err));
    if (icc.len == 0 || icc.len > ICC_MAX_BYTES)
        return ERR_OK;
    TRY(span_dup(a, icc, &copy, err));
    notes->icc = (struct span){ copy, icc.len };
    return ERR_OK;
}

static enum err_code refuse(VP8StatusCode status, struct err *err)
{
    switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY:
        return err_set(err, ERR_NOMEM, "webp: no memory for the decoder");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return err_set(err, ERR_UNSUPPORTED, "webp: the file uses what is not supported");
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
        return err_set(err, ERR_CORRUPT, "webp: the file ends early");
    default:
        return err_set(err, ERR_CORRUPT, "webp: the data are damaged");
    }
}

/* How many rows could be decoded; what is beyond a decoder's memory or a damaged file has no rows. */
static enum err_code decode_rows(struct span file, WebPDecoderConfig *c, int *ret_rows, struct err *err)
{
    WebPIDecoder *d = WebPIDecode(NULL, 0, c);
    VP8StatusCode status = d ? WebPIUpdate(d, (const uint8_t *)file.ptr, file.len) : VP8_STATUS_OUT_OF_MEMORY;
    int rows = 0;

    if (d && status == VP8_STATUS_SUSPENDED)
        (void)WebPIDecGetRGB(d, &rows, NULL, NULL, NULL);
    WebPIDelete(d);
    if (status != VP8_STATUS_OK && status != VP8_STATUS_SUSPENDED)
        return refuse(status, err);
    *ret_rows = status == VP8_STATUS_OK ? c->input.height : rows;
    return ERR_OK;
}

static enum err_code check_rows(const struct image *im, int missing, bool may_miss, struct err *err)
{
    if (missing > (may_miss ? image_max_rows_missing(im->height) : 0))
        return err_set(err, ERR_CORRUPT, "webp: the data end at row %d of %d", im->height - missing, im->height);
    return ERR_OK;
}

static enum err_code read_features(struct span file, WebPDecoderConfig *c, struct err *err)
{
    VP8StatusCode status;

    if (!WebPInitDecoderConfig(c))
        return err_set(err, ERR_INTERNAL, "webp: the library is not the one that was compiled for");
    status = WebPGetFeatures((const uint8_t *)file.ptr, file.len, &c->input);
    if (status != VP8_STATUS_OK)
        return refuse(status, err);
    if (c->input.has_animation)
        return err_set(
            err, ERR_UNSUPPORTED,
            "the picture is an animated WebP file, which cannot be edited; please save one of its pictures as "
            "JPEG and upload that");
    return image_check_size(c->input.width, c->input.height, err);
}

enum err_code webp_read(struct arena *a, struct span file, enum image_alpha alpha, struct image *ret,
                        struct image_notes *ret_notes, struct err *err)
{
    struct image_notes notes = { .orientation = 1 };
    struct image im = { .channels = 3 };
    WebPDecoderConfig c;
    size_t n, step;
    int rows = 0;

    if (!webp_is(file))
        return err_set(err, ERR_NOT_AN_IMAGE, "webp: the file does not begin as a WebP file");
    TRY(read_features(file, &c, err));
    im.width = c.input.width;
    im.height = c.input.height;
    n = (size_t)im.width * (size_t)im.height;
    step = c.input.has_alpha ? 4 : 3;
    TRY(arena_alloc(a, n, step, &im.pixels, err));
    c.output.colorspace = c.input.has_alpha ? MODE_RGBA : MODE_RGB;
    c.output.is_external_memory = 1;
    c.output.u.RGBA = (WebPRGBABuffer){ im.pixels, (int)step * im.width, n * step };
    TRY(decode_rows(file, &c, &rows, err));
    notes.rows_missing = im.height - rows;
    TRY(check_rows(&im, notes.rows_missing, ret_notes != NULL, err));
    TRY(take_notes(a, file, &notes, err));
    if (c.input.has_alpha) {
        TRY(image_copy_alpha(a, im.pixels, n, im.channels, &notes.alpha, err));
        image_flatten(im.pixels, n, im.channels, alpha);
    }
    if (ret_notes)
        *ret_notes = notes;
    *ret = im;
    return ERR_OK;
}
