#include "models/picture_job.h"

#include <math.h>

#include "models/image/composite.h"
#include "models/image/decode.h"
#include "models/image/icc.h"
#include "models/image/jpeg.h"
#include "models/image/mask.h"
#include "models/image/orient.h"
#include "models/image/resize.h"

static enum err_code decode_upright(struct arena *a, struct span file, enum image_alpha alpha, struct image *ret,
                                    struct image_notes *ret_notes, struct err *err)
{
    struct image_notes notes;
    struct image stored;
    enum err_code rc = image_decode(a, file, alpha, &stored, &notes, err);

    if (!rc)
        rc = image_orient(a, &stored, notes.orientation, ret, err);
    if (!rc)
        *ret_notes = notes;
    return rc;
}

static enum err_code read_photo(struct arena *a, struct span file, struct picture_input *in, struct err *err)
{
    struct image_notes notes;
    struct image upright;
    enum err_code rc = decode_upright(a, file, IMAGE_ALPHA_ON_WHITE, &upright, &notes, err);

    if (!rc)
        rc = image_to_rgb(a, &upright, &in->photo, err);
    if (rc) {
        (void)err_prefix(err, "original");
        return rc;
    }
    /* A grey or a four-colour file may bring a profile of its own kind: its colours are gone, so it goes too. */
    in->icc = upright.channels == 3 && icc_is_rgb(notes.icc) ? notes.icc : (struct span){ NULL, 0 };
    return ERR_OK;
}

static enum err_code check_mask(const struct image *mask, struct err *err)
{
    struct mask_extent e = mask_extent(mask);

    if (e.n_set == 0)
        return err_set(err, ERR_MASK_EMPTY, "no pixel is marked");
    if (e.n_set == (int64_t)mask->width * mask->height)
        return err_set(err, ERR_MASK_FULL, "every pixel is marked");
    return ERR_OK;
}

static enum err_code read_mask(struct arena *a, struct span file, struct picture_input *in, struct err *err)
{
    struct image upright, mask;
    struct image_notes notes;
    enum err_code rc = decode_upright(a, file, IMAGE_ALPHA_ON_BLACK, &upright, &notes, err);

    if (!rc)
        rc = mask_from_image(a, &upright, &mask, err);
    if (!rc)
        rc = mask_fit(a, &mask, in->photo.width, in->photo.height, &in->mask, err);
    if (!rc)
        rc = check_mask(&in->mask, err);
    if (rc)
        (void)err_prefix(err, "mask");
    return rc;
}

enum err_code picture_input(struct arena *a, struct span original, struct span mask, struct picture_input *ret,
                            struct err *err)
{
    struct picture_input in;
    enum err_code rc = read_photo(a, original, &in, err);

    if (!rc)
        rc = read_mask(a, mask, &in, err);
    if (!rc)
        *ret = in;
    return rc;
}

static int clamp_int(int x, int low, int high)
{
    return x < low ? low : x > high ? high : x;
}

/* Up to the next multiple, so that no detail is lost for the sake of divisibility. */
static int paint_side(int side, double scale)
{
    int n = (int)ceil(side * scale / PAINT_MULTIPLE - 1e-9) * PAINT_MULTIPLE;

    return clamp_int(n, PAINT_SHORT_SIDE, PAINT_LONG_SIDE);
}

struct picture_plan picture_plan(int photo_width, int photo_height)
{
    int long_side = photo_width > photo_height ? photo_width : photo_height;
    double scale = long_side > PAINT_LONG_SIDE ? (double)PAINT_LONG_SIDE / long_side : 1.0;

    /* The feather covers about two pixels of what the model painted: enough to hide the step, too little to show. */
    return (struct picture_plan){ paint_side(photo_width, scale), paint_side(photo_height, scale),
                                  clamp_int((int)lround(2.0 / scale), 2, COMPOSITE_FEATHER_MAX) };
}

enum err_code picture_paint_input(struct arena *a, const struct picture_input *in, const struct picture_plan *plan,
                                  struct picture_paint_input *ret, struct err *err)
{
    struct picture_paint_input out;
    enum err_code rc = image_resize(a, &in->photo, plan->width, plan->height, &out.picture, err);

    if (!rc)
        rc = mask_cover(a, &in->mask, plan->width, plan->height, &out.mask, err);
    if (!rc)
        *ret = out;
    return rc;
}

enum err_code picture_compose(struct arena *a, struct picture_input *in, const struct picture_plan *plan,
                              const struct image *paint, struct err *err)
{
    struct arena_mark scratch = arena_mark(a);
    struct image full;
    enum err_code rc;

    if (paint->width != plan->width || paint->height != plan->height || paint->channels != 3)
        return err_set(err, ERR_INVALID, "compose: a paint of %d x %d x %d for a plan of %d x %d", paint->width,
                       paint->height, paint->channels, plan->width, plan->height);
    rc = image_resize(a, paint, in->photo.width, in->photo.height, &full, err);
    if (!rc)
        rc = composite(a, &in->photo, &full, &in->mask, plan->feather, err);
    arena_rewind(a, scratch);
    return rc;
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

enum err_code picture_encode(struct arena *a, const struct picture_input *in, struct picture_files *ret,
                             struct err *err)
{
    const struct jpeg_options as_edited = { EDITED_QUALITY, JPEG_CHROMA_FULL, in->icc };
    const struct jpeg_options as_preview = { PREVIEW_QUALITY, JPEG_CHROMA_HALF, in->icc };
    struct picture_files files;
    struct image small;
    enum err_code rc = jpeg_write(a, &in->photo, &as_edited, &files.edited, err);

    if (!rc)
        rc = shrink_to_preview(a, &in->photo, &small, err);
    if (!rc)
        rc = jpeg_write(a, &small, &as_preview, &files.preview, err);
    if (!rc)
        *ret = files;
    return rc;
}
