#include "models/score/score_blocks.h"

#include <math.h>

enum {
    BLOCK = 16,
    BLOCKS_MAX = 4096,
    PIXELS_MIN = 48,  /* of a block on one side of the border, for it to count there */
    GHOST_CELL = 4,   /* pixels */
    GHOST_CHANGE = 12 /* levels: a change that is half sure to be more than grain */
};
static const double flat_share = 0.2, laplacian_floor = 0.5, grain_floor_levels = 0.2, ratio_max = 20.0;

/* What a block says about one side of the border. */
struct side {
    double n, sum, sum2, noise;
};

struct sides {
    struct side inside, around;
};

static float grey_at(const struct image *im, int x, int y)
{
    const uint8_t *p = im->pixels + 3 * ((size_t)y * (size_t)im->width + (size_t)x);

    return 0.299f * (float)p[0] + 0.587f * (float)p[1] + 0.114f * (float)p[2];
}

static void add_pixel(struct side *s, float grey[BLOCK + 2][BLOCK + 2], int x, int y)
{
    float sides = grey[y][x + 1] + grey[y + 2][x + 1] + grey[y + 1][x] + grey[y + 1][x + 2];
    float corners = grey[y][x] + grey[y][x + 2] + grey[y + 2][x] + grey[y + 2][x + 2], middle = grey[y + 1][x + 1];
    float laplacian = sides - 4.0f * middle;

    s->n++;
    s->sum += laplacian;
    s->sum2 += (double)laplacian * laplacian;
    s->noise += fabsf(corners - 2.0f * sides + 4.0f * middle);
}

/* A block whose frame of one pixel is within the picture. */
static struct sides measure_block(const struct score_pictures *in, int left, int top)
{
    float grey[BLOCK + 2][BLOCK + 2];
    struct sides ret = { 0 };

    for (int y = 0; y < BLOCK + 2; y++)
        for (int x = 0; x < BLOCK + 2; x++)
            grey[y][x] = grey_at(in->after, left + x - 1, top + y - 1);
    for (int y = 0; y < BLOCK; y++)
        for (int x = 0; x < BLOCK; x++) {
            uint8_t share = in->paste->pixels[(size_t)(top + y) * (size_t)in->paste->width + (size_t)(left + x)];

            if (share == 255 || share == 0)
                add_pixel(share ? &ret.inside : &ret.around, grey, x, y);
        }
    return ret;
}

struct grid {
    int left, top, columns, rows, step; /* every step-th block, counted along the rows, is measured */
    int n;
};

static struct grid grid_of(const struct image *im, const struct score_area *s)
{
    struct grid g = { .left = s->box.left > 0 ? s->box.left : 1, .top = s->box.top > 0 ? s->box.top : 1 };
    int right = s->box.right < im->width ? s->box.right : im->width - 1;
    int bottom = s->box.bottom < im->height ? s->box.bottom : im->height - 1;

    g.columns = right > g.left ? (right - g.left) / BLOCK : 0;
    g.rows = bottom > g.top ? (bottom - g.top) / BLOCK : 0;
    g.step = 1 + g.columns * g.rows / BLOCKS_MAX;
    while (g.step > 1 && g.columns % g.step == 0) /* never the same columns in all rows */
        g.step++;
    g.n = (g.columns * g.rows + g.step - 1) / g.step;
    return g;
}

static double variance(const struct side *s)
{
    double mean = s->sum / s->n;

    return fmax(0.0, s->sum2 / s->n - mean * mean);
}

/* The noise operator's mean deviation as the standard deviation of white noise (Immerkaer 1996). */
static double noise(const struct side *s)
{
    return sqrt(M_PI / 2.0) / 6.0 * s->noise / s->n;
}

/* A quantile over the blocks of one side; -1 where it has none. */
static double over_blocks(const struct sides *blocks, int n, bool inside, double (*of)(const struct side *),
                          double share, double *values)
{
    int used = 0;

    for (int i = 0; i < n; i++) {
        const struct side *s = inside ? &blocks[i].inside : &blocks[i].around;

        if (s->n >= PIXELS_MIN)
            values[used++] = of(s);
    }
    return used ? score_quantile(values, used, share) : -1.0;
}

static double ratio_over_blocks(const struct sides *blocks, int n, double (*of)(const struct side *), double share,
                                double floor, double *values)
{
    double inside = over_blocks(blocks, n, true, of, share, values);
    double around = over_blocks(blocks, n, false, of, share, values);

    return inside < 0 || around < 0 ? 1.0 : fmin((inside + floor) / (around + floor), ratio_max);
}

static enum err_code measure_blocks(struct arena *a, const struct score_pictures *in, const struct score_area *s,
                                    struct score_blocks *ret, struct err *err)
{
    struct grid g = grid_of(in->after, s);
    struct sides *blocks;
    double *values;

