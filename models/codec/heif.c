#include "models/codec/heif.h"

#ifdef HAVE_HEIF

#include <libheif/heif.h>
#include <string.h>

#include "models/notes/exif.h"
#include "models/notes/icc.h"

#define DECODER "libde265"

/* Made by heif-enc of libheif 1.15.1 with x265 3.5 from 64 x 64 grey pixels, quality 10. */
/* clang-format off */
static const unsigned char sample[] = {
    0x00, 0x00, 0x00, 0x1c, 0x66, 0x74, 0x79, 0x70, 0x68, 0x65, 0x69, 0x63, 0x00, 0x00, 0x00, 0x00, 0x6d, 0x69, 0x66, 0x31,
    0x68, 0x65, 0x69, 0x63, 0x6d, 0x69, 0x61, 0x66, 0x00, 0x00, 0x01, 0x42, 0x6d, 0x65, 0x74, 0x61, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x21, 0x68, 0x64, 0x6c, 0x72, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x70, 0x69, 0x63, 0x74,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0e, 0x70, 0x69, 0x74,
    0x6d, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x22, 0x69, 0x6c, 0x6f, 0x63, 0x00, 0x00, 0x00, 0x00, 0x44,
    0x40, 0x00, 0x01, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x01, 0x66, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x0e, 0x00, 0x00, 0x00, 0x23, 0x69, 0x69, 0x6e, 0x66, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x15, 0x69,
    0x6e, 0x66, 0x65, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x68, 0x76, 0x63, 0x31, 0x00, 0x00, 0x00, 0x00, 0xc2,
    0x69, 0x70, 0x72, 0x70, 0x00, 0x00, 0x00, 0xa4, 0x69, 0x70, 0x63, 0x6f, 0x00, 0x00, 0x00, 0x78, 0x68, 0x76, 0x63, 0x43,
    0x01, 0x03, 0x70, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x1e, 0xf0, 0x00, 0xfc, 0xfd, 0xf8, 0xf8, 0x00,
    0x00, 0x0f, 0x03, 0x20, 0x00, 0x01, 0x00, 0x18, 0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x03, 0x70, 0x00, 0x00, 0x03, 0x00,
    0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x1e, 0xba, 0x02, 0x40, 0x21, 0x00, 0x01, 0x00, 0x2b, 0x42, 0x01, 0x01,
    0x03, 0x70, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x1e, 0xa0, 0x20, 0x81, 0x05, 0x96,
    0xea, 0x49, 0x29, 0xae, 0x6e, 0x04, 0x04, 0x0c, 0x08, 0x00, 0x00, 0x03, 0x00, 0x08, 0x00, 0x00, 0x03, 0x00, 0x08, 0x40,
    0x22, 0x00, 0x01, 0x00, 0x07, 0x44, 0x01, 0xc1, 0x72, 0xb0, 0x22, 0x40, 0x00, 0x00, 0x00, 0x14, 0x69, 0x73, 0x70, 0x65,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x10, 0x70, 0x69, 0x78, 0x69,
    0x00, 0x00, 0x00, 0x00, 0x03, 0x08, 0x08, 0x08, 0x00, 0x00, 0x00, 0x16, 0x69, 0x70, 0x6d, 0x61, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x01, 0x00, 0x01, 0x03, 0x81, 0x02, 0x83, 0x00, 0x00, 0x00, 0x16, 0x6d, 0x64, 0x61, 0x74, 0x00, 0x00,
    0x00, 0x0a, 0x28, 0x01, 0xaf, 0x04, 0x18, 0xfc, 0x4a, 0xd7, 0x9b, 0xc0
};
/* clang-format on */

struct reader {
    struct span file;
    struct arena *arena;
    enum image_alpha alpha;
    int64_t max_pixels;
    struct heif_context *context;
    struct heif_image_handle *handle;
    struct heif_image *decoded;
    bool has_alpha;
    struct image image;
    struct image_notes notes;
    struct err *err;
};

const char *heif_unavailable_reason(void)
{
    return heif_have_decoder_for_format(heif_compression_HEVC) ? NULL
                                                               : "libheif has no decoder for HEVC (libde265) here";
}

