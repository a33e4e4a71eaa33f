#include "models/score/score_windows.h"

#include <math.h>
#include <string.h>

#include "kernels/base/processor.h"

enum {
    CELL = 8, /* pixels of the area; a window is 2 x 2 cells, and every cell begins one */
    N_DIRECTIONS = 8,
    N_COARSE = 4,
    N_PLAIN = 7 + N_DIRECTIONS + N_COARSE,
    INSIDE_MAX = 500, /* windows */
    AROUND_MAX = 1000,
    AROUND_MIN = 8,
    NEAREST = 3,
    LANES = 8,         /* features are padded with zeros to a multiple of this */
    COARSE_STEP = 3,   /* pixels to each side of a coarse slope, and from one to the next */
    LATENT_WINDOW = 4, /* cells */
    LATENT_STRIDE = 2
};
static const double inside_share = 0.75, inside_share_of_thin = 0.25; /* of a window's pixels */
static const double hallucination_max = 5.0, usual_share = 0.95;
static const float distance_floor = 0.05f; /* in spreads */

/* A set of windows with their features. */
struct windows {
    int n, dims, stride; /* stride: floats from one window's features to the next */
    float size;          /* of a window, in the unit of x and y */
    float *x, *y;        /* middles */
    float *share;        /* 0 .. 1: pasted */
    float *values;       /* [n, stride] */
};

static enum err_code windows_new(struct arena *a, int n, int dims, double size, struct windows *ret, struct err *err)
{
    struct windows w = { .n = n, .dims = dims, .stride = (dims + LANES - 1) / LANES * LANES, .size = (float)size };

    TRY(arena_alloc(a, (size_t)n, sizeof *w.x, &w.x, err));
    TRY(arena_alloc(a, (size_t)n, sizeof *w.y, &w.y, err));
    TRY(arena_alloc(a, (size_t)n, sizeof *w.share, &w.share, err));
    TRY(arena_alloc(a, (size_t)n * (size_t)w.stride, sizeof *w.values, &w.values, err));
    *ret = w;
    return ERR_OK;
}

/* The numbers of the windows whose share is within low .. high, of which every k-th is taken, at most `most`. */
static int choose(const struct windows *w, double low, double high, int most, int *ret)
{
    int n = 0, used = 0, step;

    for (int i = 0; i < w->n; i++)
        n += w->share[i] >= low && w->share[i] <= high;
    step = 1 + n / most;
    n = 0;
    for (int i = 0; i < w->n; i++)
        if (w->share[i] >= low && w->share[i] <= high && n++ % step == 0)
            ret[used++] = i;
    return used;
}

/* Divides each feature by its standard deviation over the windows around. */
static void normalise(struct windows *w, const int *around, int n)
{
    for (int d = 0; d < w->dims; d++) {
        double sum = 0, sum2 = 0, deviation;

        for (int i = 0; i < n; i++)
            sum += w->values[(size_t)around[i] * (size_t)w->stride + (size_t)d];
        for (int i = 0; i < n; i++)
            sum2 += pow(w->values[(size_t)around[i] * (size_t)w->stride + (size_t)d] - sum / n, 2);
        deviation = sqrt(sum2 / n) + 1e-6;
        for (int i = 0; i < w->n; i++)
            w->values[(size_t)i * (size_t)w->stride + (size_t)d] /= (float)deviation;
    }
}

