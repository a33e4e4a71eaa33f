#include "models/picture/picture.h"

#include <math.h>

#include "models/picture/composite.h"
#include "models/codec/decode.h"
#include "models/codec/icc.h"
#include "models/codec/jpeg.h"
#include "models/image/mask.h"
#include "models/image/orient.h"
#include "models/image/resize.h"

/* Address space, in bytes a pixel of the largest mask: 4 as decoded with alpha, 1 for alpha alone, 3 when rotated, 1 as
 * grey, 1 as a mask. */
#define MASK_ARENA_BYTES    ((size_t)640 << 20)
#define PREVIEW_ARENA_BYTES ((size_t)64 << 20) /* for the photo between the passes of the resampling, and the file */

struct decoded {
    struct image stored;
    struct image_notes notes;
};

static enum err_code check_mask(const struct image *mask, struct err *err)
{
    struct mask_extent e = mask_extent(mask);

    if (e.n_set == 0)
        return err_set(err, ERR_MASK_EMPTY, "no pixel is marked, so there is nothing to repaint");
    if (e.n_set == (int64_t)mask->width * mask->height)
        return err_set(err, ERR_MASK_FULL, "every pixel is marked, so there is nothing to keep");
    return ERR_OK;
}

static enum err_code read_mask(struct arena *a, struct span file, struct image *ret, struct err *err)
{
    struct decoded d;
    struct image upright;

    TRY(image_decode(a, file, &(struct decode_options){ .alpha = IMAGE_ALPHA_ON_BLACK }, &d.stored, &d.notes, err));
    TRY(image_orient(a, &d.stored, d.notes.orientation, &upright, err));
    return mask_from_image(a, &upright, ret, err);
}

/* Decodes the photo into `a` and the mask, at its own size, into `scratch`, in two threads. When both fail, the photo's
 * error is reported. */
static enum err_code decode_both(struct arena *a, struct span original, struct arena *scratch, struct span mask_file,
                                 struct decoded *photo, struct image *mask, struct err *err)
{
    struct err photo_err = { 0 }, mask_err = { 0 };
    enum err_code photo_rc = ERR_OK, mask_rc = ERR_OK;

#pragma omp parallel sections
    {
#pragma omp section
        photo_rc = image_decode(a, original, &(struct decode_options){ .alpha = IMAGE_ALPHA_ON_WHITE }, &photo->stored,
                                &photo->notes, &photo_err);
#pragma omp section
        mask_rc = read_mask(scratch, mask_file, mask, &mask_err);
    }
    if (photo_rc)
        return err_set(err, photo_rc, "original: %s", photo_err.msg);
    return mask_rc ? err_set(err, mask_rc, "mask: %s", mask_err.msg) : ERR_OK;
}

static enum err_code make_rgb(struct arena *a, const struct decoded *d, struct picture_input *in, struct err *err)
{
    struct image upright;

    TRY(image_orient(a, &d->stored, d->notes.orientation, &upright, err));
    TRY(image_to_rgb(a, &upright, &in->photo, err));
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

static enum err_code take_mask(struct arena *a, const struct image *mask, struct picture_input *in, struct err *err)
{
    enum err_code rc = mask_fit(a, mask, in->photo.width, in->photo.height, &in->mask, err);

    rc = rc ? rc : check_mask(&in->mask, err);
    if (rc)
        (void)err_prefix(err, "mask");
    return rc;
}

static enum err_code read_both(struct arena *a, struct span original, struct arena *scratch, struct span mask_file,
                               struct picture_input *in, struct err *err)
{
    struct decoded photo;
    struct image mask;

    TRY(decode_both(a, original, scratch, mask_file, &photo, &mask, err));
    TRY(take_photo(a, &photo, in, err));
    return take_mask(a, &mask, in, err);
}

enum err_code picture_read(struct arena *a, struct span original, struct span mask_file, struct picture_input *ret,
                           struct err *err)
{
    struct picture_input in;
    struct arena scratch;
    enum err_code rc;

    TRY(arena_init(&scratch, MASK_ARENA_BYTES, err));
    rc = read_both(a, original, &scratch, mask_file, &in, err);
    arena_done(&scratch);
    if (!rc)
        *ret = in;
    return rc;
}

static int clamp_int(int x, int low, int high)
{
    return x < low ? low : x > high ? high : x;
}

/* Rounded up to a multiple, so that no detail is lost to divisibility. */
static int paint_side(int side, double scale)
{
    int n = (int)ceil(side * scale / PAINT_MULTIPLE - 1e-9) * PAINT_MULTIPLE;

    return clamp_int(n, PAINT_SHORT_SIDE, PAINT_LONG_SIDE);
}

struct picture_geometry picture_choose_geometry(int photo_width, int photo_height)
{
    int long_side = photo_width > photo_height ? photo_width : photo_height;
    double scale = long_side > PAINT_LONG_SIDE ? (double)PAINT_LONG_SIDE / long_side : 1.0;