struct span heif_sample(void)
{
    return (struct span){ (const char *)sample, sizeof sample };
}

void heif_prepare(void)
{
#if LIBHEIF_HAVE_VERSION(1, 13, 0)
    (void)heif_init(NULL);
#endif
}

/* --- what libheif reports --- */

static enum err_code failed(const struct reader *r, struct heif_error e)
{
    enum err_code rc = ERR_CORRUPT;

    if (e.code == heif_error_Ok)
        return ERR_OK;
    if (e.code == heif_error_Unsupported_filetype || e.code == heif_error_Unsupported_feature)
        rc = ERR_HEIC;
    if (e.code == heif_error_Memory_allocation_error)
        rc = e.subcode == heif_suberror_Security_limit_exceeded ? ERR_TOO_LARGE : ERR_NOMEM;
    return err_set(r->err, rc, "heif: %s", e.message ? e.message : "an error without a text");
}

/* --- the file --- */

static enum err_code check_brand(const struct reader *r)
{
    static const char sequences[][5] = { "msf1", "hevc", "hevx", "hevm", "hevs", "avis" };

    if (r->file.len < 12)
        return err_set(r->err, ERR_CORRUPT, "heif: the file has %zu bytes", r->file.len);
    if (memcmp(r->file.ptr + 8, "avif", 4) == 0)
        return err_set(r->err, ERR_HEIC, "heif: the file is an AVIF picture; of HEIF pictures only HEIC is supported");
    for (size_t i = 0; i < sizeof sequences / sizeof *sequences; i++)
        if (memcmp(r->file.ptr + 8, sequences[i], 4) == 0)
            return err_set(r->err, ERR_HEIC,
                           "heif: the file is a sequence of pictures (brand '%s'); one picture is expected",
                           sequences[i]);
    return ERR_OK;
}

/* Tiles are decoded in this thread: the jail's processor time is one thread's. */
static enum err_code open_file(struct reader *r)
{
    r->context = heif_context_alloc();
    if (!r->context)
        return err_set(r->err, ERR_NOMEM, "heif: no memory for a reader");
#if LIBHEIF_HAVE_VERSION(1, 13, 0)
    heif_context_set_max_decoding_threads(r->context, 0);
#endif
    heif_context_set_maximum_image_size_limit(r->context, 2 * IMAGE_MAX_SIDE); /* check_size() has the words */
    TRY(failed(r, heif_context_read_from_memory_without_copy(r->context, r->file.ptr, r->file.len, NULL)));
    return failed(r, heif_context_get_primary_image_handle(r->context, &r->handle));
}

static enum err_code check_size(const struct reader *r, int64_t width, int64_t height)
{
    if (width < 1 || height < 1)
        return err_set(r->err, ERR_CORRUPT, "heif: the picture has %lld x %lld pixels", (long long)width,
                       (long long)height);
    TRY(image_check_size(width, height, r->err));
    if (r->max_pixels > 0 && width * height > r->max_pixels)
        return err_set(r->err, ERR_TOO_LARGE,
                       "the picture has %lld x %lld = %lld pixels; at most %lld are accepted (MAX_PIXELS)",
                       (long long)width, (long long)height, (long long)(width * height), (long long)r->max_pixels);
    return ERR_OK;
}

static enum err_code check_range(const struct reader *r)
{
    struct heif_color_profile_nclx *nclx = NULL;
    struct heif_error e = heif_image_handle_get_nclx_color_profile(r->handle, &nclx);
    bool pq, hlg;

    if (e.code != heif_error_Ok || !nclx)
        return ERR_OK;
    pq = nclx->transfer_characteristics == heif_transfer_characteristic_ITU_R_BT_2100_0_PQ;
    hlg = nclx->transfer_characteristics == heif_transfer_characteristic_ITU_R_BT_2100_0_HLG;
    heif_nclx_color_profile_free(nclx);
    if (pq || hlg)
        return err_set(r->err, ERR_HEIC, "heif: the picture has high dynamic range (%s), which 8 bits do not hold",
                       pq ? "PQ" : "HLG");
    return ERR_OK;
}

/* --- the pixels --- */