INLINE_HOT float distance2(const float *restrict a, const float *restrict b, int stride)
{
    float sum[LANES] = { 0 };

    for (int i = 0; i < stride; i += LANES)
        for (int k = 0; k < LANES; k++)
            sum[k] += (a[i + k] - b[i + k]) * (a[i + k] - b[i + k]);
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

INLINE_HOT bool overlap(const struct windows *w, int i, int k)
{
    return fabsf(w->x[i] - w->x[k]) < w->size && fabsf(w->y[i] - w->y[k]) < w->size;
}

/* The mean distance to the nearest windows around; -1 where there are too few. */
EVERY_PROCESSOR static double nearest(const struct windows *w, int i, const int *around, int n)
{
    const float *own = w->values + (size_t)i * (size_t)w->stride;
    float best[NEAREST + 1];
    double sum = 0;

    for (int k = 0; k <= NEAREST; k++)
        best[k] = INFINITY;
    for (int j = 0; j < n; j++) {
        int k = NEAREST;

        if (overlap(w, i, around[j]))
            continue;
        best[k] = distance2(own, w->values + (size_t)around[j] * (size_t)w->stride, w->stride);
        for (; k > 0 && best[k] < best[k - 1]; k--) {
            float t = best[k];

            best[k] = best[k - 1];
            best[k - 1] = t;
        }
    }
    for (int k = 0; k < NEAREST; k++)
        sum += sqrt((double)best[k] / w->dims);
    return isfinite(sum) ? sum / NEAREST + (double)distance_floor : -1.0;
}

static int distances(const struct windows *w, const int *of, int n_of, const int *around, int n, double *ret)
{
    int used = 0;

#pragma omp parallel for schedule(static)
    for (int i = 0; i < n_of; i++)
        ret[i] = nearest(w, of[i], around, n);
    for (int i = 0; i < n_of; i++)
        if (ret[i] >= 0)
            ret[used++] = ret[i];
    return used;
}

static double mean(const double *v, int n)
{
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += v[i];
    return sum / n;
}

static struct score_coherence judge(const double *inside, int n_inside, double *around, int n_around)
{
    double usual = score_quantile(around, n_around, usual_share), beyond = 0;

    for (int i = 0; i < n_inside; i++)
        beyond += fmin(fmax(inside[i] / usual - 1.0, 0.0), hallucination_max);
    return (struct score_coherence){ fmin(mean(around, n_around) / mean(inside, n_inside), 1.0), beyond / n_inside };
}

/* Changes the features. Where there is too little to compare, nothing speaks against the result. */
static enum err_code compare(struct arena *a, struct windows *w, struct score_coherence *ret, struct err *err)
{
    int *inside, *around, n_inside, n_around;
    double *d_inside, *d_around;

    *ret = (struct score_coherence){ 1.0, 0.0 };
    TRY(arena_alloc(a, (size_t)w->n, sizeof *inside, &inside, err));
    TRY(arena_alloc(a, (size_t)w->n, sizeof *around, &around, err));
    TRY(arena_alloc(a, (size_t)w->n, sizeof *d_inside, &d_inside, err));
    TRY(arena_alloc(a, (size_t)w->n, sizeof *d_around, &d_around, err));
    n_inside = choose(w, inside_share, 1.0, INSIDE_MAX, inside);
    if (n_inside == 0)
        n_inside = choose(w, inside_share_of_thin, 1.0, INSIDE_MAX, inside);
    n_around = choose(w, 0.0, 0.0, AROUND_MAX, around);
    if (n_inside == 0 || n_around < AROUND_MIN)
        return ERR_OK;
    normalise(w, around, n_around);
    n_inside = distances(w, inside, n_inside, around, n_around, d_inside);
    n_around = distances(w, around, n_around, around, n_around, d_around);
    if (n_inside > 0 && n_around > 0)
        *ret = judge(d_inside, n_inside, d_around, n_around);
    return ERR_OK;
}

/* A picture at one scale, as planes: grey and two differences of colour. */
struct scale {
    int width, height;
    float *grey, *first, *second;
    float *paste; /* 0 .. 1 */
};

static enum err_code scale_new(struct arena *a, int width, int height, struct scale *ret, struct err *err)
{
    struct scale s = { .width = width, .height = height };
    size_t n = (size_t)width * (size_t)height;

    TRY(arena_alloc(a, n, sizeof *s.grey, &s.grey, err));
    TRY(arena_alloc(a, n, sizeof *s.first, &s.first, err));
    TRY(arena_alloc(a, n, sizeof *s.second, &s.second, err));
    TRY(arena_alloc(a, n, sizeof *s.paste, &s.paste, err));
    *ret = s;
    return ERR_OK;
}

static void scale_from_area(const struct score_area *s, const struct scale *ret)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < (size_t)s->width * (size_t)s->height; i++) {
        const uint8_t *p = s->after + 3 * i;

        ret->grey[i] = s->grey_after[i];
        ret->first[i] = (float)p[0] - (float)p[1];
        ret->second[i] = (float)p[2] - 0.5f * ((float)p[0] + (float)p[1]);
        ret->paste[i] = s->paste[i] >= SCORE_PASTED ? 1.0f : s->paste[i] ? 0.01f : 0.0f;
    }
}

static void halve_plane(const float *src, int src_width, float *dst, int width, int height)
{
#pragma omp parallel for schedule(static)
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            const float *p = src + (size_t)(2 * y) * (size_t)src_width + 2 * (size_t)x;

            dst[(size_t)y * (size_t)width + (size_t)x] = 0.25f * (p[0] + p[1] + p[src_width] + p[src_width + 1]);
        }
}

