#include "models/patch/tone.h"

#include <math.h>

#include "kernels/base/processor.h"

enum {
    CELL_LEAST_SIDE = 8,
    CELL_MOST_SIDE = 64, /* pixels */
    CELLS_WANTED = 24,
    CELLS_LEAST = 4,
    CELL_LEAST_PIXELS = 6, /* of the overlap, and of the photo outside */
    ROUNDS = 12            /* of reweighting */
};

#define SPREAD_PRIOR 64.0 /* levels squared; cells must differ by more than its root before they tell of contrast */

/* Sums over the pixels of a cell, then means. */
struct cell {
    int n_overlap[3], n_outside; /* an overlap for each channel: what is cut off counts for none */
    float photo[3], patch[3], outside[3];
};

struct grid {
    int side, columns, rows; /* side in pixels */
    struct cell *cells;
};

struct line {
    double gain, offset;
};

/* The values of one channel over the cells. */
struct pairs {
    int n, channel;
    const struct cell *cells;
    int *at; /* the n cells that have enough pixels of the channel */
    float *weight, *scratch;
};

/* The overlap of the two: painted, and not pasted. Where the paste leaves too little of it, its ramp counts, too. */
INLINE_HOT bool overlaps(uint8_t hole, uint8_t paste, uint8_t most_paste)
{
    return hole && paste <= most_paste;
}

static int64_t count_overlap(const struct patch_area *p, uint8_t most_paste)
{
    int64_t n = 0;

#pragma omp parallel for schedule(static) reduction(+ : n)
    for (int y = 0; y < p->height; y++) {
        size_t row = (size_t)y * (size_t)p->width;
        int m = 0;

        for (int x = 0; x < p->width; x++)
            m += overlaps(p->hole[row + (size_t)x], p->paste[row + (size_t)x], most_paste);
        n += m;
    }
    return n;
}

/* A value of the patch at an end of the range may stand for one beyond. */
static bool cut_off(float v)
{
    return !(v > 0.5F && v < 254.5F);
}

static void add_pixel(struct cell *c, const struct patch_area *p, size_t i, uint8_t most_paste)
{
    const uint8_t *photo = p->photo + 3 * i;
    const float *patch = p->patch + 3 * i;

    if (!p->hole[i]) {
        c->n_outside++;
        for (int k = 0; k < 3; k++)
            c->outside[k] += (float)photo[k];
    } else if (overlaps(p->hole[i], p->paste[i], most_paste)) {
        for (int k = 0; k < 3; k++) {
            if (cut_off(patch[k]))
                continue;
            c->n_overlap[k]++;
            c->photo[k] += (float)photo[k];
            c->patch[k] += patch[k];
        }
    }
}

/* A cell is asked for its sums only when the overlap reaches into it. */
static bool cell_overlaps(const struct patch_area *p, int left, int top, int side, uint8_t most_paste)
{
    int right = left + side < p->width ? left + side : p->width;
    int bottom = top + side < p->height ? top + side : p->height;

    for (int y = top; y < bottom; y++)
        for (int x = left; x < right; x++) {
            size_t i = (size_t)y * (size_t)p->width + (size_t)x;

            if (overlaps(p->hole[i], p->paste[i], most_paste))
                return true;
        }
    return false;
}

static void sum_cell(struct cell *c, const struct patch_area *p, int left, int top, int side, uint8_t most_paste)
{
    int right = left + side < p->width ? left + side : p->width;
    int bottom = top + side < p->height ? top + side : p->height;

    if (!cell_overlaps(p, left, top, side, most_paste))
        return;
    for (int y = top; y < bottom; y++)
        for (int x = left; x < right; x++)
            add_pixel(c, p, (size_t)y * (size_t)p->width + (size_t)x, most_paste);
    for (int k = 0; k < 3; k++) {
        c->photo[k] /= (float)(c->n_overlap[k] ? c->n_overlap[k] : 1);
        c->patch[k] /= (float)(c->n_overlap[k] ? c->n_overlap[k] : 1);
        c->outside[k] /= (float)(c->n_outside ? c->n_outside : 1);
    }
}

/* Moves the cells that have enough pixels to the front. */
static int keep_full_cells(struct grid *g)
{
    int n = 0;

    for (int i = 0; i < g->columns * g->rows; i++) {
        const int *in = g->cells[i].n_overlap;
        int most = in[0] > in[1] ? in[0] : in[1];

        most = most > in[2] ? most : in[2];
        if (most >= CELL_LEAST_PIXELS && g->cells[i].n_outside >= CELL_LEAST_PIXELS)
            g->cells[n++] = g->cells[i];
    }
    return n;
}