static enum err_code decode(struct reader *r)
{
    struct heif_decoding_options *o = heif_decoding_options_alloc();
    struct heif_error e;

    if (!o)
        return err_set(r->err, ERR_NOMEM, "heif: no memory for a reader");
    o->convert_hdr_to_8bit = 1;
#if LIBHEIF_HAVE_VERSION(1, 15, 0)
    o->decoder_id = DECODER;
#endif
    r->has_alpha = heif_image_handle_has_alpha_channel(r->handle);
    e = heif_decode_image(r->handle, &r->decoded, heif_colorspace_RGB,
                          r->has_alpha ? heif_chroma_interleaved_RGBA : heif_chroma_interleaved_RGB, o);
    heif_decoding_options_free(o);
    return failed(r, e);
}

/* libheif shows what it can of a damaged picture, and warns. */
static enum err_code check_warnings(const struct reader *r)
{
    struct heif_error warning = { 0 };

#if LIBHEIF_HAVE_VERSION(1, 13, 0)
    if (heif_image_get_decoding_warnings(r->decoded, 0, &warning, 1) > 0)
        return err_set(r->err, ERR_CORRUPT, "heif: %s", warning.message ? warning.message : "the picture is damaged");
#endif
    (void)r, (void)warning;
    return ERR_OK;
}

/* c over a background, both 0 to 255; premultiplied: c has been multiplied by a. */
static uint8_t over(unsigned c, unsigned a, unsigned background, bool premultiplied)
{
    unsigned sum = (premultiplied ? 255 * c : c * a) + background * (255 - a) + 127;

    return (uint8_t)(sum / 255 < 255 ? sum / 255 : 255);
}

static void copy_row(const struct reader *r, const uint8_t *from, size_t y)
{
    size_t width = (size_t)r->image.width;
    bool premultiplied = heif_image_handle_is_premultiplied_alpha(r->handle);
    uint8_t *rgb = r->image.pixels + y * width * 3;
    unsigned background = r->alpha == IMAGE_ALPHA_ON_WHITE ? 255 : 0;

    if (!r->has_alpha) {
        memcpy(rgb, from, width * 3);
        return;
    }
    for (size_t x = 0; x < width; x++) {
        r->notes.alpha[y * width + x] = from[4 * x + 3];
        for (size_t c = 0; c < 3; c++)
            rgb[3 * x + c] = r->alpha == IMAGE_ALPHA_DROP
                                 ? from[4 * x + c]
                                 : over(from[4 * x + c], from[4 * x + 3], background, premultiplied);
    }
}

/* The size is that of what was decoded, which a file may contradict. */
static enum err_code take_pixels(struct reader *r)
{
    int width = heif_image_get_width(r->decoded, heif_channel_interleaved), stride = 0;
    int height = heif_image_get_height(r->decoded, heif_channel_interleaved);
    const uint8_t *plane = heif_image_get_plane_readonly(r->decoded, heif_channel_interleaved, &stride);

    TRY(check_size(r, width, height));
    if (!plane || stride < width * (r->has_alpha ? 4 : 3) ||
        heif_image_get_bits_per_pixel_range(r->decoded, heif_channel_interleaved) != 8)
        return err_set(r->err, ERR_CORRUPT, "heif: the picture was decoded to an unknown layout");
    TRY(image_new(r->arena, width, height, 3, &r->image, r->err));
    if (r->has_alpha)
        TRY(arena_alloc(r->arena, (size_t)width, (size_t)height, &r->notes.alpha, r->err));
    for (int y = 0; y < height; y++)
        copy_row(r, plane + (size_t)y * (size_t)stride, (size_t)y);
    return ERR_OK;
}

/* --- the notes --- */

static enum err_code take_profile(struct reader *r)
{
    enum heif_color_profile_type type = heif_image_handle_get_color_profile_type(r->handle);
    size_t n = heif_image_handle_get_raw_color_profile_size(r->handle);
    char *profile = NULL;

