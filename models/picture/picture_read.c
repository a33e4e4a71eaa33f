#include "models/picture/picture.h"

#include <string.h>

#include "models/codec/decode.h"
#include "models/notes/icc.h"
#include "models/image/mask.h"
#include "models/image/orient.h"

/* Address space, in bytes a pixel of the largest mask: 4 as decoded with alpha, 1 for alpha alone, and what
 * mask_decide() takes. */
#define MASK_ARENA_BYTES ((size_t)2 << 30)

struct decoded {
    struct image stored;
    struct image_notes notes;
};

/* What picture_read() was given. */
struct files {
    const struct picture_source *source;
    const struct picture_settings *settings;
};

static struct decode_options decoding(const struct picture_settings *s, enum image_alpha alpha)
{
    return (
        struct decode_options){ .alpha = alpha, .max_pixels = s->max_pixels, .jail = s->decode_jail, .heic = s->heic };
}

/* Decodes the photo into `a` and the mask, at its own size, into `scratch`, in two threads. When both fail, the photo's
 * error is reported. */
static enum err_code decode_both(struct arena *a, struct arena *scratch, const struct files *f, struct decoded *photo,
                                 struct decoded *mask, struct err *err)
{
    struct decode_options of_photo = decoding(f->settings, IMAGE_ALPHA_ON_WHITE);
    const struct decode_options of_mask = decoding(f->settings, IMAGE_ALPHA_RAW);
    struct err photo_err = { 0 }, mask_err = { 0 };
    enum err_code photo_rc = ERR_OK, mask_rc = ERR_OK;

    of_photo.rows_may_be_missing = true;
#pragma omp parallel sections
    {
#pragma omp section
        photo_rc = image_decode(a, f->source->original, &of_photo, &photo->stored, &photo->notes, &photo_err);
#pragma omp section
        mask_rc = image_decode(scratch, f->source->mask, &of_mask, &mask->stored, &mask->notes, &mask_err);
    }
    if (photo_rc)
        return err_set(err, photo_rc, "original: %s", photo_err.msg);
    return mask_rc ? err_set(err, mask_rc, "mask: %s", mask_err.msg) : ERR_OK;
}

static enum err_code make_rgb(struct arena *a, const struct decoded *d, struct picture_input *in, struct err *err)
{
    struct image upright;

    TRY(image_orient(a, &d->stored, d->notes.orientation, &upright, err));
    if (upright.channels == 1)
        TRY(colour_grey_to_srgb(a, d->notes.icc, &upright, err));
    TRY(image_to_rgb(a, &upright, &in->photo, err));
    TRY(arena_alloc(a, 1, sizeof *in->colour, &in->colour, err));
    TRY(colour_open(a, d->notes.icc, in->colour, err));
    /* the profile of a grey or four-colour file does not fit the RGB pixels that were made of it */
    in->icc = upright.channels == 3 && icc_is_rgb(d->notes.icc) ? d->notes.icc : (struct span){ NULL, 0 };
    return ERR_OK;
}

static enum err_code take_photo(struct arena *a, const struct decoded *d, const struct files *f,
                                struct picture_input *in, struct picture_record *record, struct err *err)
{
    enum err_code rc = make_rgb(a, d, in, err);

    if (rc) {
        (void)err_prefix(err, "original");
        return rc;
    }
    in->original = f->source->original;
    in->exif = d->notes.exif;
    in->missing =
        image_box_of_last_rows(d->stored.width, d->stored.height, d->notes.rows_missing, d->notes.orientation);
    record->colour_space = in->colour->name;
    if (in->colour->unusable)
        picture_warn(record, "PROFILE_UNUSABLE");
    if (d->notes.has_gain_map)
        picture_warn(record, "GAIN_MAP_DROPPED");
    return ERR_OK;
}

/* PNG, and WebP whose pixels are in a lossless chunk, which is among the first. */
static bool is_lossless(struct span file)
{
    enum { CHUNKS_BYTES = 4096 };
    size_t n = file.len < CHUNKS_BYTES ? file.len : CHUNKS_BYTES;

    return span_starts(file, "\x89PNG") || (span_starts(file, "RIFF") && memmem(file.ptr, n, "VP8L", 4));
}

static enum err_code fit_mask(struct arena *a, struct arena *scratch, const struct files *f,
                              const struct decoded *decoded, int photo_orientation, struct picture_input *in,
                              struct mask_decision *ret, struct err *err)
{
    const struct mask_file file = { .stored = decoded->stored,
                                    .alpha = decoded->notes.alpha,
                                    .index = decoded->notes.index,
                                    .orientation = decoded->notes.orientation,
                                    .lossy = !is_lossless(f->source->mask) };
    const struct mask_photo photo = { &in->photo, photo_orientation };
    struct image mask;

    TRY(mask_decide(scratch, &file, &photo, &f->source->wishes, &mask, ret, err));
    return mask_fit(a, &mask, in->photo.width, in->photo.height, &in->mask, err);
}

/* Specks and holes go, and a shadow comes in where that is wished. */
static enum err_code settle_mask(struct arena *a, const struct picture_settings *settings, struct picture_input *in,
                                 struct picture_record *record, struct err *err)
{
    const int64_t least = mask_least_pixels(in->mask.width, in->mask.height);

    TRY(mask_clean(a, &in->mask, least, &record->cleaning, err));
    TRY(mask_check_share(&in->mask, settings->mask_max_share, &record->marked_share, err));
    if (!settings->shadow)
        return ERR_OK;
    TRY(shadow_grow(a, &in->photo, &in->mask, &record->shadow, err));
    record->marked_share += (double)record->shadow.added / (double)image_bytes(&in->mask);
    return ERR_OK;
}

static enum err_code read_both(struct arena *a, struct arena *scratch, const struct files *f, struct picture_input *in,
                               struct picture_record *record, struct err *err)
{
    struct decoded photo = { 0 }, mask = { 0 };
    enum err_code rc;

    TRY(decode_both(a, scratch, f, &photo, &mask, err));
    TRY(take_photo(a, &photo, f, in, record, err));
    rc = fit_mask(a, scratch, f, &mask, photo.notes.orientation, in, &record->mask, err);
    rc = rc ? rc : settle_mask(a, f->settings, in, record, err);
    if (rc)
        (void)err_prefix(err, "mask");
    return rc;
}

enum err_code picture_read(struct arena *a, const struct picture_source *source,
                           const struct picture_settings *settings, struct picture_input *ret,
                           struct picture_record *record, struct err *err)
{
    struct picture_input in = { 0 };
    struct arena scratch;
    enum err_code rc;

    TRY(arena_init(&scratch, MASK_ARENA_BYTES, err));
    rc = read_both(a, &scratch, &(struct files){ source, settings }, &in, record, err);
    arena_done(&scratch);
    if (!rc)
        *ret = in;
    return rc;
}
