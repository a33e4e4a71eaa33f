#include "models/picture/picture.h"

#include <math.h>
#include <string.h>

#include "models/image/mask.h"
#include "models/image/resize.h"

static double smallest_scale(const struct crop_plan *plan)
{
    double scale = 1;

    for (int i = 0; i < plan->n; i++)
        scale = plan->crops[i].scale < scale ? plan->crops[i].scale : scale;
    return scale;
}

/* What the file has lost is a strip along an edge, so a box that reaches into it stands for what is in the box. */
static enum err_code check_missing(const struct picture_input *in, struct picture_record *record, struct err *err)
{
    const struct image_box m = in->missing;

    if (m.left >= m.right || m.top >= m.bottom)
        return ERR_OK;
    for (int i = 0; i < record->plan.n; i++) {
        const struct image_box h = record->plan.crops[i].hole;

        if (h.left < m.right && m.left < h.right && h.top < m.bottom && m.top < h.bottom)
            return err_set(err, ERR_CORRUPT,
                           "original: the file ends too early, and the mask reaches into what is missing");
    }
    picture_warn(record, "PHOTO_TAIL_DAMAGED");
    return ERR_OK;
}

/* How far the mask grows depends on the scale, and the scale on what the grown mask covers: a larger one is planned
 * until it is enough. */
enum err_code picture_plan(struct arena *a, const struct picture_input *in, const struct picture_settings *settings,
                           struct picture_record *record, struct err *err)
{
    int long_side = in->photo.width > in->photo.height ? in->photo.width : in->photo.height, planned;
    double scale = 1;

    do {
        record->edge = paste_edge_choose(long_side, scale, settings->mask_grow_px, settings->mask_feather_px);
        planned = record->edge.grow;
        TRY(crop_plan(a, &in->mask, planned, settings->geometry, &record->plan, err));
        scale = fmin(smallest_scale(&record->plan), scale);
        record->edge = paste_edge_choose(long_side, scale, settings->mask_grow_px, settings->mask_feather_px);
    } while (record->edge.grow > planned);
    return check_missing(in, record, err);
}

static int width_of(struct image_box b)
{
    return b.right - b.left;
}

static int height_of(struct image_box b)
{
    return b.bottom - b.top;
}

static struct image_box box_in(struct image_box b, struct image_box outer)
{
    return (struct image_box){ b.left - outer.left, b.top - outer.top, b.right - outer.left, b.bottom - outer.top };
}

static enum err_code copy_part(struct arena *a, const struct image *src, struct image_box box, struct image *ret,
                               struct err *err)
{
    return image_resize_box(a, src, src->width, src->height, box, ret, err);
}

/* The place that is seen at i in a mirror at either end of n places. */
static int mirrored(int i, int n)
{
    i %= 2 * n;
    return i < n ? i : 2 * n - 1 - i;
}

/* The picture with what is beyond its right and lower edges mirrored in. */
static enum err_code pad(struct arena *a, const struct image *src, int width, int height, struct image *ret,
                         struct err *err)
{
    const size_t c = (size_t)src->channels;
    struct image dst;

    TRY(image_new(a, width, height, src->channels, &dst, err));
    for (int y = 0; y < height; y++) {
        const uint8_t *from = src->pixels + (size_t)mirrored(y, src->height) * (size_t)src->width * c;
        uint8_t *to = dst.pixels + (size_t)y * (size_t)width * c;

        memcpy(to, from, (size_t)src->width * c);
        for (int x = src->width; x < width; x++)
            memcpy(to + (size_t)x * c, from + (size_t)mirrored(x, src->width) * c, c);
    }
    *ret = dst;
    return ERR_OK;
}

/* The grown mask in the crop, pixel by pixel of the photo. */
static enum err_code hole_in_crop(struct arena *a, const struct crop *c, const struct paste_edge *e,
                                  const uint16_t *distance, struct image *ret, struct err *err)
{
    const struct image_box at = box_in(c->hole, c->box);
    const int most = e->grow * e->grow;
    struct image hole;

    TRY(image_new(a, width_of(c->box), height_of(c->box), 1, &hole, err));
    for (int y = at.top; y < at.bottom; y++) {
        uint8_t *row = hole.pixels + (size_t)y * (size_t)hole.width + at.left;

        for (int x = 0; x < width_of(at); x++)
            row[x] = *distance++ <= most ? 255 : 0;
    }
    *ret = hole;
    return ERR_OK;
}