static enum err_code fill_grid(struct arena *a, const struct patch_area *p, int side, uint8_t most_paste,
                               struct grid *g, int *ret_n, struct err *err)
{
    *g = (struct grid){ .side = side, .columns = (p->width + side - 1) / side, .rows = (p->height + side - 1) / side };
    TRY(arena_alloc(a, (size_t)g->columns * (size_t)g->rows, sizeof *g->cells, &g->cells, err));
#pragma omp parallel for schedule(dynamic)
    for (int j = 0; j < g->rows; j++)
        for (int i = 0; i < g->columns; i++)
            sum_cell(&g->cells[j * g->columns + i], p, i * side, j * side, side, most_paste);
    *ret_n = keep_full_cells(g);
    return ERR_OK;
}

static double difference(const struct pairs *q, int i, struct line l)
{
    const struct cell *c = &q->cells[q->at[i]];

    return (double)c->photo[q->channel] - (l.gain * (double)c->patch[q->channel] + l.offset);
}

/* The median of n values, which are reordered (quickselect by Hoare's partition). */
static float median(float *v, int n)
{
    int left = 0, right = n - 1, k = n / 2;

    while (left < right) {
        float pivot = v[left + (right - left) / 2];
        int i = left, j = right;

        while (i <= j) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i <= j) {
                float t = v[i];
                v[i++] = v[j];
                v[j--] = t;
            }
        }
        if (k <= j)
            right = j;
        else if (k >= i)
            left = i;
        else
            break;
    }
    return v[k];
}

/* Tukey's biweight about the line, as wide as the median of the differences tells. */
static void weigh(struct pairs *q, struct line l)
{
    double reach;

    for (int i = 0; i < q->n; i++)
        q->scratch[i] = (float)fabs(difference(q, i, l));
    reach = 4.685 * 1.483 * (double)median(q->scratch, q->n) + 0.5;
    for (int i = 0; i < q->n; i++) {
        double u = difference(q, i, l) / reach, w = u * u < 1.0 ? 1.0 - u * u : 0.0;

        q->weight[i] = (float)(w * w * sqrt((double)q->cells[q->at[i]].n_overlap[q->channel]));
    }
}

static double within(double v, double least, double most)
{
    return v < least ? least : v > most ? most : v;
}

/* The line by the weights, with the slope drawn towards 1, and within the limits; or the offset alone. */
static struct line fit_once(const struct pairs *q, bool slope)
{
    double n = 0, x = 0, d = 0, xx = 0, xd = 0;
    struct line l;

    for (int i = 0; i < q->n; i++) {
        double w = (double)q->weight[i], v = (double)q->cells[q->at[i]].patch[q->channel];

        n += w;
        x += w * v;
        d += w * difference(q, i, (struct line){ 1, 0 });
    }
    if (!(n > 0))
        return (struct line){ 1, 0 };
    x /= n;
    d /= n;
    for (int i = 0; i < q->n; i++) {
        double w = (double)q->weight[i], v = (double)q->cells[q->at[i]].patch[q->channel] - x;

        xx += w * v * v;
        xd += w * v * (difference(q, i, (struct line){ 1, 0 }) - d);
    }
    if (!slope)
        return (struct line){ 1, within(d, -TONE_OFFSET_MOST, TONE_OFFSET_MOST) };
    l.gain = within(1 + xd / (xx + n * SPREAD_PRIOR), TONE_GAIN_LEAST, TONE_GAIN_MOST);
    l.offset = d - (l.gain - 1) * x;
    if (fabs(l.offset) > TONE_OFFSET_MOST && x > 0) { /* as much of it as a slope about 0 gives, then what is left */
        l.offset = within(l.offset, -TONE_OFFSET_MOST, TONE_OFFSET_MOST);
        l.gain = within(1 + (d - l.offset) / x, TONE_GAIN_LEAST, TONE_GAIN_MOST);
    }
    return l;
}

static struct line fit(struct pairs *q, bool slope)
{
    struct line l = { 1, 0 };

    for (int i = 0; i < q->n; i++)
        q->scratch[i] = (float)difference(q, i, l);
    l.offset = within((double)median(q->scratch, q->n), -TONE_OFFSET_MOST, TONE_OFFSET_MOST);
    for (int k = 0; k < ROUNDS; k++) {
        weigh(q, l);
        l = fit_once(q, slope);
    }
    return l;
}

static double mean_difference(const struct pairs *q, struct line l)
{
    double sum = 0;

    for (int i = 0; i < q->n; i++)
        sum += fabs(difference(q, i, l));
    return sum / q->n;
}

/* The size of the steps from the photo outside to the patch. */
static double edge_step(struct pairs *q, struct line l)
{
    for (int i = 0; i < q->n; i++) {
        const struct cell *c = &q->cells[q->at[i]];

        q->scratch[i] = (float)fabs(l.gain * (double)c->patch[q->channel] + l.offset - (double)c->outside[q->channel]);
    }
    return (double)median(q->scratch, q->n);
}