    /* The feather covers about two pixels of what the model painted: enough to hide the step, too little to show. */
    return (struct picture_geometry){ paint_side(photo_width, scale), paint_side(photo_height, scale),
                                      clamp_int((int)lround(2.0 / scale), 2, COMPOSITE_FEATHER_MAX) };
}

enum err_code picture_prepare(struct arena *a, const struct picture_input *in, const struct picture_geometry *geometry,
                              struct picture_model_input *ret, struct err *err)
{
    struct picture_model_input out;

    TRY(image_resize(a, &in->photo, geometry->width, geometry->height, &out.picture, err));
    TRY(mask_cover(a, &in->mask, geometry->width, geometry->height, &out.mask, err));
    *ret = out;
    return ERR_OK;
}

enum err_code picture_compose(struct arena *a, struct picture_input *in, const struct picture_geometry *geometry,
                              const struct image *painted, struct err *err)
{
    ARENA_SCRATCH(a);
    struct image_box marked = mask_extent(&in->mask).box;
    struct image part;

    if (painted->width != geometry->width || painted->height != geometry->height || painted->channels != 3)
        return err_set(err, ERR_INVALID, "compose: the painted picture is %d x %d x %d; %d x %d x 3 is expected",
                       painted->width, painted->height, painted->channels, geometry->width, geometry->height);
    TRY(image_resize_box(a, painted, in->photo.width, in->photo.height, marked, &part, err));
    return composite(a, &in->photo, &part, marked, &in->mask, geometry->feather, err);
}

static enum err_code shrink_to_preview(struct arena *a, const struct image *photo, struct image *ret, struct err *err)
{
    int long_side = photo->width > photo->height ? photo->width : photo->height;
    double scale = (double)PREVIEW_LONG_SIDE / long_side;

    if (long_side <= PREVIEW_LONG_SIDE) {
        *ret = *photo;
        return ERR_OK;
    }
    return image_resize(a, photo, clamp_int((int)lround(photo->width * scale), 1, PREVIEW_LONG_SIDE),
                        clamp_int((int)lround(photo->height * scale), 1, PREVIEW_LONG_SIDE), ret, err);
}

static enum err_code write_preview(struct arena *a, const struct picture_input *in, struct picture_files *ret,
                                   struct err *err)
{
    const struct jpeg_options options = { .quality = PREVIEW_QUALITY, .chroma = JPEG_CHROMA_HALF, .icc = in->icc };
    struct image small;

    TRY(shrink_to_preview(a, &in->photo, &small, err));
    ret->preview_width = small.width;
    ret->preview_height = small.height;
    return jpeg_write(a, &small, &options, &ret->preview, err);
}

/* Writes both files at the same time, in two threads; ret->preview is from `scratch`. */
static enum err_code write_both(struct arena *a, struct arena *scratch, const struct picture_input *in,
                                struct picture_files *ret, struct err *err)
{
    const struct jpeg_options options = { .quality = EDITED_QUALITY, .chroma = JPEG_CHROMA_FULL, .icc = in->icc };
    struct err edited_err = { 0 }, preview_err = { 0 };
    enum err_code edited_rc = ERR_OK, preview_rc = ERR_OK;

#pragma omp parallel sections
    {
#pragma omp section
        edited_rc = jpeg_write(a, &in->photo, &options, &ret->edited, &edited_err);
#pragma omp section
        preview_rc = write_preview(scratch, in, ret, &preview_err);
    }
    if (edited_rc)
        return err_set(err, edited_rc, "edited: %s", edited_err.msg);
    return preview_rc ? err_set(err, preview_rc, "preview: %s", preview_err.msg) : ERR_OK;
}

enum err_code picture_encode(struct arena *a, const struct picture_input *in, struct picture_files *ret,
                             struct err *err)
{
    struct picture_files files = { .width = in->photo.width, .height = in->photo.height };
    struct arena scratch;
    char *copy = NULL;
    enum err_code rc;

    TRY(arena_init(&scratch, PREVIEW_ARENA_BYTES, err));
    rc = write_both(a, &scratch, in, &files, err);
    if (!rc)
        rc = span_dup(a, files.preview, &copy, err);
    arena_done(&scratch);
    files.preview.ptr = copy;
    if (!rc)
        *ret = files;
    return rc;
}
