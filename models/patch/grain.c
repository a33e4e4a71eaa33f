#include "models/patch/grain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/patch/grain_block.h"

enum {
    CELL = 4, /* pixels; blocks begin at cells */
    BLOCK_CELLS = GRAIN_BLOCK / CELL,
    NEAR_CELLS = GRAIN_NEAR / CELL,
    FAR_CELLS = GRAIN_FAR / CELL,
    BLOCKS_MOST = 4096, /* that are looked at */
    SPECTRA_MOST = 1024,
    BANDS = 16, /* of brightness */
    BAND = 256 / BANDS,
    BAND_BLOCKS = 8 /* that a band needs for a word of its own */
};

#define BLOCKS_LEAST      5.0  /* flat ones side by side, for grain to be known */
#define CALMEST           0.1  /* the calmest blocks: this quantile of their variance */
#define VARIANCE_FLOOR    0.5  /* levels squared; below it every block counts as calm: much of it is rounding */
#define BAND_RATIO        5.0  /* grain hardly differs between brightnesses by more than this, in variance, */
#define BAND_RATIO_MOST   8.0  /* and never by more than this */
#define STEEP_SIGMA_MOST  5.0  /* levels; grain that is strong for this must be fine, too */
#define SIGMA_MOST        13.0 /* levels */
#define FINE_RATIO        16.0 /* of the power at radius 2 to that at radius 7 */
#define STRONG_FLAT_SHARE 0.5  /* of all blocks; strong grain is everywhere */

/* How many of the hole's cells lie above and to the left: in it at least in part, and not whole. */
struct cell_map {
    int columns, rows;
    int *touched, *broken; /* [rows + 1, columns + 1] */
};

struct site {
    int x, y; /* pixels */
    float luma, variance;
    bool clipped, coloured, flat;
};

struct sites {
    int n;
    double side_by_side; /* how many of the sites' n there would be without overlap: n times this */
    struct site *at;
};

enum where { IN_PHOTO, IN_PATCH };

static void mark_cell(const struct patch_area *p, int i, int j, int *ret_touched, int *ret_broken)
{
    int n = 0;

    for (int y = j * CELL; y < (j + 1) * CELL; y++)
        for (int x = i * CELL; x < (i + 1) * CELL; x++)
            n += p->hole[(size_t)y * (size_t)p->width + (size_t)x] != 0;
    *ret_touched = n > 0;
    *ret_broken = n < CELL * CELL;
}

static enum err_code map_cells(struct arena *a, const struct patch_area *p, struct cell_map *m, struct err *err)
{
    int stride;

    *m = (struct cell_map){ .columns = p->width / CELL, .rows = p->height / CELL };
    stride = m->columns + 1;
    TRY(arena_alloc(a, (size_t)stride * (size_t)(m->rows + 1), sizeof *m->touched, &m->touched, err));
    TRY(arena_alloc(a, (size_t)stride * (size_t)(m->rows + 1), sizeof *m->broken, &m->broken, err));
#pragma omp parallel for schedule(static)
    for (int j = 0; j < m->rows; j++) {
        int *t = m->touched + (size_t)(j + 1) * (size_t)stride, *b = m->broken + (size_t)(j + 1) * (size_t)stride;

        for (int i = 0; i < m->columns; i++) {
            mark_cell(p, i, j, &t[i + 1], &b[i + 1]);
            t[i + 1] += t[i];
            b[i + 1] += b[i];
        }
    }
    for (int j = 1; j <= m->rows; j++)
        for (int i = 1; i <= m->columns; i++) {
            size_t at = (size_t)j * (size_t)stride + (size_t)i;

            m->touched[at] += m->touched[at - (size_t)stride];
            m->broken[at] += m->broken[at - (size_t)stride];
        }
    return ERR_OK;
}