static enum err_code fit_picture(struct arena *a, const struct picture_input *in, const struct crop *c,
                                 struct image *ret, struct err *err)
{
    struct image codes, part;

    TRY(copy_part(a, &in->photo, c->box, &codes, err));
    TRY(colour_image_to_srgb(in->colour, a, &codes, &part, err));
    return crop_is_native(c) ? pad(a, &part, c->fill_width, c->fill_height, ret, err)
                             : image_resize(a, &part, c->fill_width, c->fill_height, ret, err);
}

static enum err_code fit_mask(struct arena *a, const struct crop *c, const struct paste_edge *e,
                              const uint16_t *distance, struct image *ret, struct err *err)
{
    struct image hole;

    TRY(hole_in_crop(a, c, e, distance, &hole, err));
    return crop_is_native(c) ? pad(a, &hole, c->fill_width, c->fill_height, ret, err)
                             : mask_cover(a, &hole, c->fill_width, c->fill_height, ret, err);
}

enum err_code picture_prepare(struct arena *a, const struct picture_input *in, const struct picture_record *record,
                              int crop, struct picture_model_input *ret, struct err *err)
{
    const struct crop *c = &record->plan.crops[crop];
    struct picture_model_input out;

    TRY(distance_squared(a, &in->mask, c->hole, record->edge.grow, &out.distance, err));
    TRY(fit_picture(a, in, c, &out.picture, err));
    TRY(fit_mask(a, c, &record->edge, out.distance, &out.mask, err));
    *ret = out;
    return ERR_OK;
}

static enum err_code to_srgb(struct arena *a, const struct colour *space, const struct image *codes,
                             struct image_f32 *ret, struct err *err)
{
    TRY(image_f32_new(a, codes->width, codes->height, ret, err));
    colour_to_srgb(space, codes->pixels, (size_t)codes->width * (size_t)codes->height, ret->pixels);
    return ERR_OK;
}

enum err_code picture_paint_from(struct arena *a, const struct image *source, const struct colour *space,
                                 const struct picture_record *record, int crop, struct image_f32 *ret, struct err *err)
{
    const struct crop *c = &record->plan.crops[crop];
    struct image part, padded;
    struct image_f32 exact;

    TRY(copy_part(a, source, c->box, &part, err));
    if (crop_is_native(c)) {
        TRY(pad(a, &part, c->fill_width, c->fill_height, &padded, err));
        return to_srgb(a, space, &padded, ret, err);
    }
    TRY(to_srgb(a, space, &part, &exact, err));
    return image_f32_resize_box(a, &exact, c->fill_width, c->fill_height,
                                (struct image_box){ 0, 0, c->fill_width, c->fill_height }, ret, err);
}

/* ---- what was painted ---- */

/* The hole of what was painted, at the photo's scale. */
static enum err_code fit_painted(struct arena *a, const struct crop *c, const struct image_f32 *painted,
                                 struct image_f32 *ret, struct err *err)
{
    bool native = crop_is_native(c);

    return image_f32_resize_box(a, painted, native ? painted->width : width_of(c->box),
                                native ? painted->height : height_of(c->box), box_in(c->hole, c->box), ret, err);
}

enum err_code picture_paste(struct arena *a, struct picture_input *in, const struct picture_model_input *model,
                            const struct image_f32 *painted, const struct picture_settings *settings,
                            struct picture_record *record, int crop, struct err *err)
{
    ARENA_SCRATCH(a);
    const struct crop *c = &record->plan.crops[crop];
    struct image_f32 patch;

    (void)settings;
    if (painted->width != c->fill_width || painted->height != c->fill_height)
        return err_set(err, ERR_INVALID, "paste: the painted picture is %d x %d; %d x %d is expected", painted->width,
                       painted->height, c->fill_width, c->fill_height);
    TRY(fit_painted(a, c, painted, &patch, err));
    colour_from_srgb(in->colour, patch.pixels, (size_t)patch.width * (size_t)patch.height, patch.pixels);
    return composite(a, &in->photo, c->hole, &patch, model->distance, &record->edge, err);
}
