#include "models/image/resize.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/base/processor.h"

enum { PRECISION_BITS = 22, LANCZOS_LOBES = 3 };

/*
 * The weights of the outputs [begin, begin + n_out) of one axis, of n_in inputs: output begin + o is the sum over
 * i < count[o] of weight[o * stride + i] * input[first[o] + i].
 */
struct axis {
    int n_in, begin, n_out, stride;
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

/* The taps of output begin + o; w is scratch for the weights before they are normalised. */
static void axis_fill(struct axis *x, int o, double scale, double filter_scale, double *w)
{
    double support = LANCZOS_LOBES * filter_scale, center = (x->begin + o + 0.5) * scale, sum = 0.0;
    double inverse = 1.0 / filter_scale;
    int first = (int)(center - support + 0.5), end = (int)(center + support + 0.5);

    first = first < 0 ? 0 : first;
    end = end > x->n_in ? x->n_in : end;
    for (int i = first; i < end; i++) {
        w[i - first] = lanczos((i - center + 0.5) * inverse);
        sum += w[i - first];
    }
    x->first[o] = first;
    x->count[o] = end - first;
    for (int i = 0; i < end - first; i++)
        x->weight[(size_t)o * (size_t)x->stride + (size_t)i] = to_fixed(sum != 0.0 ? w[i] / sum : w[i]);
}

static enum err_code axis_new(struct arena *a, int n_in, int n_all, int begin, int end, struct axis *ret,
                              struct err *err)
{
    double scale = (double)n_in / n_all, filter_scale = scale < 1.0 ? 1.0 : scale;
    struct axis x = {
        .n_in = n_in, .begin = begin, .n_out = end - begin, .stride = (int)ceil(LANCZOS_LOBES * filter_scale) * 2 + 1
    };
    double *w = NULL;
    enum err_code rc = arena_alloc(a, (size_t)x.n_out, sizeof *x.first, &x.first, err);