/* The count in a block of cells and `grow` cells around it. */
static int count_cells(const struct cell_map *m, const int *sums, int i, int j, int grow)
{
    int left = i - grow > 0 ? i - grow : 0, top = j - grow > 0 ? j - grow : 0;
    int right = i + BLOCK_CELLS + grow < m->columns ? i + BLOCK_CELLS + grow : m->columns;
    int bottom = j + BLOCK_CELLS + grow < m->rows ? j + BLOCK_CELLS + grow : m->rows;
    size_t stride = (size_t)m->columns + 1;

    return sums[(size_t)bottom * stride + (size_t)right] - sums[(size_t)top * stride + (size_t)right] -
           sums[(size_t)bottom * stride + (size_t)left] + sums[(size_t)top * stride + (size_t)left];
}

static bool belongs(const struct cell_map *m, enum where where, int i, int j)
{
    if (where == IN_PATCH)
        return !count_cells(m, m->broken, i, j, 0);
    return !count_cells(m, m->touched, i, j, NEAR_CELLS) && count_cells(m, m->touched, i, j, FAR_CELLS);
}

/* Writes the sites when there is a list, and counts them in any case. */
static int list_sites(const struct cell_map *m, enum where where, int step, struct site *at)
{
    int n = 0;

    for (int j = 0; j + BLOCK_CELLS <= m->rows; j += step)
        for (int i = 0; i + BLOCK_CELLS <= m->columns; i += step)
            if (belongs(m, where, i, j)) {
                if (at)
                    at[n] = (struct site){ .x = i * CELL, .y = j * CELL };
                n++;
            }
    return n;
}

static enum err_code find_sites(struct arena *a, const struct patch_area *p, enum where where, struct sites *ret,
                                struct err *err)
{
    struct cell_map m;
    int step = 1;

    TRY(map_cells(a, p, &m, err));
    ret->n = list_sites(&m, where, step, NULL);
    while (ret->n > BLOCKS_MOST) {
        int larger = (int)ceil(step * sqrt((double)ret->n / BLOCKS_MOST));

        step = larger > step ? larger : step + 1;
        ret->n = list_sites(&m, where, step, NULL);
    }
    ret->side_by_side = step < BLOCK_CELLS ? (double)(step * step) / (BLOCK_CELLS * BLOCK_CELLS) : 1;
    TRY(arena_alloc(a, (size_t)ret->n + 1, sizeof *ret->at, &ret->at, err));
    list_sites(&m, where, step, ret->at);
    return ERR_OK;
}

/* Reads a block, and notes at its site whether values are cut off at the ends of the range, and whether any pixel has
 * colour. */
static void read_block(const struct patch_area *p, enum where where, struct site *s, struct grain_block *b)
{
    int clipped = 0;

    s->coloured = false;
    for (int i = 0; i < GRAIN_BLOCK_PIXELS; i++) {
        size_t at = 3 * ((size_t)(s->y + i / GRAIN_BLOCK) * (size_t)p->width + (size_t)(s->x + i % GRAIN_BLOCK));
        float v[3];

        for (int c = 0; c < 3; c++)
            b->channel[c][i] = v[c] = where == IN_PHOTO ? (float)p->photo[at + (size_t)c] : p->patch[at + (size_t)c];
        for (int c = 0; c < 3; c++)
            clipped += !(v[c] > 0.5F && v[c] < 254.5F);
        s->coloured |= v[0] != v[1] || v[1] != v[2];
    }
    s->clipped = clipped > 3 * GRAIN_BLOCK_PIXELS / 50;
}

static void measure_site(const struct patch_area *p, enum where where, struct site *s)
{
    struct grain_block b;
    float sum = 0, squares = 0;

    read_block(p, where, s, &b);
    for (int i = 0; i < GRAIN_BLOCK_PIXELS; i++)
        sum += patch_luma(b.channel[0][i], b.channel[1][i], b.channel[2][i]);
    grain_block_flatten(&b);
    for (int i = 0; i < GRAIN_BLOCK_PIXELS; i++) {
        float l = patch_luma(b.channel[0][i], b.channel[1][i], b.channel[2][i]);

        squares += l * l;
    }
    s->luma = sum / GRAIN_BLOCK_PIXELS;
    s->variance = squares / (GRAIN_BLOCK_PIXELS - 3);
}

