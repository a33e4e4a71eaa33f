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
    if (box_is_empty(in->missing))
        return ERR_OK;
    for (int i = 0; i < record->plan.n; i++)
        if (box_meets(record->plan.crops[i].hole, in->missing))
            return err_set(err, ERR_CORRUPT,
                           "original: the file ends too early, and the mask reaches into what is missing");
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

/* The place that is seen at i in a mirror at either end of n places. */
static int mirrored(int i, int n)
{
    i %= 2 * n;
    return i < n ? i : 2 * n - 1 - i;
}

/* The picture with what is beyond its right and lower edges mirrored in; where nothing is, ret shares its pixels. */
static enum err_code pad(struct arena *a, const struct image *src, int width, int height, struct image *ret,
                         struct err *err)
{
    const size_t c = (size_t)src->channels;
    struct image dst;

    if (width == src->width && height == src->height) {
        *ret = *src;
        return ERR_OK;
    }
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

enum { VIEW_AROUND = 256 }; /* pixels around the hole that the scores look at; patch_match() takes 64 */

static struct image_box view_of(const struct crop *c)
{
    return box_grow(c->hole, VIEW_AROUND, c->box);
}

/* The hole and the paste in the view. */
static enum err_code draw_hole(struct arena *a, const struct paste_edge *e, struct picture_model_input *m,
                               struct err *err)
{
    const int most = e->grow * e->grow, width = box_width(m->view), height = box_height(m->view);
    float *share = NULL;

    TRY(image_new(a, width, height, 1, &m->hole, err));
    TRY(image_new(a, width, height, 1, &m->paste, err));
    TRY(paste_shares(a, e, &share, err));
    for (size_t i = 0; i < image_bytes(&m->hole); i++)
        if (m->distance[i] <= most) {
            m->hole.pixels[i] = 255;
            m->paste.pixels[i] = (uint8_t)lrintf(255 * share[m->distance[i]]);
        }
    return ERR_OK;
}

/* The grown mask in the crop, pixel by pixel of the photo. */
static enum err_code hole_in_crop(struct arena *a, const struct crop *c, const struct picture_model_input *m,
                                  struct image *ret, struct err *err)
{
    const struct image_box at = box_in(m->view, c->box);
    const size_t n = (size_t)m->hole.width;
    struct image hole;

    TRY(image_new(a, box_width(c->box), box_height(c->box), 1, &hole, err));
    for (int y = 0; y < m->hole.height; y++)
        memcpy(hole.pixels + (size_t)(at.top + y) * (size_t)hole.width + at.left, m->hole.pixels + (size_t)y * n, n);
    *ret = hole;
    return ERR_OK;
}

static enum err_code fit_picture(struct arena *a, const struct picture_input *in, const struct crop *c,
                                 struct image *ret, struct err *err)
{
    struct image codes, part;

    TRY(image_cut(a, &in->photo, c->box, &codes, err));
    TRY(colour_image_to_srgb(in->colour, a, &codes, &part, err));
    return crop_is_native(c) ? pad(a, &part, c->fill_width, c->fill_height, ret, err)
                             : image_resize(a, &part, c->fill_width, c->fill_height, ret, err);
}

static enum err_code fit_mask(struct arena *a, const struct crop *c, const struct picture_model_input *m,
                              struct image *ret, struct err *err)
{
    struct image hole;

    TRY(hole_in_crop(a, c, m, &hole, err));
    return crop_is_native(c) ? pad(a, &hole, c->fill_width, c->fill_height, ret, err)
                             : mask_cover(a, &hole, c->fill_width, c->fill_height, ret, err);
}

enum err_code picture_prepare(struct arena *a, const struct picture_input *in, const struct picture_record *record,
                              int crop, struct picture_model_input *ret, struct err *err)
{
    const struct crop *c = &record->plan.crops[crop];
    struct picture_model_input out = { .view = view_of(c) };

    TRY(distance_squared(a, &in->mask, out.view, record->edge.grow, &out.distance, err));
    TRY(draw_hole(a, &record->edge, &out, err));
    TRY(image_cut(a, &in->photo, out.view, &out.before, err));
    TRY(fit_picture(a, in, c, &out.picture, err));
    TRY(fit_mask(a, c, &out, &out.mask, err));
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

    TRY(image_cut(a, source, c->box, &part, err));
    if (crop_is_native(c)) {
        TRY(pad(a, &part, c->fill_width, c->fill_height, &padded, err));
        return to_srgb(a, space, &padded, ret, err);
    }
    TRY(to_srgb(a, space, &part, &exact, err));
    return image_f32_resize_box(a, &exact, c->fill_width, c->fill_height,
                                (struct image_box){ 0, 0, c->fill_width, c->fill_height }, ret, err);
}

/* ---- what was painted ---- */

/* The view of what was painted, at the photo's scale and in its colours. */
static enum err_code fit_painted(struct arena *a, const struct picture_input *in, const struct crop *c,
                                 const struct image_f32 *painted, struct image_f32 *ret, struct err *err)
{
    bool native = crop_is_native(c);

    TRY(image_f32_resize_box(a, painted, native ? painted->width : box_width(c->box),
                             native ? painted->height : box_height(c->box), box_in(view_of(c), c->box), ret, err));
    colour_from_srgb(in->colour, ret->pixels, (size_t)ret->width * (size_t)ret->height, ret->pixels);
    return ERR_OK;
}

enum err_code picture_paste(struct arena *a, struct picture_input *in, const struct picture_model_input *model,
                            const struct image_f32 *painted, const struct picture_settings *settings,
                            struct picture_record *record, int crop, struct err *err)
{
    ARENA_SCRATCH(a);
    const struct crop *c = &record->plan.crops[crop];
    struct image_f32 patch;

    if (painted->width != c->fill_width || painted->height != c->fill_height)
        return err_set(err, ERR_INVALID, "paste: the painted picture is %d x %d; %d x %d is expected", painted->width,
                       painted->height, c->fill_width, c->fill_height);
    TRY(fit_painted(a, in, c, painted, &patch, err));
    if (settings->patch_match) {
        const struct patch_area area = { patch.width,  patch.height,       model->before.pixels,
                                         patch.pixels, model->hole.pixels, model->paste.pixels };

        TRY(patch_match(a, &area, record->seed + (uint64_t)crop, &record->match[crop], err));
        record->has_match = true;
    }
    return composite(a, &in->photo, model->view, &patch, model->distance, &record->edge, err);
}

/* ---- how it looks ---- */

enum err_code picture_score(struct arena *a, const struct picture_input *in, const struct picture_model_input *model,
                            struct picture_record *record, int crop, struct err *err)
{
    ARENA_SCRATCH(a);
    struct image after, mask;
    const struct score_pictures pictures = { &model->before, &after, &mask, &model->paste };

    TRY(image_cut(a, &in->photo, model->view, &after, err));
    TRY(image_cut(a, &in->mask, model->view, &mask, err));
    TRY(picture_scores_measure(a, &pictures, &record->scores[crop], err));
    record->has_scores = true;
    return ERR_OK;
}

void picture_put(struct picture_input *in, struct image_box box, const struct image *pixels)
{
    const size_t n = 3 * (size_t)pixels->width, stride = 3 * (size_t)in->photo.width;

    for (int y = 0; y < pixels->height; y++)
        memcpy(in->photo.pixels + (size_t)(box.top + y) * stride + 3 * (size_t)box.left, pixels->pixels + (size_t)y * n,
               n);
}
