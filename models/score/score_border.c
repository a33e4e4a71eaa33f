#include "models/score/score_border.h"

#include <math.h>
#include <stdlib.h>

enum {
    REACH = 22,             /* pixels on each side of the border */
    N_BINS = 2 * REACH,     /* bin REACH + d holds the pixels d to d + 1 pixels outside; negative d: inside */
    SEGMENT = 24,           /* pixels */
    PARALLEL = 12,          /* pixels to the lines that the border is compared with */
    SLACK = 2,              /* the strongest edge within so many pixels of a line counts */
    BIN_MIN = 5,            /* pixels that make a mean */
    OVERLAP_SHARE_MIN = 96, /* of 255: below it the painted picture cannot be told from what was pasted */
    OVERLAP_MIN = 24,       /* pixels that make a segment's mean */
    OVERLAP_REACH = 3,      /* pixels */
    REMOVED_MIN = 12        /* levels that an object differed from what is there now */
};
static const double seam_floor_levels = 0.6, seam_max = 20.0, overlap_floor_levels = 1.0, overlap_max = 4.0;

struct offset {
    int16_t dx, dy; /* to the nearest pixel of the border */
};

struct profile {
    int32_t n[N_BINS], sum[N_BINS][3];             /* of the edited photo */
    int32_t before[N_BINS][3];                     /* of the photo */
    int32_t n_overlap, overlap, signed_overlap[3]; /* sums of |painted - photo|, and by channel; tenths of a level */
};

struct border {
    const struct score_area *s;
    const uint8_t *inside; /* [height, width]: not 0 inside */
    int columns, n_segments;
    size_t stride;
    struct offset *frame, *nearest; /* one more pixel on each side; nearest is the area's first pixel */
    struct profile *profiles;
};

static bool is_inside(const struct border *b, int x, int y)
{
    return b->inside[(size_t)y * (size_t)b->s->width + (size_t)x] != 0;
}

/* The last pixels inside. The border of the picture is none. */
static bool is_border(const struct border *b, int x, int y)
{
    return is_inside(b, x, y) &&
           ((x > 0 && !is_inside(b, x - 1, y)) || (x + 1 < b->s->width && !is_inside(b, x + 1, y)) ||
            (y > 0 && !is_inside(b, x, y - 1)) || (y + 1 < b->s->height && !is_inside(b, x, y + 1)));
}

static int32_t length2(struct offset o)
{
    return (int32_t)o.dx * o.dx + (int32_t)o.dy * o.dy;
}

static void relax(struct offset *o, const struct offset *neighbour, int dx, int dy)
{
    struct offset by = { (int16_t)(neighbour->dx + dx), (int16_t)(neighbour->dy + dy) };

    if (length2(by) < length2(*o))
        *o = by;
}

/* Every pixel learns the way to the nearest pixel of the border from its neighbours, in one direction of the rows. */
static void sweep_row(const struct border *b, int y, int step)
{
    struct offset *row = b->nearest + (ptrdiff_t)y * (ptrdiff_t)b->stride, *before = row - step * (ptrdiff_t)b->stride;
    int w = b->s->width;

    for (int x = 0; x < w; x++) {
        relax(row + x, before + x, 0, -step);
        relax(row + x, before + x - 1, -1, -step);
        relax(row + x, before + x + 1, 1, -step);
        relax(row + x, row + x - 1, -1, 0);
    }
    for (int x = w - 1; x >= 0; x--)
        relax(row + x, row + x + 1, 1, 0);
}

static void find_nearest(const struct border *b)
{
    const struct score_area *s = b->s;

    for (size_t i = 0; i < b->stride * ((size_t)s->height + 2); i++)
        b->frame[i] = (struct offset){ 16000, 16000 };
    for (int y = 0; y < s->height; y++)
        for (int x = 0; x < s->width; x++)
            if (is_border(b, x, y))
                b->nearest[(size_t)y * b->stride + (size_t)x] = (struct offset){ 0, 0 };
    for (int y = 0; y < s->height; y++)
        sweep_row(b, y, 1);
    for (int y = s->height - 1; y >= 0; y--)
        sweep_row(b, y, -1);
}