static void measure_sites(const struct patch_area *p, enum where where, const struct sites *s)
{
#pragma omp parallel for schedule(static)
    for (int i = 0; i < s->n; i++)
        measure_site(p, where, &s->at[i]);
}

static int shade_of(float luma)
{
    return luma > 0 ? luma < 255 ? (int)luma : 255 : 0;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* The variances of a band's blocks, sorted; without those that are cut off, if enough others are there. */
static int sorted_band(const struct sites *s, int band, float *v)
{
    int n = 0;

    for (int pass = 0; pass < 2 && n < BAND_BLOCKS; pass++) {
        n = 0;
        for (int i = 0; i < s->n; i++)
            if (shade_of(s->at[i].luma) / BAND == band && (pass || !s->at[i].clipped))
                v[n++] = s->at[i].variance;
    }
    qsort(v, (size_t)n, sizeof *v, compare_floats);
    return n;
}

/* What is known of the bands of brightness: a value each where count is not 0. */
struct bands {
    int count[BANDS];
    double value[BANDS], shade[BANDS];
};

/* The calmest blocks' variance in each band. Bands in which it is too high to be the same grain are left out. */
static void find_calmest(const struct sites *s, double ratio, float *scratch, struct bands *b)
{
    double least = HUGE_VAL;

    for (int k = 0; k < BANDS; k++) {
        double v = 0;

        b->count[k] = sorted_band(s, k, scratch);
        b->shade[k] = (k + 0.5) * BAND;
        if (b->count[k] < BAND_BLOCKS)
            b->count[k] = 0;
        else
            v = (double)scratch[(int)(CALMEST * b->count[k])];
        b->value[k] = v > VARIANCE_FLOOR ? v : VARIANCE_FLOOR;
        if (b->count[k] >= s->n / 10 && b->count[k] && b->value[k] < least)
            least = b->value[k];
    }
    for (int k = 0; k < BANDS; k++)
        if (b->value[k] > ratio * least)
            b->count[k] = 0;
}

/* Straight lines between the bands that are known, level beyond them. False: none is. */
static bool spread_bands(const struct bands *b, float ret[GRAIN_SHADES])
{
    int left = -1;

    for (int k = 0; k < BANDS; k++) {
        int to = (int)b->shade[k];

        if (!b->count[k])
            continue;
        for (int i = left < 0 ? 0 : (int)b->shade[left]; i <= to; i++) {
            double t = left < 0 ? 1 : (i - b->shade[left]) / (b->shade[k] - b->shade[left]);

            t = t < 0 ? 0 : t > 1 ? 1 : t;
            ret[i] = (float)(left < 0 ? b->value[k] : (1 - t) * b->value[left] + t * b->value[k]);
        }
        left = k;
    }
    for (int i = left < 0 ? GRAIN_SHADES : (int)b->shade[left]; i < GRAIN_SHADES; i++)
        ret[i] = (float)b->value[left];
    return left >= 0;
}

/* The mean of the flat blocks' variance at each brightness. Bands with few blocks lean on the mean of all. */
static bool spread_variance(const struct sites *s, float ret[GRAIN_SHADES])
{
    struct bands b = { .count = { 0 } };
    double sum = 0;
    int n = 0;

    for (int i = 0; i < s->n; i++) {
        int k = shade_of(s->at[i].luma) / BAND;

        if (!s->at[i].flat)
            continue;
        b.count[k]++;
        b.value[k] += (double)s->at[i].variance;
        b.shade[k] += (double)s->at[i].luma;
        sum += (double)s->at[i].variance;
        n++;
    }
    for (int k = 0; k < BANDS; k++) {
        if (!b.count[k])
            continue;
        b.value[k] = (b.value[k] + BAND_BLOCKS / 2 * sum / n) / (b.count[k] + BAND_BLOCKS / 2);
        b.shade[k] /= b.count[k];
    }
    return spread_bands(&b, ret);
}

static double mark_flat(const struct sites *s, const float flat_variance[GRAIN_SHADES])
{
    int n = 0;

    for (int i = 0; i < s->n; i++) {
        s->at[i].flat = s->at[i].variance <= flat_variance[shade_of(s->at[i].luma)];
        n += s->at[i].flat;
    }
    return n * s->side_by_side;
}

struct block_spectrum {
    float power[GRAIN_BINS][GRAIN_PAIRS];
};

/* The sites whose spectra are taken, SPECTRA_MOST at most, evenly among the flat ones; without those that are cut off,
 * if enough others are there. */
static int choose_sites(const struct sites *s, int *ret_chosen)
{
    int n = 0, whole = 0, taken = 0;

    for (int i = 0; i < s->n; i++) {
        n += s->at[i].flat;
        whole += s->at[i].flat && !s->at[i].clipped;
    }
    if (whole * s->side_by_side >= BLOCKS_LEAST)
        n = whole;
    for (int i = 0, k = 0; i < s->n; i++)
        if (s->at[i].flat && (n != whole || !s->at[i].clipped)) {
            if ((int64_t)(k + 1) * SPECTRA_MOST / (n > SPECTRA_MOST ? n : SPECTRA_MOST) > taken || n <= SPECTRA_MOST)
                ret_chosen[taken++] = i;
            k++;
        }
    return taken;
}

/* The mean over flat blocks, each in units of the variance at its brightness. */
static enum err_code average_spectra(struct arena *a, const struct patch_area *p, enum where where,
                                     const struct sites *s, const float variance[GRAIN_SHADES],
                                     struct grain_spectrum *ret, struct err *err)
{
    struct grain_transform t;
    struct block_spectrum *each;
    int *chosen, n;

    TRY(arena_alloc(a, (size_t)s->n + 1, sizeof *chosen, &chosen, err));
    TRY(arena_alloc(a, SPECTRA_MOST, sizeof *each, &each, err));
    grain_transform_init(&t);
    n = choose_sites(s, chosen);
#pragma omp parallel for schedule(static)
    for (int i = 0; i < n; i++) {
        struct site *at = &s->at[chosen[i]];
        struct grain_block b;

        read_block(p, where, at, &b);
        grain_block_flatten(&b);
        grain_block_spectrum(&t, &b, each[i].power);
    }
    memset(ret, 0, sizeof *ret);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < GRAIN_BINS * GRAIN_PAIRS; k++) {
            double v = (double)variance[shade_of(s->at[chosen[i]].luma)];

            ret->power[k / GRAIN_PAIRS][k % GRAIN_PAIRS] +=
                (double)each[i].power[k / GRAIN_PAIRS][k % GRAIN_PAIRS] / ((v > 1e-3 ? v : 1e-3) * n);
        }
    return ERR_OK;
}

