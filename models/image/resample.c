#include "models/image/resample.h"

#include <string.h>

#include "kernels/base/processor.h"
#include "models/image/lanczos.h"

enum { CHANNELS = 3 };

enum err_code image_f32_new(struct arena *a, int width, int height, struct image_f32 *ret, struct err *err)
{
    struct image_f32 im = { width, height, NULL };

    TRY(image_check_size(width, height, err));
    TRY(arena_alloc(a, (size_t)width * (size_t)height * CHANNELS, sizeof *im.pixels, &im.pixels, err));
    *ret = im;
    return ERR_OK;
}

EVERY_PROCESSOR static void convert(float *restrict dst, const uint8_t *restrict src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = src[i];
}

enum err_code image_f32_from(struct arena *a, const struct image *src, struct image_f32 *ret, struct err *err)
{
    if (src->channels != CHANNELS)
        return err_set(err, ERR_INVALID, "resample: a picture of %d channels; 3 are needed", src->channels);
    TRY(image_f32_new(a, src->width, src->height, ret, err));
    convert(ret->pixels, src->pixels, image_bytes(src));
    return ERR_OK;
}

/* The inputs and weights of each output along one axis: output o is the sum of weight[o * taps + i] * input[first[o] +
 * i] over i < count[o]. */
struct axis {
    int n_out, taps;
    int *first, *count;
    float *weight;
};

static enum err_code axis_new(struct arena *a, int n_in, int n_all, int begin, int end, struct axis *ret,
                              struct err *err)
{
    struct axis x = { .n_out = end - begin, .taps = lanczos_most_taps(n_in, n_all) };
    double *w = NULL;

    TRY(arena_alloc(a, (size_t)x.n_out, sizeof *x.first, &x.first, err));
    TRY(arena_alloc(a, (size_t)x.n_out, sizeof *x.count, &x.count, err));
    TRY(arena_alloc(a, (size_t)x.n_out * (size_t)x.taps, sizeof *x.weight, &x.weight, err));
    TRY(arena_alloc(a, (size_t)x.taps, sizeof *w, &w, err));
    for (int o = 0; o < x.n_out; o++) {
        const struct lanczos_taps taps = lanczos_taps_of(begin + o, n_in, n_all, w);

        x.first[o] = taps.first;
        x.count[o] = taps.count;
        for (int i = 0; i < taps.count; i++)
            x.weight[(size_t)o * (size_t)x.taps + (size_t)i] = (float)w[i];
    }
    *ret = x;
    return ERR_OK;
}

static void across(float *dst, const float *src, const struct axis *x)
{
    for (int o = 0; o < x->n_out; o++, dst += CHANNELS) {
        const float *p = src + (size_t)x->first[o] * CHANNELS, *weight = x->weight + (size_t)o * (size_t)x->taps;
        float r = 0, g = 0, b = 0;

        for (int i = 0; i < x->count[o]; i++, p += CHANNELS) {
            r += weight[i] * p[0];
            g += weight[i] * p[1];
            b += weight[i] * p[2];
        }
        dst[0] = r;
        dst[1] = g;
        dst[2] = b;
    }
}

EVERY_PROCESSOR static void add_row(float *restrict dst, const float *restrict src, size_t n, float weight)
{
    for (size_t i = 0; i < n; i++)
        dst[i] += weight * src[i];
}

static void copy_box(const struct image_f32 *src, struct image_box box, const struct image_f32 *dst)
{
    for (int y = 0; y < dst->height; y++)
        memcpy(dst->pixels + (size_t)y * (size_t)dst->width * CHANNELS,
               src->pixels + ((size_t)(box.top + y) * (size_t)src->width + (size_t)box.left) * CHANNELS,
               (size_t)dst->width * CHANNELS * sizeof(float));
}

/* Rows that the pass down needs are made first, at their final width. */
static enum err_code resize(struct arena *a, const struct image_f32 *src, int width, int height, struct image_box box,
                            const struct image_f32 *dst, struct err *err)
{
    ARENA_SCRATCH(a);
    size_t row = (size_t)dst->width * CHANNELS;
    struct axis x, y;
    float *between = NULL;
    int top, rows;

    TRY(axis_new(a, src->width, width, box.left, box.right, &x, err));
    TRY(axis_new(a, src->height, height, box.top, box.bottom, &y, err));
    top = y.first[0];
    rows = y.first[y.n_out - 1] + y.count[y.n_out - 1] - top;
    TRY(arena_alloc(a, (size_t)rows * row, sizeof *between, &between, err));
#pragma omp parallel for schedule(static)
    for (int i = 0; i < rows; i++)
        across(between + (size_t)i * row, src->pixels + (size_t)(top + i) * (size_t)src->width * CHANNELS, &x);
#pragma omp parallel for schedule(static)
    for (int o = 0; o < dst->height; o++)
        for (int i = 0; i < y.count[o]; i++)
            add_row(dst->pixels + (size_t)o * row, between + (size_t)(y.first[o] + i - top) * row, row,
                    y.weight[(size_t)o * (size_t)y.taps + (size_t)i]);
    return ERR_OK;
}

enum err_code image_f32_resize_box(struct arena *a, const struct image_f32 *src, int width, int height,
                                   struct image_box box, struct image_f32 *ret, struct err *err)
{
    struct image_f32 dst;

    TRY(image_check_size(width, height, err));
    if (box.left < 0 || box.top < 0 || box.right > width || box.bottom > height)
        return err_set(err, ERR_INVALID, "resample: the part is not within %d x %d pixels", width, height);
    TRY(image_f32_new(a, box_width(box), box_height(box), &dst, err));
    if (width == src->width && height == src->height)
        copy_box(src, box, &dst);
    else
        TRY(resize(a, src, width, height, box, &dst, err));
    *ret = dst;
    return ERR_OK;
}