/* The mean difference between painted and photo, where what was pasted tells the painted picture. */
static void add_overlap(struct profile *p, const struct score_area *s, size_t i)
{
    int sum = 0, share = s->paste[i];

    if (s->mask[i] || share < OVERLAP_SHARE_MIN)
        return;
    for (int c = 0; c < 3; c++) {
        int change = s->after[3 * i + (size_t)c] - s->before[3 * i + (size_t)c];

        sum += abs(change);
        p->signed_overlap[c] += change * 10 * 255 / share;
    }
    p->n_overlap++;
    p->overlap += sum * 10 * 255 / (3 * share);
}

static void add_pixel(const struct border *b, int x, int y)
{
    struct offset o = b->nearest[(size_t)y * b->stride + (size_t)x];
    size_t i = (size_t)y * (size_t)b->s->width + (size_t)x;
    struct profile *p;
    int d;

    if (length2(o) >= REACH * REACH)
        return;
    d = (int)lrint(sqrt(length2(o)));
    d = is_inside(b, x, y) ? -1 - d : d - 1; /* the border's own pixels are the last inside */
    if (d < -REACH || d >= REACH)
        return;
    p = b->profiles + (y + o.dy) / SEGMENT * b->columns + (x + o.dx) / SEGMENT;
    p->n[REACH + d]++;
    for (int c = 0; c < 3; c++) {
        p->sum[REACH + d][c] += b->s->after[3 * i + (size_t)c];
        p->before[REACH + d][c] += b->s->before[3 * i + (size_t)c];
    }
    add_overlap(p, b->s, i);
}

/* The mean colour of the bins [begin, end) around the line `at`; false where one of them has too few pixels. */
static bool mean_colour(const struct profile *p, bool before, int begin, int end, double ret[3])
{
    double sum[3] = { 0 };

    if (begin < -REACH || end > REACH)
        return false;
    for (int d = begin; d < end; d++) {
        if (p->n[REACH + d] < BIN_MIN)
            return false;
        for (int c = 0; c < 3; c++)
            sum[c] += (double)(before ? p->before : p->sum)[REACH + d][c] / p->n[REACH + d];
    }
    for (int c = 0; c < 3; c++)
        ret[c] = sum[c] / (end - begin);
    return true;
}

/* Outside minus inside of the line `at`, by the bins that lie `from` to `to` pixels from it. */
static bool step_at(const struct profile *p, bool before, int at, int from, int to, double ret[3])
{
    double in[3], out[3];

    if (!mean_colour(p, before, at - to, at - from, in) || !mean_colour(p, before, at + from, at + to, out))
        return false;
    for (int c = 0; c < 3; c++)
        ret[c] = out[c] - in[c];
    return true;
}

/* The strongest edge within SLACK pixels of a line, in levels; negative where there are too few pixels. In the photo
 * not so far inside, because the object may begin 5 pixels from there. */
static double edge_at(const struct profile *p, bool before, int at)
{
    double step[3], most = -1.0;

    for (int i = at - (before ? 1 : SLACK); i <= at + SLACK; i++)
        if (step_at(p, before, i, 0, 3, step))
            most = fmax(most, sqrt((step[0] * step[0] + step[1] * step[1] + step[2] * step[2]) / 3.0));
    return most;
}

static double seam_of(const struct border *b)
{
    double here = 0, there = 0;

    for (int i = 0; i < b->n_segments; i++) {
        const struct profile *p = b->profiles + i;
        double edge = edge_at(p, false, 0), in = edge_at(p, false, -PARALLEL), out = edge_at(p, false, PARALLEL);

        if (edge < 0 || out < 0)
            continue;
        in = in < 0 ? out : fmin(in, out); /* what is painted must not hide its own seam */
        here += edge + seam_floor_levels;
        there += fmax(0.5 * (in + out), edge_at(p, true, 0)) + seam_floor_levels; /* an edge of the photo is none */
    }
    return there > 0 ? fmin(here / there, seam_max) : 1.0;
}

