#include "models/image/resize.h"

#include <stdbool.h>
#include <string.h>

#include "kernels/base/processor.h"
#include "models/image/lanczos.h"

enum { PRECISION_BITS = 22 };

/*
 * The filter weights along one axis, from n_in inputs to the outputs [begin, begin + n_out): output begin + o is the
 * sum over i < count[o] of weight[o * stride + i] * input[first[o] + i].
 */
struct axis {
    int n_in, begin, n_out, stride;
    int *first, *count;
    int32_t *weight;
};

static int32_t to_fixed(double w)
{
    return (int32_t)(w * (1 << PRECISION_BITS) + (w < 0 ? -0.5 : 0.5));
}

/* Computes the weights of output begin + o; w is scratch for the weights in double. */
static void axis_fill(struct axis *x, int o, int n_all, double *w)
{
    const struct lanczos_taps taps = lanczos_taps_of(x->begin + o, x->n_in, n_all, w);

    x->first[o] = taps.first;
    x->count[o] = taps.count;
    for (int i = 0; i < taps.count; i++)
        x->weight[(size_t)o * (size_t)x->stride + (size_t)i] = to_fixed(w[i]);
}

static enum err_code axis_new(struct arena *a, int n_in, int n_all, int begin, int end, struct axis *ret,
                              struct err *err)
{
    struct axis x = { .n_in = n_in, .begin = begin, .n_out = end - begin, .stride = lanczos_most_taps(n_in, n_all) };
    double *w = NULL;

    TRY(arena_alloc(a, (size_t)x.n_out, sizeof *x.first, &x.first, err));
    TRY(arena_alloc(a, (size_t)x.n_out, sizeof *x.count, &x.count, err));
    TRY(arena_alloc(a, (size_t)x.n_out * (size_t)x.stride, sizeof *x.weight, &x.weight, err));
    TRY(arena_alloc(a, (size_t)x.stride, sizeof *w, &w, err));
    for (int o = 0; o < x.n_out; o++)
        axis_fill(&x, o, n_all, w);
    *ret = x;
    return ERR_OK;
}

/* The first input that any output uses. Both ends of an output's inputs only grow from one output to the next. */
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

/* One output row of n bytes from `count` input rows; a few columns at a time, so that the sums stay in cache. */
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
 * A pass makes dst from a part of src. Along the axis of the pass, `left` (or `top`) is the number of the input that is
 * in src's first column (or row); along the other axis, it is the column (or row) of src where the part begins.
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

/* Columns become rows: pixel (x, y) of src goes to (y, x) of dst, whose rows have n_rows pixels. A few columns at a
 * time, so that they stay in cache. */
INLINE_HOT void transpose(uint8_t *dst, const uint8_t *src, size_t src_row, int n_columns, int n_rows, size_t channels)
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

/* The end of the outputs from `o` on whose inputs fit into a tile of n_columns; at least one output. */
static int outputs_of_tile(const struct axis *x, int o, int n_columns)
{
    int end = o + 1;

    while (end < x->n_out && x->first[end] + x->count[end] - x->first[o] <= n_columns)
        end++;
    return end;
}

/* Some rows of a pass across. */
struct strip {
    uint8_t *dst;
    const uint8_t *src;      /* its first column is input `left` */
    size_t dst_row, src_row; /* bytes from one row to the next */
    int n_rows, left;
};

/* Makes a strip as a pass down over transposed tiles: neighbours in a row of a tile have the same weights, so that
 * vector code handles them together. */