static void halve(const struct scale *src, const struct scale *dst)
{
    halve_plane(src->grey, src->width, dst->grey, dst->width, dst->height);
    halve_plane(src->first, src->width, dst->first, dst->width, dst->height);
    halve_plane(src->second, src->width, dst->second, dst->width, dst->height);
    halve_plane(src->paste, src->width, dst->paste, dst->width, dst->height);
}

/* What a cell adds to the windows that it belongs to. */
struct cell {
    float mean[3], square[3]; /* of grey and both differences: the mean, and the sum of squared distances from it */
    float paste, laplacian;   /* sums */
    float fine[N_DIRECTIONS], coarse[N_COARSE]; /* sums of squared slopes by direction */
    int n_fine, n_coarse;
};

struct cell_grid {
    int columns, rows;
    struct cell *cells;
};

/* Which of n equal parts of a half turn a slope lies in: how many of their borders it is beyond. */
INLINE_HOT int direction(float dx, float dy, const float (*borders)[2], int n)
{
    float flip = dy < 0 || (dy == 0 && dx < 0) ? -1.0f : 1.0f;
    int part = 0;

    for (int i = 0; i < n - 1; i++)
        part += flip * (borders[i][0] * dy - borders[i][1] * dx) >= 0;
    return part;
}

/* Cosine and sine of 1 .. 7 eighths of a half turn, and of 1 .. 3 quarters. */
static const float eighths[N_DIRECTIONS - 1][2] = { { 0.9238795f, 0.3826834f },  { 0.7071068f, 0.7071068f },
                                                    { 0.3826834f, 0.9238795f },  { 0.0f, 1.0f },
                                                    { -0.3826834f, 0.9238795f }, { -0.7071068f, 0.7071068f },
                                                    { -0.9238795f, 0.3826834f } };
static const float quarters[N_COARSE - 1][2] = { { 0.7071068f, 0.7071068f },
                                                 { 0.0f, 1.0f },
                                                 { -0.7071068f, 0.7071068f } };

INLINE_HOT void add_fine(const struct scale *s, int x, int y, struct cell *c)
{
    const float *p = s->grey + (size_t)y * (size_t)s->width + (size_t)x;
    float dx, dy;

    if (x < 1 || y < 1 || x + 1 >= s->width || y + 1 >= s->height)
        return;
    dx = p[1] - p[-1];
    dy = p[s->width] - p[-s->width];
    c->fine[direction(dx, dy, eighths, N_DIRECTIONS)] += dx * dx + dy * dy;
    c->laplacian += fabsf(p[-1] + p[1] + p[-s->width] + p[s->width] - 4.0f * p[0]);
    c->n_fine++;
}

INLINE_HOT void add_coarse(const struct scale *s, int x, int y, struct cell *c)
{
    enum { D = COARSE_STEP };
    const float *p = s->grey + (size_t)y * (size_t)s->width + (size_t)x;
    float dx, dy;

    if (x < D || y < D || x + D >= s->width || y + D >= s->height)
        return;
    dx = p[D] - p[-D];
    dy = p[D * s->width] - p[-D * s->width];
    c->coarse[direction(dx, dy, quarters, N_COARSE)] += dx * dx + dy * dy;
    c->n_coarse++;
}

INLINE_HOT float sum_of_cell(const struct scale *s, const float *plane, int left, int top)
{
    float sum = 0;

    for (int y = top; y < top + CELL; y++)
        for (int x = left; x < left + CELL; x++)
            sum += plane[(size_t)y * (size_t)s->width + (size_t)x];
    return sum;
}

INLINE_HOT void add_moments(const struct scale *s, const float *plane, int left, int top, float *mean, float *square)
{
    *mean = sum_of_cell(s, plane, left, top) / (CELL * CELL);
    for (int y = top; y < top + CELL; y++)
        for (int x = left; x < left + CELL; x++) {
            float d = plane[(size_t)y * (size_t)s->width + (size_t)x] - *mean;

            *square += d * d;
        }
}