/* The step at the border beyond those at the parallel lines, so that a natural slope counts nothing. */
static bool own_step(const struct profile *p, double ret[3])
{
    enum { FROM = 2, TO = 8 };
    double in[3], out[3];
    bool has_in;

    if (!step_at(p, false, 0, FROM, TO, ret) || !step_at(p, false, PARALLEL, FROM, TO, out))
        return false;
    has_in = step_at(p, false, -PARALLEL, FROM, TO, in);
    for (int c = 0; c < 3; c++)
        ret[c] -= has_in ? 0.5 * (in[c] + out[c]) : out[c];
    return true;
}

/* The painted picture against the photo outside the mask, in one channel: inside minus outside, were it not for the
 * rim of an object whose mask is too small. */
static double overlap_step(const struct border *b, int c, double *values)
{
    int n = 0;

    for (int i = 0; i < b->n_segments; i++)
        if (b->profiles[i].n_overlap >= OVERLAP_MIN)
            values[n++] = 0.1 * b->profiles[i].signed_overlap[c] / b->profiles[i].n_overlap;
    return score_quantile(values, n, 0.5);
}

/* The middle of the steps, as far as it is more than chance. */
static double sure_step(double *steps, int n)
{
    double middle = score_quantile(steps, n, 0.5), doubt;

    for (int i = 0; i < n; i++)
        steps[i] = fabs(steps[i] - middle);
    doubt = 2 * 1.86 * score_quantile(steps, n, 0.5) / sqrt(n); /* twice the deviation of a median */
    return fmax(fabs(middle) - doubt, 0.0);
}

/* The steps of the segments differ where the ground is rough. What most of them leave open, the overlap decides; but
 * an overlap that none of them can follow is not the ground: it shows the rim of an object. */
static double step_in_channel(const struct border *b, int c, double *steps, int n, double *values)
{
    double low = score_quantile(steps, n, 0.25), high = score_quantile(steps, n, 0.75), doubt = 0.5 * (high - low);
    double overlap = overlap_step(b, c, values);

    return overlap >= low - doubt && overlap <= high + doubt ? overlap : sure_step(steps, n);
}

static enum err_code colour_step_of(struct arena *a, const struct border *b, double *ret, struct err *err)
{
    double *steps, *values, step[3], sum = 0;
    int n = 0;

    TRY(arena_alloc(a, 3 * (size_t)b->n_segments, sizeof *steps, &steps, err));
    TRY(arena_alloc(a, (size_t)b->n_segments, sizeof *values, &values, err));
    for (int i = 0; i < b->n_segments; i++)
        if (own_step(b->profiles + i, step)) {
            for (int c = 0; c < 3; c++)
                steps[c * b->n_segments + n] = -step[c];
            n++;
        }
    for (int c = 0; c < 3 && n > 0; c++)
        sum += pow(step_in_channel(b, c, steps + (ptrdiff_t)c * b->n_segments, n, values), 2);
    *ret = sqrt(sum / 3.0);
    return ERR_OK;
}

/* How much the photo changes over OVERLAP_REACH pixels around the pasted part, in levels. */
static double change_of_photo(const struct score_area *s)
{
    double sum = 0, n = 0;

    for (int y = 0; y + OVERLAP_REACH < s->height; y++)
        for (int x = 0; x + OVERLAP_REACH < s->width; x++) {
            size_t i = (size_t)y * (size_t)s->width + (size_t)x, down = i + OVERLAP_REACH * (size_t)s->width;

            if (s->paste[i] || s->paste[i + OVERLAP_REACH] || s->paste[down])
                continue;
            sum += fabsf(s->grey_before[i + OVERLAP_REACH] - s->grey_before[i]) +
                   fabsf(s->grey_before[down] - s->grey_before[i]);
            n += 2;
        }
    return n > 0 ? sum / n : 0.0;
}

static enum err_code overlap_of(struct arena *a, const struct border *b, double *ret, struct err *err)
{
    double *means;
    int n = 0;

    TRY(arena_alloc(a, (size_t)b->n_segments, sizeof *means, &means, err));
    for (int i = 0; i < b->n_segments; i++)
        if (b->profiles[i].n_overlap >= OVERLAP_MIN)
            means[n++] = 0.1 * b->profiles[i].overlap / b->profiles[i].n_overlap;
    /* the middle one: where the mask was too small, the object's rim is rightly not what is painted */
    *ret = fmin(score_quantile(means, n, 0.5) / (change_of_photo(b->s) + overlap_floor_levels), overlap_max);
    return ERR_OK;
}

