#include "models/picture/score_windows.h"

#include <math.h>
#include <string.h>

#include "kernels/base/processor.h"

enum {
    WINDOW = 16, /* pixels of the area */
    STRIDE = 8,
    N_DIRECTIONS = 8,
    N_COARSE = 4,
    N_PLAIN = 7 + N_DIRECTIONS + N_COARSE,
    INSIDE_MAX = 800, /* windows */
    AROUND_MAX = 1600,
    AROUND_MIN = 8,
    NEAREST = 3,
    LATENT_WINDOW = 4, /* cells */
    LATENT_STRIDE = 2
};
static const double inside_share = 0.75, inside_share_of_thin = 0.25; /* of a window's pixels */
static const double hallucination_max = 5.0, usual_share = 0.95;
static const float distance_floor = 0.05f; /* in spreads */

/* A set of windows with their features. */
struct windows {
    int n, dims;
    float size;    /* of a window, in the unit of x and y */
    float *x, *y;  /* middles */
    float *share;  /* 0 .. 1: pasted */
    float *values; /* [n, dims] */
};

static enum err_code windows_new(struct arena *a, int n, int dims, double size, struct windows *ret, struct err *err)
{
    struct windows w = { .n = n, .dims = dims, .size = (float)size };

    TRY(arena_alloc(a, (size_t)n, sizeof *w.x, &w.x, err));
    TRY(arena_alloc(a, (size_t)n, sizeof *w.y, &w.y, err));
    TRY(arena_alloc(a, (size_t)n, sizeof *w.share, &w.share, err));
    TRY(arena_alloc(a, (size_t)n * (size_t)dims, sizeof *w.values, &w.values, err));
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
            sum += w->values[(size_t)around[i] * (size_t)w->dims + (size_t)d];
        for (int i = 0; i < n; i++)
            sum2 += pow(w->values[(size_t)around[i] * (size_t)w->dims + (size_t)d] - sum / n, 2);
        deviation = sqrt(sum2 / n) + 1e-6;
        for (int i = 0; i < w->n; i++)
            w->values[(size_t)i * (size_t)w->dims + (size_t)d] /= (float)deviation;
    }
}

INLINE_HOT float distance2(const float *a, const float *b, int n)
{
    float sum[8] = { 0 };
    int i = 0;

    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++)
            sum[k] += (a[i + k] - b[i + k]) * (a[i + k] - b[i + k]);
    for (; i < n; i++)
        sum[0] += (a[i] - b[i]) * (a[i] - b[i]);
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

INLINE_HOT bool overlap(const struct windows *w, int i, int k)
{
    return fabsf(w->x[i] - w->x[k]) < w->size && fabsf(w->y[i] - w->y[k]) < w->size;
}