EVERY_PROCESSOR static void fill_cell(const struct scale *s, int left, int top, struct cell *c)
{
    const float *const planes[3] = { s->grey, s->first, s->second };

    for (int i = 0; i < 3; i++)
        add_moments(s, planes[i], left, top, c->mean + i, c->square + i);
    c->paste = sum_of_cell(s, s->paste, left, top);
    for (int y = top; y < top + CELL; y++)
        for (int x = left; x < left + CELL; x++)
            add_fine(s, x, y, c);
    for (int y = top + 1; y < top + CELL; y += COARSE_STEP)
        for (int x = left + 1; x < left + CELL; x += COARSE_STEP)
            add_coarse(s, x, y, c);
}

static enum err_code cells_new(struct arena *a, const struct scale *s, struct cell_grid *ret, struct err *err)
{
    struct cell_grid g = { .columns = s->width / CELL, .rows = s->height / CELL };

    TRY(arena_alloc(a, (size_t)g.columns * (size_t)g.rows, sizeof *g.cells, &g.cells, err));
#pragma omp parallel for schedule(static)
    for (int i = 0; i < g.columns * g.rows; i++)
        fill_cell(s, i % g.columns * CELL, i / g.columns * CELL, g.cells + i);
    *ret = g;
    return ERR_OK;
}

/* Mean and standard deviation of value i over four cells. */
static void join_moments(const struct cell *const cells[4], int i, float *mean, float *deviation)
{
    float sum = 0, square = 0;

    for (int k = 0; k < 4; k++)
        sum += cells[k]->mean[i];
    *mean = sum / 4;
    for (int k = 0; k < 4; k++) {
        float d = cells[k]->mean[i] - *mean;

        square += cells[k]->square[i] + CELL * CELL * d * d;
    }
    *deviation = sqrtf(square / (4 * CELL * CELL));
}

/* Colour in levels; contrast in logarithms, as the eye judges it. */
static void describe(const struct cell *const cells[4], float *v)
{
    float deviation, fine[N_DIRECTIONS] = { 0 }, coarse[N_COARSE] = { 0 }, laplacian = 0, n_fine = 1, n_coarse = 1;

    for (int i = 0; i < 3; i++) {
        join_moments(cells, i, v + i, &deviation);
        v[3 + i] = logf(1.0f + deviation);
    }
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < N_DIRECTIONS; i++)
            fine[i] += cells[k]->fine[i];
        for (int i = 0; i < N_COARSE; i++)
            coarse[i] += cells[k]->coarse[i];
        laplacian += cells[k]->laplacian;
        n_fine += (float)cells[k]->n_fine;
        n_coarse += (float)cells[k]->n_coarse;
    }
    v[6] = logf(1.0f + laplacian / n_fine);
    for (int i = 0; i < N_DIRECTIONS; i++)
        v[7 + i] = logf(1.0f + sqrtf(fine[i] / n_fine));
    for (int i = 0; i < N_COARSE; i++)
        v[7 + N_DIRECTIONS + i] = logf(1.0f + sqrtf(coarse[i] / n_coarse));
}

static void fill_windows(const struct cell_grid *g, struct windows *w)
{
    int columns = g->columns - 1;

#pragma omp parallel for schedule(static)
    for (int i = 0; i < w->n; i++) {
        const struct cell *c = g->cells + (size_t)(i / columns) * (size_t)g->columns + (size_t)(i % columns);
        const struct cell *const cells[4] = { c, c + 1, c + g->columns, c + g->columns + 1 };

        w->x[i] = (float)(i % columns * CELL);
        w->y[i] = (float)(i / columns * CELL);
        for (int k = 0; k < 4; k++)
            w->share[i] += cells[k]->paste / (4 * CELL * CELL);
        describe(cells, w->values + (size_t)i * (size_t)w->stride);
    }
}

static enum err_code measure_scale(struct arena *a, const struct scale *s, struct score_coherence *ret, struct err *err)
{
    ARENA_SCRATCH(a);
    struct cell_grid g;
    struct windows w;

    *ret = (struct score_coherence){ 1.0, 0.0 };
    if (s->width < 2 * CELL || s->height < 2 * CELL)
        return ERR_OK;
    TRY(cells_new(a, s, &g, err));
    TRY(windows_new(a, (g.columns - 1) * (g.rows - 1), N_PLAIN, 2 * CELL, &w, err));
    fill_windows(&g, &w);
    return compare(a, &w, ret, err);
}

enum err_code score_windows_measure(struct arena *a, const struct score_area *s, struct score_coherence *ret,
                                    struct err *err)
{
    ARENA_SCRATCH(a);
    struct score_coherence fine, coarse;
    struct scale whole, half;

