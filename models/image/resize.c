#include "models/image/resize.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { PRECISION_BITS = 22, LANCZOS_LOBES = 3 };

/* The weights of one axis: output o is the sum over i < count[o] of weight[o * stride + i] * input[first[o] + i]. */
struct axis {
    int n_out, stride;
    int *first, *count;
    int32_t *weight;
};

static double sinc(double x)
{
    if (x == 0.0)
        return 1.0;
    x *= M_PI;
    return sin(x) / x;
}

static double lanczos(double x)
{
    return x >= -LANCZOS_LOBES && x < LANCZOS_LOBES ? sinc(x) * sinc(x / LANCZOS_LOBES) : 0.0;
}

static int32_t to_fixed(double w)
{
    return (int32_t)(w * (1 << PRECISION_BITS) + (w < 0 ? -0.5 : 0.5));
}

/* The taps of one output pixel; w is scratch for the weights before they are normalised. */
static void axis_fill(struct axis *x, int o, int n_in, double scale, double filter_scale, double *w)
{
    double support = LANCZOS_LOBES * filter_scale, center = (o + 0.5) * scale, sum = 0.0;
    double inverse = 1.0 / filter_scale;
    int first = (int)(center - support + 0.5), end = (int)(center + support + 0.5);

    first = first < 0 ? 0 : first;
    end = end > n_in ? n_in : end;
    for (int i = first; i < end; i++) {
        w[i - first] = lanczos((i - center + 0.5) * inverse);
        sum += w[i - first];
    }
    x->first[o] = first;
    x->count[o] = end - first;
    for (int i = 0; i < end - first; i++)
        x->weight[(size_t)o * (size_t)x->stride + (size_t)i] = to_fixed(sum != 0.0 ? w[i] / sum : w[i]);
}

static enum err_code axis_new(struct arena *a, int n_in, int n_out, struct axis *ret, struct err *err)
{
    double scale = (double)n_in / n_out, filter_scale = scale < 1.0 ? 1.0 : scale;
    struct axis x = { .n_out = n_out, .stride = (int)ceil(LANCZOS_LOBES * filter_scale) * 2 + 1 };
    double *w = NULL;
    enum err_code rc = arena_alloc(a, (size_t)n_out, sizeof *x.first, &x.first, err);

    if (!rc)
        rc = arena_alloc(a, (size_t)n_out, sizeof *x.count, &x.count, err);
    if (!rc)
        rc = arena_alloc(a, (size_t)n_out * (size_t)x.stride, sizeof *x.weight, &x.weight, err);
    if (!rc)
        rc = arena_alloc(a, (size_t)x.stride, sizeof *w, &w, err);
    if (rc)
        return rc;
    for (int o = 0; o < n_out; o++)
        axis_fill(&x, o, n_in, scale, filter_scale, w);
    *ret = x;
    return ERR_OK;
}

