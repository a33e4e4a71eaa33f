#include "models/score/score_area.h"

#include <stdlib.h>
#include <string.h>

#include "models/image/mask.h"

static enum err_code check_pictures(const struct score_pictures *in, struct err *err)
{
    const struct image *rgb[] = { in->before, in->after }, *grey[] = { in->mask, in->paste };

    for (int i = 0; i < 2; i++)
        if (rgb[i]->channels != 3 || grey[i]->channels != 1 || rgb[i]->width != in->before->width ||
            rgb[i]->height != in->before->height || grey[i]->width != in->before->width ||
            grey[i]->height != in->before->height)
            return err_set(err, ERR_INVALID,
                           "scores: the photo, the edited photo, the mask and the paste must have "
                           "one size; the first two are RGB, the others grey");
    return ERR_OK;
}

static struct image_box with_margin(struct image_box b, int width, int height)
{
    int w = box_width(b), h = box_height(b), margin = (w > h ? w : h) / 4;

    margin = margin < SCORE_MARGIN ? SCORE_MARGIN : margin > SCORE_MARGIN_MAX ? SCORE_MARGIN_MAX : margin;
    return box_grow(b, margin, (struct image_box){ 0, 0, width, height });
}

/* One row of the area from `factor` rows of a picture whose first pixel is at src. */
static void reduce_row(const struct score_area *s, const uint8_t *src, size_t stride, int channels, uint8_t *dst)
{
    int f = s->factor, half = f * f / 2;

    for (int x = 0; x < s->width; x++)
        for (int c = 0; c < channels; c++) {
            const uint8_t *p = src + (size_t)x * (size_t)f * (size_t)channels + c;
            int sum = half;

            for (int v = 0; v < f; v++)
                for (int u = 0; u < f; u++)
                    sum += p[(size_t)v * stride + (size_t)u * (size_t)channels];
            dst[x * channels + c] = (uint8_t)(sum / (f * f));
        }
}

static void reduce(const struct score_area *s, const struct image *im, uint8_t *dst)
{
    size_t channels = (size_t)im->channels, stride = (size_t)im->width * channels, n = (size_t)s->width * channels;

#pragma omp parallel for schedule(static)
    for (int y = 0; y < s->height; y++) {
        const uint8_t *src =
            im->pixels + (size_t)(s->box.top + y * s->factor) * stride + (size_t)s->box.left * channels;

        if (s->factor == 1)
            memcpy(dst + (size_t)y * n, src, n);
        else
            reduce_row(s, src, stride, im->channels, dst + (size_t)y * n);
    }
}

static void make_grey(const struct score_area *s, const uint8_t *rgb, float *grey)
{
    size_t n = (size_t)s->width * (size_t)s->height;

#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        grey[i] = 0.299f * (float)rgb[3 * i] + 0.587f * (float)rgb[3 * i + 1] + 0.114f * (float)rgb[3 * i + 2];
}

static enum err_code alloc_planes(struct arena *a, struct score_area *s, struct err *err)
{
    size_t n = (size_t)s->width * (size_t)s->height;

    TRY(arena_alloc(a, n, 3, &s->before, err));
    TRY(arena_alloc(a, n, 3, &s->after, err));
    TRY(arena_alloc(a, n, 1, &s->mask, err));
    TRY(arena_alloc(a, n, 1, &s->paste, err));
    TRY(arena_alloc(a, n, sizeof *s->grey_before, &s->grey_before, err));
    return arena_alloc(a, n, sizeof *s->grey_after, &s->grey_after, err);
}

static void choose_size(struct score_area *s)
{
    int64_t w = box_width(s->box), h = box_height(s->box);

    s->factor = 1;
    while ((w / s->factor) * (h / s->factor) > SCORE_AREA_MAX)
        s->factor++;
    while (s->factor > 1 && (w < s->factor || h < s->factor)) /* a strip narrower than the squares */
        s->factor--;
    s->width = (int)(w / s->factor);
    s->height = (int)(h / s->factor);
}

enum err_code score_area_new(struct arena *a, const struct score_pictures *in, struct score_area *ret, bool *ret_empty,
                             struct err *err)
{
    struct score_area s = { 0 };

    TRY(check_pictures(in, err));
    s.box = mask_extent(in->paste).box;
    *ret_empty = box_is_empty(s.box);
    if (*ret_empty)
        return ERR_OK;
    s.box = with_margin(s.box, in->paste->width, in->paste->height);
    choose_size(&s);
    TRY(alloc_planes(a, &s, err));
    reduce(&s, in->before, s.before);
    reduce(&s, in->after, s.after);
    reduce(&s, in->mask, s.mask);
    reduce(&s, in->paste, s.paste);
    for (size_t i = 0; i < (size_t)s.width * (size_t)s.height; i++)
        s.mask[i] = s.mask[i] ? 255 : 0;
    make_grey(&s, s.before, s.grey_before);
    make_grey(&s, s.after, s.grey_after);
    *ret = s;
    return ERR_OK;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double score_quantile(double *values, int n, double share)
{
    int i = (int)(share * n);

    if (n == 0)
        return 0.0;
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    return values[i < n ? i : n - 1];
}