    TRY(scale_new(a, s->width, s->height, &whole, err));
    TRY(scale_new(a, s->width / 2, s->height / 2, &half, err));
    scale_from_area(s, &whole);
    halve(&whole, &half);
    TRY(measure_scale(a, &whole, &fine, err));
    TRY(measure_scale(a, &half, &coarse, err));
    ret->coherence = sqrt(fine.coherence * coarse.coherence);
    ret->hallucination = 0.5 * (fine.hallucination + coarse.hallucination);
    return ERR_OK;
}

static enum err_code check_features(const struct score_features *f, const struct image *paste, struct err *err)
{
    if (f->dims < 1 || f->dims > SCORE_DIMS_MAX / 2 || f->columns < 1 || f->rows < 1 || !(f->cell > 0) ||
        paste->channels != 1)
        return err_set(err, ERR_INVALID,
                       "scores: a grid of %d x %d cells with %d features each; 1 to %d features in "
                       "at least one cell are allowed",
                       f->columns, f->rows, f->dims, SCORE_DIMS_MAX / 2);
    return ERR_OK;
}

/* The pasted share of a window of cells: 1 for pixels inside, a little for those of the transition. */
static float share_of(const struct score_features *f, const struct image *paste, int column, int row)
{
    enum { SAMPLES = 16 };
    double size = f->cell * LATENT_WINDOW, left = f->left + f->cell * column, top = f->top + f->cell * row;
    int n = 0, inside = 0, touched = 0;

    for (int v = 0; v < SAMPLES; v++)
        for (int u = 0; u < SAMPLES; u++) {
            int x = (int)(left + size * (u + 0.5) / SAMPLES), y = (int)(top + size * (v + 0.5) / SAMPLES);

            if (x < 0 || y < 0 || x >= paste->width || y >= paste->height)
                continue;
            n++;
            inside += paste->pixels[(size_t)y * (size_t)paste->width + (size_t)x] >= SCORE_PASTED;
            touched += paste->pixels[(size_t)y * (size_t)paste->width + (size_t)x] > 0;
        }
    return n == 0 ? 0.01f : (float)inside / (float)n + (touched > inside ? 0.001f : 0.0f);
}

static void describe_cells(const struct score_features *f, int column, int row, float *v)
{
    enum { N = LATENT_WINDOW * LATENT_WINDOW };

    for (int d = 0; d < f->dims; d++) {
        float sum = 0, sum2 = 0;

        for (int i = 0; i < N; i++)
            sum += f->values[((size_t)(row + i / LATENT_WINDOW) * (size_t)f->columns + (size_t)column +
                              (size_t)(i % LATENT_WINDOW)) *
                                 (size_t)f->dims +
                             (size_t)d];
        for (int i = 0; i < N; i++) {
            float x = f->values[((size_t)(row + i / LATENT_WINDOW) * (size_t)f->columns + (size_t)column +
                                 (size_t)(i % LATENT_WINDOW)) *
                                    (size_t)f->dims +
                                (size_t)d] -
                      sum / N;

            sum2 += x * x;
        }
        v[d] = sum / N;
        v[f->dims + d] = sqrtf(sum2 / N);
    }
}

enum err_code score_features_measure(struct arena *a, const struct score_features *f, const struct image *paste,
                                     struct score_coherence *ret, struct err *err)
{
    ARENA_SCRATCH(a);
    int columns = (f->columns - LATENT_WINDOW) / LATENT_STRIDE + 1,
        rows = (f->rows - LATENT_WINDOW) / LATENT_STRIDE + 1;
    struct score_coherence got = { 1.0, 0.0 };
    struct windows w;

    TRY(check_features(f, paste, err));
    if (f->columns >= LATENT_WINDOW && f->rows >= LATENT_WINDOW) {
        TRY(windows_new(a, columns * rows, 2 * f->dims, LATENT_WINDOW * f->cell, &w, err));
        for (int i = 0; i < w.n; i++) {
            int column = i % columns * LATENT_STRIDE, row = i / columns * LATENT_STRIDE;

            w.x[i] = (float)(column * f->cell);
            w.y[i] = (float)(row * f->cell);
            w.share[i] = share_of(f, paste, column, row);
            describe_cells(f, column, row, w.values + (size_t)i * (size_t)w.stride);
        }
        TRY(compare(a, &w, &got, err));
    }
    *ret = got;
    return ERR_OK;
}