static uint8_t to_u8(int32_t sum)
{
    sum >>= PRECISION_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

static void row_across_1(uint8_t *dst, const uint8_t *src, const struct axis *x)
{
    for (int o = 0; o < x->n_out; o++) {
        const int32_t *k = x->weight + (size_t)o * (size_t)x->stride;
        const uint8_t *p = src + x->first[o];
        int32_t sum = 1 << (PRECISION_BITS - 1);

        for (int i = 0; i < x->count[o]; i++)
            sum += k[i] * p[i];
        dst[o] = to_u8(sum);
    }
}

static void row_across_3(uint8_t *dst, const uint8_t *src, const struct axis *x)
{
    for (int o = 0; o < x->n_out; o++) {
        const int32_t *k = x->weight + (size_t)o * (size_t)x->stride;
        const uint8_t *p = src + 3 * (size_t)x->first[o];
        int32_t r = 1 << (PRECISION_BITS - 1), g = r, b = r;

        for (int i = 0; i < x->count[o]; i++) {
            r += k[i] * p[3 * i];
            g += k[i] * p[3 * i + 1];
            b += k[i] * p[3 * i + 2];
        }
        dst[3 * (size_t)o] = to_u8(r);
        dst[3 * (size_t)o + 1] = to_u8(g);
        dst[3 * (size_t)o + 2] = to_u8(b);
    }
}

static void pass_across(const struct image *dst, const struct image *src, const struct axis *x)
{
    void (*row)(uint8_t *, const uint8_t *, const struct axis *) = src->channels == 1 ? row_across_1 : row_across_3;
    size_t in = (size_t)src->width * (size_t)src->channels, out = (size_t)dst->width * (size_t)dst->channels;

#pragma omp parallel for schedule(static)
    for (int y = 0; y < dst->height; y++)
        row(dst->pixels + (size_t)y * out, src->pixels + (size_t)y * in, x);
}

/* One output row from `count` input rows, a strip of columns at a time so that the sums stay in cache. */
static void row_down(uint8_t *dst, const uint8_t *src, size_t n, const int32_t *k, int count)
{
    enum { STRIP = 256 };
    int32_t sum[STRIP];

    for (size_t x0 = 0; x0 < n; x0 += STRIP) {
        size_t m = n - x0 < STRIP ? n - x0 : STRIP;

        for (size_t x = 0; x < m; x++)
            sum[x] = 1 << (PRECISION_BITS - 1);
        for (int i = 0; i < count; i++) {
            const uint8_t *p = src + (size_t)i * n + x0;
            for (size_t x = 0; x < m; x++)
                sum[x] += k[i] * p[x];
        }
        for (size_t x = 0; x < m; x++)
            dst[x0 + x] = to_u8(sum[x]);
    }
}

static void pass_down(const struct image *dst, const struct image *src, const struct axis *x)
{
    size_t n = (size_t)src->width * (size_t)src->channels;

#pragma omp parallel for schedule(static)
    for (int y = 0; y < dst->height; y++)
        row_down(dst->pixels + (size_t)y * n, src->pixels + (size_t)x->first[y] * n, n,
                 x->weight + (size_t)y * (size_t)x->stride, x->count[y]);
}

/* Pillow 13.0's rule, and only of interest when both passes are made. Signed on purpose: growing in width counts
 * against the horizontal pass. */
static bool down_goes_first(const struct image *src, int width, int height)
{
    return height < src->height && src->height - height > 2 * (src->width - width);
}

static enum err_code one_pass(struct arena *a, const struct image *dst, const struct image *src, bool down,
                              struct err *err)
{
    struct axis x;
    enum err_code rc =
        down ? axis_new(a, src->height, dst->height, &x, err) : axis_new(a, src->width, dst->width, &x, err);

    if (rc)
        return rc;
    (down ? pass_down : pass_across)(dst, src, &x);
    return ERR_OK;
}

static enum err_code two_passes(struct arena *a, const struct image *dst, const struct image *src, struct err *err)
{
    bool down_first = down_goes_first(src, dst->width, dst->height);
    struct image between = { .channels = src->channels,
                             .width = down_first ? src->width : dst->width,
                             .height = down_first ? dst->height : src->height };
    /* Not image_new(): the picture between may be larger than either end, up to IMAGE_MAX_SIDE squared. */
    enum err_code rc = arena_alloc(a, image_bytes(&between), 1, &between.pixels, err);

    if (!rc)
        rc = one_pass(a, &between, src, down_first, err);
    if (!rc)
        rc = one_pass(a, dst, &between, !down_first, err);
    return rc;
}

enum err_code image_resize(struct arena *a, const struct image *src, int width, int height, struct image *ret,
                           struct err *err)
{
    struct image dst;
    struct arena_mark scratch;
    enum err_code rc = image_new(a, width, height, src->channels, &dst, err);

    if (rc)
        return rc;
    scratch = arena_mark(a);
    if (width == src->width && height == src->height)
        memcpy(dst.pixels, src->pixels, image_bytes(src));
    else if (width == src->width || height == src->height)
        rc = one_pass(a, &dst, src, width == src->width, err);
    else
        rc = two_passes(a, &dst, src, err);
    arena_rewind(a, scratch);
    if (!rc)
        *ret = dst;
    return rc;
}