static double mean_sigma(const struct sites *s)
{
    double sum = 0;
    int n = 0;

    for (int i = 0; i < s->n; i++)
        if (s->at[i].flat) {
            sum += (double)s->at[i].variance;
            n++;
        }
    return n ? sqrt(sum / n) : 0;
}

struct grain_power grain_circle(const struct grain_spectrum *s, int radius)
{
    const double r = 0.299, g = 0.587, b = 0.114;
    struct grain_power ret = { 0 };
    int n = 0;

    for (int u = 0; u <= GRAIN_HALF; u++)
        for (int v = 0; v <= u; v++) {
            const double *p = s->power[grain_bin(u, v)];

            if (lround(sqrt(u * u + v * v)) != radius)
                continue;
            ret.luma += r * r * p[0] + g * g * p[1] + b * b * p[2] + 2 * (r * g * p[3] + r * b * p[4] + g * b * p[5]);
            ret.channels += p[0] + p[1] + p[2];
            n++;
        }
    ret.luma /= n;
    ret.channels /= n;
    return ret;
}

/* A camera's grain is weak, or it is fine and everywhere. Grass, gravel, foliage and fur are neither. */
static bool is_texture(const struct grain *g, double flat_share)
{
    if (g->sigma <= STEEP_SIGMA_MOST)
        return false;
    return !(g->sigma <= SIGMA_MOST &&
             grain_circle(&g->spectrum, 2).luma <= FINE_RATIO * grain_circle(&g->spectrum, 7).luma &&
             flat_share >= STRONG_FLAT_SHARE);
}

