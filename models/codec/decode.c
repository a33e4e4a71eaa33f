#include "models/codec/decode.h"

#include <math.h>
#include <pthread.h>

#include "models/codec/heif.h"
#include "models/codec/jpeg.h"
#include "models/codec/jpeg_layout.h"
#include "models/codec/png.h"
#include "models/codec/webp.h"

/*
 * 1. u32 box size    2. "ftyp"    3. brand    4. u32 version    5. compatible brands, to the end of the box
 * "mif1" and "msf1" mean HEIF with any coding; the other brands name the coding, too.
 */
static bool is_heif(struct span file)
{
    static const char brands[][5] = { "heic", "heix", "heim", "heis", "hevc", "hevx", "hevm",
                                      "hevs", "mif1", "msf1", "avif", "avis", "mif2" };
    enum { AT_BRAND = 8, AT_VERSION = 12, BOX_MAX = 512 };
    size_t end;

    if (file.len < 16 || memcmp(file.ptr + 4, "ftyp", 4) != 0)
        return false;
    end = (size_t)(unsigned char)file.ptr[2] << 8 | (unsigned char)file.ptr[3];
    end = end > BOX_MAX ? BOX_MAX : end;
    end = end > file.len ? file.len : end;
    for (size_t at = AT_BRAND; at == AT_BRAND || at + 4 <= end; at += 4)
        for (size_t i = 0; i < sizeof brands / sizeof *brands && at != AT_VERSION; i++)
            if (memcmp(file.ptr + at, brands[i], 4) == 0)
                return true;
    return false;
}

static bool is_jpeg(struct span file)
{
    return span_starts(file, "\xff\xd8\xff");
}

static bool is_png(struct span file)
{
    return span_starts(file, "\x89PNG\r\n\x1a\n");
}

static bool png_size(struct span file, int64_t *ret_width, int64_t *ret_height)
{
    enum { AT_WIDTH = 16, AT_HEIGHT = 20, AT_END = 24 }; /* signature, length and type of IHDR, width, height */

    if (file.len < AT_END)
        return false;
    *ret_width = span_be32(file.ptr + AT_WIDTH);
    *ret_height = span_be32(file.ptr + AT_HEIGHT);
    return *ret_width > 0 && *ret_height > 0;
}

/* The size that the file's header states, for the operator's limit; the limits of image.h are the readers' own. A
 * header without one, or a damaged one, is for the reader to refuse. */
static enum err_code check_size(struct span file, int64_t max_pixels, struct err *err)
{
    int64_t width = 0, height = 0;
    bool is_stated = (is_jpeg(file) && jpeg_layout_size(file, &width, &height)) ||
                     (is_png(file) && png_size(file, &width, &height)) ||
                     (webp_is(file) && webp_size(file, &width, &height));

    return is_stated ? image_check_pixels(width, height, max_pixels, err) : ERR_OK;
}

static enum err_code read_kind(struct arena *a, struct span file, const struct decode_options *options,
                               struct image *ret, struct image_notes *ret_notes, struct err *err)
{
    if (is_jpeg(file))
        return jpeg_read(a, file, ret, ret_notes, err);
    if (is_png(file))
        return png_read(a, file, options->alpha, ret, ret_notes, err);
    if (webp_is(file))
        return webp_read(a, file, options->alpha, ret, ret_notes, err);
    if (is_heif(file))
        return heif_read(a, file, options->alpha, options->max_pixels, ret, ret_notes, err);
    return err_set(err, ERR_NOT_AN_IMAGE, "the file, of %zu bytes, is neither JPEG nor PNG nor WebP", file.len);
}

enum err_code image_decode_here(struct arena *a, struct span file, const struct decode_options *options,
                                struct image *ret, struct image_notes *ret_notes, struct err *err)
{
    if (file.len > IMAGE_MAX_FILE_BYTES)
        return err_set(err, ERR_TOO_LARGE, "the file has %.1f MiB; at most %d MiB are accepted",
                       ceil(10 * (double)file.len / (1 << 20)) / 10, IMAGE_MAX_FILE_BYTES >> 20);
    TRY(check_size(file, options->max_pixels, err));
    TRY(read_kind(a, file, options, ret, ret_notes, err));
    if (ret_notes && ret_notes->rows_missing && !options->rows_may_be_missing)
        return err_set(err, ERR_CORRUPT, "the last %d of %d rows of the picture are missing or damaged",
                       ret_notes->rows_missing, ret->height);
    return ERR_OK;
}

/* --- in a process of its own --- */

static void prepare(struct span file)
{
    if (is_heif(file))
        heif_prepare();
}

static enum err_code decode_jailed(struct arena *a, struct span file, const void *options, struct image *ret,
                                   struct image_notes *ret_notes, struct err *err)
{
    return image_decode_here(a, file, options, ret, ret_notes, err);
}

const struct jail_program decode_jail_program = { prepare, decode_jailed };

/* Whether the library that is installed decodes is found in a jail, where it is loaded. */
static struct err *the_trial(void)
{
    static struct err err; /* of this process, found once */

    return &err;
}

static void try_heic(void)
{
    const struct decode_options options = { .jail = true };
    const struct jail_limits limits = jail_limits_for(1);
    struct err *err = the_trial();
    struct image ignored;
    struct arena a;

    if (arena_init(&a, 1 << 20, err))
        return;
    err_ignore(jail_decode(&a, heif_sample(), (struct span){ (const char *)&options, sizeof options }, &limits,
                           &ignored, NULL, err));
    arena_done(&a);
}

static const char *library_refusal(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, try_heic);
    return the_trial()->code ? the_trial()->msg : NULL;
}

const char *decode_heic_refusal(const struct decode_options *options)
{
    if (!options->heic)
        return "HEIC=off";
    if (heif_unavailable_reason())
        return heif_unavailable_reason();
    if (!options->jail)
        return "DECODE_JAIL=off, and HEIC is decoded in a process without rights or not at all";
    return jail_unavailable_reason() ? jail_unavailable_reason() : library_refusal();
}

static bool is_jailed(const struct decode_options *options)
{
    return options->jail && !jail_unavailable_reason();
}

enum err_code image_decode(struct arena *a, struct span file, const struct decode_options *options, struct image *ret,
                           struct image_notes *ret_notes, struct err *err)
{
    const struct jail_limits limits = jail_limits_for(options->max_pixels);
    const struct span bytes = { (const char *)options, sizeof *options };
    const char *refusal;

    if (file.len > IMAGE_MAX_FILE_BYTES)
        return image_decode_here(a, file, options, ret, ret_notes, err); /* which says so */
    refusal = is_heif(file) ? decode_heic_refusal(options) : NULL;
    if (refusal)
        return err_set(err, ERR_HEIC, "the file is an HEIF picture (HEIC, AVIF), which is not decoded here: %s",
                       refusal);
    return is_jailed(options) ? jail_decode(a, file, bytes, &limits, ret, ret_notes, err)
                              : image_decode_here(a, file, options, ret, ret_notes, err);
}