static int choose_pairs(struct pairs *q, int n_cells)
{
    q->n = 0;
    for (int i = 0; i < n_cells; i++)
        if (q->cells[i].n_overlap[q->channel] >= CELL_LEAST_PIXELS)
            q->at[q->n++] = i;
    return q->n;
}

static void measure_channel(struct pairs *q, struct tone *t)
{
    const struct line none = { 1, 0 };
    struct line l = fit(q, false), sloped = fit(q, true);
    int c = q->channel;

    if (q->n >= TONE_GAIN_CELLS && mean_difference(q, sloped) <= (1 - TONE_GAIN_HELPS) * mean_difference(q, l))
        l = sloped;
    t->before[c] = t->after[c] = mean_difference(q, none);
    if (!(t->before[c] >= TONE_LEAST && mean_difference(q, l) <= (1 - TONE_HELPS) * t->before[c]))
        return;
    if (mean_difference(q, l) > TONE_CERTAIN * t->before[c] &&
        !(edge_step(q, l) <= edge_step(q, none) + TONE_STEP * (t->before[c] - mean_difference(q, l))))
        return;
    t->applied[c] = true;
    t->gain[c] = l.gain;
    t->offset[c] = l.offset;
    t->after[c] = mean_difference(q, l);
}

/* Large cells where the edge is long, because they average over more of a texture. */
static enum err_code choose_cells(struct arena *a, const struct patch_area *p, struct grid *g, int *ret_n,
                                  struct err *err)
{
    uint8_t most_paste = 0;
    int n = 0;

    for (int k = 0; k < 2 && n < CELLS_LEAST; k++, most_paste = 254) {
        int64_t overlap = count_overlap(p, most_paste);

        for (int side = CELL_MOST_SIDE; side >= CELL_LEAST_SIDE && overlap >= CELLS_LEAST * CELL_LEAST_PIXELS;
             side /= 2) {
            struct arena_mark mark = arena_mark(a);

            TRY(fill_grid(a, p, side, most_paste, g, &n, err));
            if (n >= CELLS_WANTED || (side == CELL_LEAST_SIDE && n >= CELLS_LEAST))
                break;
            arena_rewind(a, mark);
            n = 0;
        }
    }
    *ret_n = n;
    return ERR_OK;
}

enum err_code tone_measure(struct arena *a, const struct patch_area *area, struct tone *ret, struct err *err)
{
    ARENA_SCRATCH(a);
    struct tone t = { .gain = { 1, 1, 1 } };
    struct grid g = { 0 };
    struct pairs q = { 0 };
    int n;

    TRY(choose_cells(a, area, &g, &n, err));
    if (n >= CELLS_LEAST) {
        TRY(arena_alloc(a, (size_t)n, sizeof *q.weight, &q.weight, err));
        TRY(arena_alloc(a, (size_t)n, sizeof *q.scratch, &q.scratch, err));
        TRY(arena_alloc(a, (size_t)n, sizeof *q.at, &q.at, err));
        q.cells = g.cells;
        t.cells = n;
        for (q.channel = 0; q.channel < 3; q.channel++)
            if (choose_pairs(&q, n) >= CELLS_LEAST)
                measure_channel(&q, &t);
    }
    *ret = t;
    return ERR_OK;
}

/* A value at the end of the range stays; within half the change from it, the change fades in. */
INLINE_HOT float change_value(float v, float gain, float offset)
{
    float d = (gain - 1) * v + offset, room = d < 0 ? 255 - v : v, whole = d < 0 ? -d / 2 : d / 2;

    if (room >= whole)
        return v + d;
    return room > 0 ? v + d * (room / whole) : v;
}

EVERY_PROCESSOR static void change_row(float *v, const uint8_t *hole, int n, const float *gain, const float *offset)
{
    for (int x = 0; x < n; x++)
        for (int c = 0; c < 3 && hole[x]; c++)
            v[3 * x + c] = change_value(v[3 * x + c], gain[c], offset[c]);
}

void tone_apply(const struct tone *t, const struct patch_area *area)
{
    float gain[3], offset[3];

    if (!t->applied[0] && !t->applied[1] && !t->applied[2])
        return;
    for (int c = 0; c < 3; c++) {
        gain[c] = (float)t->gain[c];
        offset[c] = (float)t->offset[c];
    }
#pragma omp parallel for schedule(static)
    for (int y = 0; y < area->height; y++)
        change_row(area->patch + 3 * (size_t)y * (size_t)area->width, area->hole + (size_t)y * (size_t)area->width,
                   area->width, gain, offset);
}