static bool without_colour(const struct sites *s)
{
    for (int i = 0; i < s->n; i++)
        if (s->at[i].coloured)
            return false;
    return true;
}

/* Marks the flat blocks; returns how many there would be side by side. */
static double find_flat(const struct sites *s, double ratio, float *scratch, struct grain *g)
{
    struct bands calm;

    find_calmest(s, ratio, scratch, &calm);
    if (!spread_bands(&calm, g->flat_variance))
        return 0;
    for (int i = 0; i < GRAIN_SHADES; i++)
        g->flat_variance[i] *= (float)GRAIN_FLAT;
    return mark_flat(s, g->flat_variance);
}

enum err_code grain_measure_photo(struct arena *a, const struct patch_area *area, struct grain *ret, struct err *err)
{
    ARENA_SCRATCH(a);
    struct grain g = { .outcome = GRAIN_NO_BLOCKS };
    struct sites s = { 0 };
    float *scratch;

    TRY(find_sites(a, area, IN_PHOTO, &s, err));
    TRY(arena_alloc(a, (size_t)s.n + 1, sizeof *scratch, &scratch, err));
    measure_sites(area, IN_PHOTO, &s);
    g.blocks = find_flat(&s, BAND_RATIO, scratch, &g);
    if (g.blocks < BLOCKS_LEAST)
        g.blocks = find_flat(&s, BAND_RATIO_MOST, scratch, &g);
    g.sigma = mean_sigma(&s);
    g.grey = without_colour(&s);
    if (g.blocks >= BLOCKS_LEAST && spread_variance(&s, g.variance)) {
        TRY(average_spectra(a, area, IN_PHOTO, &s, g.variance, &g.spectrum, err));
        g.outcome = is_texture(&g, g.blocks / (s.n * s.side_by_side)) ? GRAIN_TEXTURE : GRAIN_FOUND;
    }
    *ret = g;
    return ERR_OK;
}

/* Where the patch has hardly a block that is as calm as the photo's, its own calmest ones are taken: texture, which
 * hides grain, and has power of its own in each band. */
static void mark_calm_in_patch(const struct sites *s, const struct grain *g, float *scratch)
{
    float most;

    if (mark_flat(s, g->flat_variance) >= 1 || !s->n)
        return;
    for (int i = 0; i < s->n; i++)
        scratch[i] = s->at[i].variance;
    qsort(scratch, (size_t)s->n, sizeof *scratch, compare_floats);
    most = scratch[s->n / 4];
    for (int i = 0; i < s->n; i++)
        s->at[i].flat = s->at[i].variance <= most;
}

enum err_code grain_measure_patch(struct arena *a, const struct patch_area *area, const struct grain *grain,
                                  struct grain_in_patch *ret, struct err *err)
{
    ARENA_SCRATCH(a);
    struct grain_in_patch in = { 0 };
    struct sites s = { 0 };
    double expected = 0;
    float *scratch;
    int n = 0;

    TRY(find_sites(a, area, IN_PATCH, &s, err));
    TRY(arena_alloc(a, (size_t)s.n + 1, sizeof *scratch, &scratch, err));
    measure_sites(area, IN_PATCH, &s);
    mark_calm_in_patch(&s, grain, scratch);
    TRY(average_spectra(a, area, IN_PATCH, &s, grain->variance, &in.spectrum, err));
    for (int i = 0; i < s.n; i++)
        if (s.at[i].flat) {
            expected += (double)grain->variance[shade_of(s.at[i].luma)];
            n++;
        }
    in.blocks = n * s.side_by_side;
    in.sigma = mean_sigma(&s);
    in.sigma_photo = n ? sqrt(expected / n) : 0;
    *ret = in;
    return ERR_OK;
}