    ret->sharpness = ret->grain = 1.0;
    if (g.n == 0)
        return ERR_OK;
    TRY(arena_alloc(a, (size_t)g.n, sizeof *blocks, &blocks, err));
    TRY(arena_alloc(a, (size_t)g.n, sizeof *values, &values, err));
#pragma omp parallel for schedule(static)
    for (int i = 0; i < g.n; i++) {
        int at = i * g.step;

        blocks[i] = measure_block(in, g.left + at % g.columns * BLOCK, g.top + at / g.columns * BLOCK);
    }
    ret->sharpness = ratio_over_blocks(blocks, g.n, variance, 0.5, laplacian_floor, values);
    ret->grain = ratio_over_blocks(blocks, g.n, noise, flat_share, grain_floor_levels, values);
    return ERR_OK;
}

/* Means over squares of GHOST_CELL pixels: what the edited photo shows, and what was taken away from the photo. */
struct cells {
    int width, height;
    float *shown, *removed; /* [height, width, 3] */
};

static void fill_cell(const struct score_area *s, const struct cells *c, int column, int row)
{
    for (int k = 0; k < 3; k++) {
        int shown = 0, removed = 0;
        size_t at = 3 * ((size_t)row * (size_t)c->width + (size_t)column) + (size_t)k;

        for (int y = row * GHOST_CELL; y < (row + 1) * GHOST_CELL; y++)
            for (int x = column * GHOST_CELL; x < (column + 1) * GHOST_CELL; x++) {
                size_t i = 3 * ((size_t)y * (size_t)s->width + (size_t)x) + (size_t)k;

                shown += s->after[i];
                removed += s->before[i] - s->after[i];
            }
        c->shown[at] = (float)shown / (GHOST_CELL * GHOST_CELL);
        c->removed[at] = (float)removed / (GHOST_CELL * GHOST_CELL);
    }
}

/* How sure it is that something was taken away from a cell: 0 .. 1. Grain alone is not. */
static double removal(const float *removed)
{
    double square = (removed[0] * removed[0] + removed[1] * removed[1] + removed[2] * removed[2]) / 3.0;

    return square / (square + GHOST_CHANGE * GHOST_CHANGE);
}

/*
 * Where a share g of an object o is left on a ground u, the photo shows u + g (o - u), and (1 - g) (o - u) was removed.
 * The slopes of the first, fitted to those of the second, give g / (1 - g), less what the slopes of the ground itself
 * take away from it; their square is added again where something was removed.
 */
static void add_slopes(const struct cells *c, size_t i, double sure, double *cross, double *square)
{
    const size_t steps[2] = { 3, 3 * (size_t)c->width };

    for (int k = 0; k < 2; k++) {
        double shown = c->shown[i + steps[k]] - c->shown[i - steps[k]];
        double removed = c->removed[i + steps[k]] - c->removed[i - steps[k]];

        *cross += shown * (removed + sure * shown);
        *square += removed * removed;
    }
}

static double fit_slopes(const struct cells *c)
{
    double cross = 0, square = 0, fit;

    for (int y = 1; y + 1 < c->height; y++)
        for (int x = 1; x + 1 < c->width; x++) {
            size_t i = 3 * ((size_t)y * (size_t)c->width + (size_t)x);
            double sure = removal(c->removed + i);

            for (size_t k = 0; k < 3; k++)
                add_slopes(c, i + k, sure, &cross, &square);
        }
    fit = cross / (square + 1.0);
    return fit / (1.0 + fabs(fit));
}

static enum err_code measure_ghost(struct arena *a, const struct score_area *s, double *ret, struct err *err)
{
    struct cells c = { .width = s->width / GHOST_CELL, .height = s->height / GHOST_CELL };
    size_t n = 3 * (size_t)c.width * (size_t)c.height;

    *ret = 0.0;
    if (n == 0)
        return ERR_OK;
    TRY(arena_alloc(a, n, sizeof *c.shown, &c.shown, err));
    TRY(arena_alloc(a, n, sizeof *c.removed, &c.removed, err));
#pragma omp parallel for schedule(static)
    for (int i = 0; i < c.width * c.height; i++)
        fill_cell(s, &c, i % c.width, i / c.width);
    *ret = fit_slopes(&c);
    return ERR_OK;
}

enum err_code score_blocks_measure(struct arena *a, const struct score_pictures *in, const struct score_area *s,
                                   struct score_blocks *ret, struct err *err)
{
    ARENA_SCRATCH(a);

    TRY(measure_blocks(a, in, s, ret, err));
    return measure_ghost(a, s, &ret->ghost, err);
}