INLINE_HOT void strip_across(const struct strip *s, const struct axis *x, size_t channels)
{
    uint8_t tile[TILE_BYTES], column[TILE_ROWS * 3];
    size_t n = (size_t)s->n_rows * channels;

    for (int o = 0, end; o < x->n_out; o = end) {
        int first = x->first[o];

        end = outputs_of_tile(x, o, (int)(TILE_BYTES / n));
        transpose(tile, s->src + (size_t)(first - s->left) * channels, s->src_row,
                  x->first[end - 1] + x->count[end - 1] - first, s->n_rows, channels);
        for (int i = o; i < end; i++) {
            row_down(column, n, tile + (size_t)(x->first[i] - first) * n, n, x->weight + (size_t)i * (size_t)x->stride,
                     x->count[i]);
            put_column(s->dst + (size_t)i * channels, s->dst_row, column, s->n_rows, channels);
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
        struct strip s = { .dst = dst->pixels + (size_t)y * out,
                           .src = src->pixels + (size_t)(top + y) * in,
                           .dst_row = out,
                           .src_row = in,
                           .n_rows = y + n < dst->height ? n : dst->height - y,
                           .left = left };

        if (channels == 3)
            strip_across(&s, x, 3);
        else
            strip_across(&s, x, 1);
    }
}

_Static_assert(3 * IMAGE_MAX_SIDE <= TILE_BYTES, "a tile holds a row of the widest picture");

/* Pillow 13.0's rule, used only when both passes are made. The difference of the widths is negative, on purpose, for a
 * picture that grows wider. */
static bool down_goes_first(const struct image *src, int width, int height)
{
    return height < src->height && src->height - height > 2 * (src->width - width);
}

/* The picture between the passes has the columns of the box, and the rows that the second pass needs. */
static enum err_code across_then_down(struct arena *a, const struct image *dst, const struct image *src,
                                      const struct axis *across, const struct axis *down, struct err *err)
{
    int top = inputs_begin(down);
    struct image between = { across->n_out, inputs_end(down) - top, src->channels, NULL };

    /* not image_new(): this picture may be larger than both src and dst, up to IMAGE_MAX_SIDE squared */
    TRY(arena_alloc(a, image_bytes(&between), 1, &between.pixels, err));
    pass_across(&between, src, 0, top, across);
    pass_down(dst, &between, 0, top, down);
    return ERR_OK;
}

static enum err_code down_then_across(struct arena *a, const struct image *dst, const struct image *src,
                                      const struct axis *across, const struct axis *down, struct err *err)
{
    int left = inputs_begin(across);
    struct image between = { inputs_end(across) - left, down->n_out, src->channels, NULL };

    TRY(arena_alloc(a, image_bytes(&between), 1, &between.pixels, err));
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
    ARENA_SCRATCH(a);
    struct axis across = { 0 }, down = { 0 };

    if (width != src->width)
        TRY(axis_new(a, src->width, width, box.left, box.right, &across, err));
    if (height != src->height)
        TRY(axis_new(a, src->height, height, box.top, box.bottom, &down, err));
    if (across.n_out && down.n_out)
        return (down_goes_first(src, width, height) ? down_then_across : across_then_down)(a, dst, src, &across, &down,
                                                                                           err);
    if (across.n_out)
        pass_across(dst, src, 0, box.top, &across);
    else if (down.n_out)
        pass_down(dst, src, box.left, 0, &down);
    else
        copy_box(dst, src, box);
    return ERR_OK;
}

enum err_code image_resize_box(struct arena *a, const struct image *src, int width, int height, struct image_box box,
                               struct image *ret, struct err *err)
{
    struct image dst;

    TRY(image_check_size(width, height, err));
    TRY(image_check_size(src->width, src->height, err));
    if (box.left < 0 || box.top < 0 || box.right > width || box.bottom > height)
        return err_set(err, ERR_INVALID, "resize: the part is not within %d x %d pixels", width, height);
    TRY(image_new(a, box_width(box), box_height(box), src->channels, &dst, err));
    TRY(resize(a, &dst, src, width, height, box, err));
    *ret = dst;
    return ERR_OK;
}

enum err_code image_resize(struct arena *a, const struct image *src, int width, int height, struct image *ret,
                           struct err *err)
{
    return image_resize_box(a, src, width, height, (struct image_box){ 0, 0, width, height }, ret, err);
}