/* The mean distance to the nearest windows around; -1 where there are too few. */
EVERY_PROCESSOR static double nearest(const struct windows *w, int i, const int *around, int n)
{
    const float *own = w->values + (size_t)i * (size_t)w->dims;
    float best[NEAREST + 1];
    double sum = 0;

    for (int k = 0; k <= NEAREST; k++)
        best[k] = INFINITY;
    for (int j = 0; j < n; j++) {
        int k = NEAREST;

        if (overlap(w, i, around[j]))
            continue;
        best[k] = distance2(own, w->values + (size_t)around[j] * (size_t)w->dims, w->dims);
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

/* The direction of an edge as one of n parts of a half turn. */
INLINE_HOT int direction(float dx, float dy, int n)
{
    float turn = atan2f(dy, dx) * (float)(1.0 / M_PI); /* -1 .. 1 */
    int i = (int)floorf((turn < 0 ? turn + 1.0f : turn) * (float)n);

    return i < 0 ? 0 : i < n ? i : n - 1;
}

/* Sums of squared slopes by direction; the slopes are taken over `step` pixels to each side. */
static void add_directions(const struct scale *s, int left, int top, int step, int n, float *ret)
{
    for (int y = top + step; y < top + WINDOW - step; y += step)
        for (int x = left + step; x < left + WINDOW - step; x += step) {
            const float *p = s->grey + (size_t)y * (size_t)s->width + (size_t)x;
            float dx = p[step] - p[-step], dy = p[step * s->width] - p[-step * s->width];

            ret[direction(dx, dy, n)] += (dx * dx + dy * dy) * (float)(step * step) / (WINDOW * WINDOW);
        }
}

static void moments(const struct scale *s, const float *plane, int left, int top, float *ret_mean, float *ret_deviation)
{
    float sum = 0, sum2 = 0;

    for (int y = top; y < top + WINDOW; y++)
        for (int x = left; x < left + WINDOW; x++)
            sum += plane[(size_t)y * (size_t)s->width + (size_t)x];
    *ret_mean = sum / (WINDOW * WINDOW);
    for (int y = top; y < top + WINDOW; y++)
        for (int x = left; x < left + WINDOW; x++) {
            float d = plane[(size_t)y * (size_t)s->width + (size_t)x] - *ret_mean;

            sum2 += d * d;
        }
    if (ret_deviation)
        *ret_deviation = sqrtf(sum2 / (WINDOW * WINDOW));
}

static float laplacian(const struct scale *s, int left, int top)
{
    float sum = 0;

    for (int y = top + 1; y < top + WINDOW - 1; y++)
        for (int x = left + 1; x < left + WINDOW - 1; x++) {
            const float *p = s->grey + (size_t)y * (size_t)s->width + (size_t)x;

            sum += fabsf(p[-1] + p[1] + p[-s->width] + p[s->width] - 4.0f * p[0]);
        }
    return sum / (WINDOW * WINDOW);
}

/* Colour in levels; contrast in logarithms, as the eye judges it. */
static void describe(const struct scale *s, int left, int top, float *v)
{
    float deviation[3], slopes[N_DIRECTIONS + N_COARSE] = { 0 };

    moments(s, s->grey, left, top, v, deviation);
    moments(s, s->first, left, top, v + 1, deviation + 1);
    moments(s, s->second, left, top, v + 2, deviation + 2);
    for (int i = 0; i < 3; i++)
        v[3 + i] = logf(1.0f + deviation[i]);
    v[6] = logf(1.0f + laplacian(s, left, top));
    add_directions(s, left, top, 1, N_DIRECTIONS, slopes);
    add_directions(s, left, top, 3, N_COARSE, slopes + N_DIRECTIONS);
    for (int i = 0; i < N_DIRECTIONS + N_COARSE; i++)
        v[7 + i] = logf(1.0f + sqrtf(slopes[i]));
}

static enum err_code measure_scale(struct arena *a, const struct scale *s, struct score_coherence *ret, struct err *err)
{
    ARENA_SCRATCH(a);
    int columns = (s->width - WINDOW) / STRIDE + 1, rows = (s->height - WINDOW) / STRIDE + 1;
    struct windows w;

    *ret = (struct score_coherence){ 1.0, 0.0 };
    if (s->width < WINDOW || s->height < WINDOW)
        return ERR_OK;
    TRY(windows_new(a, columns * rows, N_PLAIN, WINDOW, &w, err));
#pragma omp parallel for schedule(static)
    for (int i = 0; i < w.n; i++) {
        int left = i % columns * STRIDE, top = i / columns * STRIDE;

        w.x[i] = (float)left;
        w.y[i] = (float)top;
        moments(s, s->paste, left, top, w.share + i, NULL);
        describe(s, left, top, w.values + (size_t)i * N_PLAIN);
    }
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
    double size = f->cell * LATENT_WINDOW, left = f->left + f->cell * column, top = f->top + f->cell * row;
    int n = 0, inside = 0, touched = 0;

    for (int v = 0; v < WINDOW; v++)
        for (int u = 0; u < WINDOW; u++) {
            int x = (int)(left + size * (u + 0.5) / WINDOW), y = (int)(top + size * (v + 0.5) / WINDOW);

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
            describe_cells(f, column, row, w.values + (size_t)i * (size_t)w.dims);
        }
        TRY(compare(a, &w, &got, err));
    }
    *ret = got;
    return ERR_OK;
}