    if (!rc)
        rc = arena_alloc(a, (size_t)x.n_out, sizeof *x.count, &x.count, err);
    if (!rc)
        rc = arena_alloc(a, (size_t)x.n_out * (size_t)x.stride, sizeof *x.weight, &x.weight, err);
    if (!rc)
        rc = arena_alloc(a, (size_t)x.stride, sizeof *w, &w, err);
    if (rc)
        return rc;
    for (int o = 0; o < x.n_out; o++)
        axis_fill(&x, o, scale, filter_scale, w);
    *ret = x;
    return ERR_OK;
}

/* The inputs that any of the outputs takes: both ends only grow from one output to the next. */
static int inputs_begin(const struct axis *x)
{
    return x->first[0];
}

static int inputs_end(const struct axis *x)
{
    return x->first[x->n_out - 1] + x->count[x->n_out - 1];
}

INLINE_HOT uint8_t to_u8(int32_t sum)
{
    sum >>= PRECISION_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* One output row of n bytes from `count` input rows, a strip of columns at a time so that the sums stay in cache. */
EVERY_PROCESSOR static void row_down(uint8_t *dst, size_t n, const uint8_t *src, size_t stride, const int32_t *k,
                                     int count)
{
    enum { STRIP = 256 };
    int32_t sum[STRIP];

    for (size_t x0 = 0; x0 < n; x0 += STRIP) {
        size_t m = n - x0 < STRIP ? n - x0 : STRIP;

        for (size_t x = 0; x < m; x++)
            sum[x] = 1 << (PRECISION_BITS - 1);
        for (int i = 0; i < count; i++) {
            const uint8_t *p = src + (size_t)i * stride + x0;
            for (size_t x = 0; x < m; x++)
                sum[x] += k[i] * p[x];
        }
        for (size_t x = 0; x < m; x++)
            dst[x0 + x] = to_u8(sum[x]);
    }
}

/*
 * A pass makes dst from a part of src. src's first column (or row) is input `left` (or `top`) of its axis, in the
 * direction in which the pass is made; in the other one it is where the part begins.
 */
static void pass_down(const struct image *dst, const struct image *src, int left, int top, const struct axis *x)
{
    size_t channels = (size_t)src->channels, in = (size_t)src->width * channels, out = (size_t)dst->width * channels;

#pragma omp parallel for schedule(static)
    for (int y = 0; y < dst->height; y++)
        row_down(dst->pixels + (size_t)y * out, out,
                 src->pixels + (size_t)(x->first[y] - top) * in + (size_t)left * channels, in,
                 x->weight + (size_t)y * (size_t)x->stride, x->count[y]);
}

enum { TILE_BYTES = 64 << 10, TILE_ROWS = 64, TILE_BLOCK = 32 };

/* Columns become rows: pixel (x, y) of src goes to (y, x) of dst, n_rows pixels a row. A block of columns at a time,
 * which stays in cache. */
INLINE_HOT void turn(uint8_t *dst, const uint8_t *src, size_t src_row, int n_columns, int n_rows, size_t channels)
{
    for (int x0 = 0; x0 < n_columns; x0 += TILE_BLOCK) {
        int x1 = x0 + TILE_BLOCK < n_columns ? x0 + TILE_BLOCK : n_columns;

        for (int y = 0; y < n_rows; y++)
            for (int x = x0; x < x1; x++)
                memcpy(dst + ((size_t)x * (size_t)n_rows + (size_t)y) * channels,
                       src + (size_t)y * src_row + (size_t)x * channels, channels);
    }
}

INLINE_HOT void put_column(uint8_t *dst, size_t dst_row, const uint8_t *column, int n_rows, size_t channels)
{
    for (int y = 0; y < n_rows; y++)
        memcpy(dst + (size_t)y * dst_row, column + (size_t)y * channels, channels);
}

/* Outputs from `o` on whose inputs fit into a tile of so many columns; at least one. */
static int outputs_of_tile(const struct axis *x, int o, int n_columns)
{
    int end = o + 1;

    while (end < x->n_out && x->first[end] + x->count[end] - x->first[o] <= n_columns)
        end++;
    return end;
}

/* n_rows rows of the pass across, as a pass down over tiles that are turned: neighbours in a row of a tile have the
 * same weights, so that they are worked on together. */
INLINE_HOT void strip_across(uint8_t *dst, size_t dst_row, const uint8_t *src, size_t src_row, int left, int n_rows,
                             const struct axis *x, size_t channels)
{
    uint8_t tile[TILE_BYTES], column[TILE_ROWS * 3];
    size_t n = (size_t)n_rows * channels;

    for (int o = 0, end; o < x->n_out; o = end) {
        int first = x->first[o];

        end = outputs_of_tile(x, o, (int)(TILE_BYTES / n));
        turn(tile, src + (size_t)(first - left) * channels, src_row, x->first[end - 1] + x->count[end - 1] - first,
             n_rows, channels);
        for (int i = o; i < end; i++) {
            row_down(column, n, tile + (size_t)(x->first[i] - first) * n, n, x->weight + (size_t)i * (size_t)x->stride,
                     x->count[i]);
            put_column(dst + (size_t)i * channels, dst_row, column, n_rows, channels);
        }
    }
}

static int most_taps(const struct axis *x)
{
    return x->stride < x->n_in ? x->stride : x->n_in;
}

static void pass_across(const struct image *dst, const struct image *src, int left, int top, const struct axis *x)
{
    size_t channels = (size_t)src->channels, in = (size_t)src->width * channels, out = (size_t)dst->width * channels;
    int fit = TILE_BYTES / (most_taps(x) * src->channels), n = fit < TILE_ROWS ? fit : TILE_ROWS;

#pragma omp parallel for schedule(static)
    for (int y = 0; y < dst->height; y += n) {
        int n_rows = y + n < dst->height ? n : dst->height - y;
        const uint8_t *from = src->pixels + (size_t)(top + y) * in;
        uint8_t *to = dst->pixels + (size_t)y * out;

        if (channels == 3)
            strip_across(to, out, from, in, left, n_rows, x, 3);
        else
            strip_across(to, out, from, in, left, n_rows, x, 1);
    }
}

_Static_assert(3 * IMAGE_MAX_SIDE <= TILE_BYTES, "a tile holds a row of the widest picture");

/* Pillow 13.0's rule, and only of interest when both passes are made. Signed on purpose: growing in width counts
 * against the horizontal pass. */
static bool down_goes_first(const struct image *src, int width, int height)
{
    return height < src->height && src->height - height > 2 * (src->width - width);
}

/* Across first: of the picture between, the columns of the box and the rows that it is made of. */
static enum err_code across_then_down(struct arena *a, const struct image *dst, const struct image *src,
                                      const struct axis *across, const struct axis *down, struct err *err)
{
    int top = inputs_begin(down);
    struct image between = { across->n_out, inputs_end(down) - top, src->channels, NULL };
    /* Not image_new(): the picture between may be larger than either end, up to IMAGE_MAX_SIDE squared. */
    enum err_code rc = arena_alloc(a, image_bytes(&between), 1, &between.pixels, err);

    if (rc)
        return rc;
    pass_across(&between, src, 0, top, across);
    pass_down(dst, &between, 0, top, down);
    return ERR_OK;
}

static enum err_code down_then_across(struct arena *a, const struct image *dst, const struct image *src,
                                      const struct axis *across, const struct axis *down, struct err *err)
{
    int left = inputs_begin(across);
    struct image between = { inputs_end(across) - left, down->n_out, src->channels, NULL };
    enum err_code rc = arena_alloc(a, image_bytes(&between), 1, &between.pixels, err);

    if (rc)
        return rc;
    pass_down(&between, src, left, 0, down);
    pass_across(dst, &between, left, 0, across);
    return ERR_OK;
}

static void copy_box(const struct image *dst, const struct image *src, struct image_box box)
{
    size_t n = (size_t)dst->width * (size_t)dst->channels;

    for (int y = 0; y < dst->height; y++)
        memcpy(dst->pixels + (size_t)y * n,
               src->pixels + ((size_t)(box.top + y) * (size_t)src->width + (size_t)box.left) * (size_t)src->channels,
               n);
}

static enum err_code resize(struct arena *a, const struct image *dst, const struct image *src, int width, int height,
                            struct image_box box, struct err *err)
{
    struct axis across = { 0 }, down = { 0 };
    enum err_code rc = ERR_OK;

    if (width != src->width)
        rc = axis_new(a, src->width, width, box.left, box.right, &across, err);
    if (!rc && height != src->height)
        rc = axis_new(a, src->height, height, box.top, box.bottom, &down, err);
    if (rc)
        return rc;
    if (!across.n_out && !down.n_out)
        copy_box(dst, src, box);
    else if (!down.n_out)
        pass_across(dst, src, 0, box.top, &across);
    else if (!across.n_out)
        pass_down(dst, src, box.left, 0, &down);
    else
        rc = (down_goes_first(src, width, height) ? down_then_across : across_then_down)(a, dst, src, &across, &down,
                                                                                         err);
    return rc;
}

enum err_code image_resize_box(struct arena *a, const struct image *src, int width, int height, struct image_box box,
                               struct image *ret, struct err *err)
{
    struct image dst;
    struct arena_mark scratch;
    enum err_code rc = image_check_size(width, height, err);

    if (!rc)
        rc = image_check_size(src->width, src->height, err);
    if (!rc && (box.left < 0 || box.top < 0 || box.right > width || box.bottom > height))
        rc = err_set(err, ERR_INVALID, "resize: a part that is not within %d x %d pixels", width, height);
    if (!rc)
        rc = image_new(a, box.right - box.left, box.bottom - box.top, src->channels, &dst, err);
    if (rc)
        return rc;
    scratch = arena_mark(a);
    rc = resize(a, &dst, src, width, height, box, err);
    arena_rewind(a, scratch);
    if (!rc)
        *ret = dst;
    return rc;
}

enum err_code image_resize(struct arena *a, const struct image *src, int width, int height, struct image *ret,
                           struct err *err)
{
    return image_resize_box(a, src, width, height, (struct image_box){ 0, 0, width, height }, ret, err);
}