    if ((type != heif_color_profile_type_rICC && type != heif_color_profile_type_prof) || n > ICC_MAX_BYTES)
        return ERR_OK;
    TRY(arena_alloc(r->arena, n, 1, &profile, r->err));
    TRY(failed(r, heif_image_handle_get_raw_color_profile(r->handle, profile)));
    r->notes.icc = (struct span){ profile, n };
    return ERR_OK;
}

/* The block begins with a u32: how many bytes lie between it and the TIFF data, which are "Exif\0\0" or nothing. */
static enum err_code take_exif(struct reader *r)
{
    enum { OFFSET_BYTES = 4 };
    heif_item_id id;
    char *block = NULL;
    size_t n, offset;

    if (heif_image_handle_get_list_of_metadata_block_IDs(r->handle, "Exif", &id, 1) < 1)
        return ERR_OK;
    n = heif_image_handle_get_metadata_size(r->handle, id);
    if (n <= OFFSET_BYTES || n > r->file.len)
        return ERR_OK;
    TRY(arena_alloc(r->arena, n, 1, &block, r->err));
    if (heif_image_handle_get_metadata(r->handle, id, block).code != heif_error_Ok)
        return ERR_OK;
    offset = span_be32(block);
    if (offset >= n - OFFSET_BYTES)
        return ERR_OK;
    offset += OFFSET_BYTES;
    return exif_copy(r->arena, (struct span){ block + offset, n - offset }, &r->notes.exif, r->err);
}

/* Apple's gain map is an auxiliary picture of this type; that of ISO 21496-1 is an item of its own. */
static bool has_gain_map(const struct reader *r)
{
    enum { MAX = 16, FILTER = LIBHEIF_AUX_IMAGE_FILTER_OMIT_ALPHA | LIBHEIF_AUX_IMAGE_FILTER_OMIT_DEPTH };
    heif_item_id ids[MAX];
    int n = heif_image_handle_get_list_of_auxiliary_image_IDs(r->handle, FILTER, ids, MAX);
    bool found = false;

    for (int i = 0; i < n && i < MAX && !found; i++) {
        struct heif_image_handle *aux = NULL;
        const char *type = NULL;

        if (heif_image_handle_get_auxiliary_image_handle(r->handle, ids[i], &aux).code != heif_error_Ok)
            continue;
        found = heif_image_handle_get_auxiliary_type(aux, &type).code == heif_error_Ok && type &&
                strstr(type, "hdrgainmap");
        if (type)
            heif_image_handle_free_auxiliary_types(aux, &type);
        heif_image_handle_release(aux);
    }
    return found;
}

static enum err_code read_all(struct reader *r)
{
    TRY(check_brand(r));
    TRY(open_file(r));
    TRY(check_size(r, heif_image_handle_get_width(r->handle), heif_image_handle_get_height(r->handle)));
    TRY(check_range(r));
    TRY(decode(r));
    TRY(check_warnings(r));
    TRY(take_pixels(r));
    r->notes.orientation = 1;
    r->notes.has_gain_map = has_gain_map(r);
    TRY(take_exif(r));
    return take_profile(r);
}

enum err_code heif_read(struct arena *a, struct span file, enum image_alpha alpha, int64_t max_pixels,
                        struct image *ret, struct image_notes *ret_notes, struct err *err)
{
    struct reader r = { .file = file, .arena = a, .alpha = alpha, .max_pixels = max_pixels, .err = err };
    enum err_code rc = read_all(&r);

    heif_image_release(r.decoded);
    heif_image_handle_release(r.handle);
    heif_context_free(r.context);
    if (rc)
        return rc;
    *ret = r.image;
    if (ret_notes)
        *ret_notes = r.notes;
    return ERR_OK;
}

#else

const char *heif_unavailable_reason(void)
{
    return "this program was built without libheif";
}

struct span heif_sample(void)
{
    return (struct span){ NULL, 0 };
}

void heif_prepare(void) {}

enum err_code heif_read(struct arena *a, struct span file, enum image_alpha alpha, int64_t max_pixels,
                        struct image *ret, struct image_notes *ret_notes, struct err *err)
{
    (void)a, (void)file, (void)alpha, (void)max_pixels, (void)ret, (void)ret_notes;
    return err_set(err, ERR_HEIC, "%s", heif_unavailable_reason());
}

#endif