static enum err_code border_new(struct arena *a, const struct score_area *s, const uint8_t *inside, struct border *ret,
                                struct err *err)
{
    struct border b = {
        .s = s, .inside = inside, .columns = (s->width + SEGMENT - 1) / SEGMENT, .stride = (size_t)s->width + 2
    };

    b.n_segments = b.columns * ((s->height + SEGMENT - 1) / SEGMENT);
    TRY(arena_alloc(a, b.stride * ((size_t)s->height + 2), sizeof *b.frame, &b.frame, err));
    TRY(arena_alloc(a, (size_t)b.n_segments, sizeof *b.profiles, &b.profiles, err));
    b.nearest = b.frame + b.stride + 1;
    find_nearest(&b);
    for (int y = 0; y < s->height; y++)
        for (int x = 0; x < s->width; x++)
            add_pixel(&b, x, y);
    *ret = b;
    return ERR_OK;
}

static enum err_code measure_paste(struct arena *a, const struct score_area *s, uint8_t *inside,
                                   struct score_border *ret, struct err *err)
{
    ARENA_SCRATCH(a);
    struct border b;

    for (size_t i = 0; i < (size_t)s->width * (size_t)s->height; i++)
        inside[i] = s->paste[i] >= SCORE_PASTED;
    TRY(border_new(a, s, inside, &b, err));
    ret->seam = seam_of(&b);
    TRY(colour_step_of(a, &b, &ret->colour_step, err));
    return overlap_of(a, &b, &ret->overlap, err);
}

/* Whether the mean colour of 3 x 3 pixels changed. */
static bool was_removed(const struct score_area *s, int x, int y)
{
    int square = 0;

    for (size_t c = 0; c < 3; c++) {
        int sum = 0;

        for (int v = y - 1; v <= y + 1; v++)
            for (int u = x - 1; u <= x + 1; u++) {
                size_t i = 3 * ((size_t)v * (size_t)s->width + (size_t)u) + c;

                sum += s->before[i] - s->after[i];
            }
        square += sum * sum;
    }
    return square >= 3 * 81 * REMOVED_MIN * REMOVED_MIN;
}

static void find_removed(const struct score_area *s, uint8_t *inside)
{
#pragma omp parallel for schedule(static)
    for (int y = 0; y < s->height; y++)
        for (int x = 0; x < s->width; x++) {
            size_t i = (size_t)y * (size_t)s->width + (size_t)x;
            bool within = x > 0 && y > 0 && x + 1 < s->width && y + 1 < s->height;

            inside[i] = within && s->paste[i] && was_removed(s, x, y);
        }
}

/* As the seam, but where the object began: the photo's edge there is what must be gone. */
static double outline_of(const struct border *b)
{
    double here = 0, there = 0;

    for (int i = 0; i < b->n_segments; i++) {
        const struct profile *p = b->profiles + i;
        double edge = edge_at(p, false, 0), in = edge_at(p, false, -PARALLEL), out = edge_at(p, false, PARALLEL);

        if (edge < 0 || (in < 0 && out < 0))
            continue;
        here += edge + seam_floor_levels;
        there += (in < 0 ? out : out < 0 ? in : 0.5 * (in + out)) + seam_floor_levels;
    }
    return there > 0 ? fmin(here / there, seam_max) : 1.0;
}

static enum err_code measure_outline(struct arena *a, const struct score_area *s, uint8_t *inside, double *ret,
                                     struct err *err)
{
    ARENA_SCRATCH(a);
    struct border b;

    find_removed(s, inside);
    TRY(border_new(a, s, inside, &b, err));
    *ret = outline_of(&b);
    return ERR_OK;
}

enum err_code score_border_measure(struct arena *a, const struct score_area *s, struct score_border *ret,
                                   struct err *err)
{
    ARENA_SCRATCH(a);
    uint8_t *inside;

    TRY(arena_alloc(a, (size_t)s->width, (size_t)s->height, &inside, err));
    TRY(measure_paste(a, s, inside, ret, err));
    return measure_outline(a, s, inside, &ret->outline, err);
}
