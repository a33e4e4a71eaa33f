#include "models/picture/picture.h"

#include "models/codec/decode.h"
#include "models/codec/icc.h"
#include "models/codec/jpeg.h"
#include "models/image/mask.h"
#include "models/image/orient.h"
#include "models/image/resize.h"

/* Address space, in bytes a pixel of the largest mask: 4 as decoded with alpha, 1 for alpha alone, 3 when rotated, 1 as
 * grey, 1 as a mask. */
#define MASK_ARENA_BYTES ((size_t)2 << 30)

struct decoded {
    struct image stored;
    struct image_notes notes;
};

/* What picture_read() was given. */
struct files {
    struct span original, mask;
    const struct picture_settings *settings;
};

static enum err_code check_mask(const struct image *mask, const struct picture_settings *settings,
                                struct picture_record *record, struct err *err)
{
    const struct mask_extent e = mask_extent(mask);
    const double share = (double)e.n_set / ((double)mask->width * mask->height);

    record->marked_share = share;
    if (e.n_set == 0)
        return err_set(err, ERR_MASK_EMPTY, "no pixel is marked, so there is nothing to repaint");
    if (e.n_set == (int64_t)mask->width * mask->height)
        return err_set(err, ERR_MASK_FULL, "every pixel is marked, so there is nothing to keep");
    if (settings->mask_max_share > 0 && share > settings->mask_max_share)
        return err_set(err, ERR_MASK_LARGE, "%.0f %% of the photo is marked; at most %.0f %% can be painted",
                       100 * share, 100 * settings->mask_max_share);
    return ERR_OK;
}

static struct decode_options decoding(const struct picture_settings *s, enum image_alpha alpha)
{
    return (
        struct decode_options){ .alpha = alpha, .max_pixels = s->max_pixels, .jail = s->decode_jail, .heic = s->heic };
}

static enum err_code read_mask(struct arena *a, const struct files *f, struct image *ret, struct err *err)
{
    const struct decode_options options = decoding(f->settings, IMAGE_ALPHA_ON_BLACK);
    struct decoded d;
    struct image upright;

    TRY(image_decode(a, f->mask, &options, &d.stored, &d.notes, err));
    TRY(image_orient(a, &d.stored, d.notes.orientation, &upright, err));
    return mask_from_image(a, &upright, ret, err);
}

/* Decodes the photo into `a` and the mask, at its own size, into `scratch`, in two threads. When both fail, the photo's
 * error is reported. */
static enum err_code decode_both(struct arena *a, struct arena *scratch, const struct files *f, struct decoded *photo,
                                 struct image *mask, struct err *err)
{
    struct decode_options options = decoding(f->settings, IMAGE_ALPHA_ON_WHITE);
    struct err photo_err = { 0 }, mask_err = { 0 };
    enum err_code photo_rc = ERR_OK, mask_rc = ERR_OK;

    options.rows_may_be_missing = true;
#pragma omp parallel sections
    {
#pragma omp section
        photo_rc = image_decode(a, f->original, &options, &photo->stored, &photo->notes, &photo_err);
#pragma omp section
        mask_rc = read_mask(scratch, f, mask, &mask_err);
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

static enum err_code take_photo(struct arena *a, const struct decoded *d, struct picture_input *in, struct err *err)
{
    enum err_code rc = make_rgb(a, d, in, err);

    if (rc)
        (void)err_prefix(err, "original");
    return rc;
}

static enum err_code take_mask(struct arena *a, const struct image *mask, const struct picture_settings *settings,
                               struct picture_input *in, struct picture_record *record, struct err *err)
{
    enum err_code rc = mask_fit(a, mask, in->photo.width, in->photo.height, &in->mask, err);

    rc = rc ? rc : check_mask(&in->mask, settings, record, err);
    if (rc)
        (void)err_prefix(err, "mask");
    return rc;
}

static enum err_code read_both(struct arena *a, struct arena *scratch, const struct files *f, struct picture_input *in,
                               struct picture_record *record, struct err *err)
{
    struct decoded photo;
    struct image mask;

    TRY(decode_both(a, scratch, f, &photo, &mask, err));
    TRY(take_photo(a, &photo, in, err));
    record->colour_space = in->colour->name;
    if (in->colour->unusable)
        picture_warn(record, "PROFILE_UNUSABLE");
    in->original = f->original;
    in->exif = photo.notes.exif;
    in->missing = image_box_of_last_rows(photo.stored.width, photo.stored.height, photo.notes.rows_missing,
                                         photo.notes.orientation);
    if (photo.notes.has_gain_map)
        picture_warn(record, "GAIN_MAP_DROPPED");
    return take_mask(a, &mask, f->settings, in, record, err);
}

enum err_code picture_read(struct arena *a, struct span original, struct span mask_file,
                           const struct picture_settings *settings, struct picture_input *ret,
                           struct picture_record *record, struct err *err)
{
    struct picture_input in;
    struct arena scratch;
    enum err_code rc;

    TRY(arena_init(&scratch, MASK_ARENA_BYTES, err));
    rc = read_both(a, &scratch, &(struct files){ original, mask_file, settings }, &in, record, err);
    arena_done(&scratch);
    if (!rc)
        *ret = in;
    return rc;
}
