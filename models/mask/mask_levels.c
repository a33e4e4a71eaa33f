#include "models/mask/mask_levels.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/processor.h"

enum { NOISE_OF_JPEG = 24, NOISE = 6, FEW_LEVELS = 32 };

static const uint8_t *row_of(const struct mask_plane *p, int y)
{
    return p->pixels + (size_t)y * (size_t)p->width;
}

static int64_t count_frame(const struct mask_plane *p, int inset, int64_t ret[256])
{
    int x0 = inset, x1 = p->width - 1 - inset, y0 = inset, y1 = p->height - 1 - inset;
    int64_t n = 0;

    memset(ret, 0, 256 * sizeof *ret);
    for (int y = y0; y <= y1; y++) {
        const uint8_t *row = row_of(p, y);
        int step = y == y0 || y == y1 || x1 == x0 ? 1 : x1 - x0;

        for (int x = x0; x <= x1; x += step, n++)
            ret[row[x]]++;
    }
    return n;
}

/* The first pixel from x on that may differ from the one before x; flat masks are passed eight at a time. */
INLINE_HOT int pass_equal(const uint8_t *row, int x, int n)
{
    uint64_t wanted = row[x - 1] * UINT64_C(0x0101010101010101), eight;

    for (; x + 8 <= n; x += 8) {
        memcpy(&eight, row + x, sizeof eight);
        if (eight != wanted)
            break;
    }
    return x;
}

void mask_count_levels(const struct mask_plane *plane, struct mask_levels *ret)
{
    int shorter = plane->width < plane->height ? plane->width : plane->height;
    int64_t count[256] = { 0 }, same[256] = { 0 }, edge[256] = { 0 };

#pragma omp parallel for schedule(static) reduction(+ : count[ : 256], same[ : 256], edge[ : 256])
    for (int y = 0; y < plane->height; y++) {
        const uint8_t *row = row_of(plane, y);

        count[row[0]]++;
        for (int x = 1; x < plane->width; x++) {
            int end = pass_equal(row, x, plane->width);

            count[row[x - 1]] += end - x;
            same[row[x - 1]] += end - x;
            x = end;
            if (x == plane->width)
                break;
            count[row[x]]++;
            if (row[x] == row[x - 1])
                same[row[x]]++;
            else if (!row[x] || !row[x - 1])
                edge[row[x] | row[x - 1]]++;
        }
    }
    memcpy(ret->count, count, sizeof count);
    memcpy(ret->same, same, sizeof same);
    memcpy(ret->edge, edge, sizeof edge);
    ret->n = (int64_t)plane->width * plane->height;
    ret->n_ring = count_frame(plane, 0, ret->ring);
    ret->n_inner =
        count_frame(plane, 1 + shorter * 3 / 100 < (shorter - 1) / 2 ? 1 + shorter * 3 / 100 : 0, ret->inner);
}

static int64_t sum(const int64_t *of, int from, int to)
{
    int64_t n = 0;

    for (int i = from < 0 ? 0 : from; i <= to && i < 256; i++)
        n += of[i];
    return n;
}

/* The highest level that more than a few pixels reach. */
static int top_level(const struct mask_levels *l)
{
    int64_t few = l->n / 50000 > 15 ? l->n / 50000 : 15, n = 0;

    for (int i = 255; i > 0; i--) {
        n += l->count[i];
        if (n > few || (n > 0 && l->n < 1024))
            return i;
    }
    return 0;
}

static int levels_in_use(const struct mask_levels *l)
{
    int n = 0;

    for (int i = 0; i < 256; i++)
        n += l->count[i] > 0;
    return n;
}

/*
 * A level of its own lies in runs, and either the picture has few levels, or none near it, or its runs lie in the
 * ground itself, as those of labels 1, 2, 3 do. The many levels of a soft edge lie one in the other.
 */
static bool is_flat(const struct mask_levels *l, int level, int64_t figure)
{
    int64_t n = l->count[level], runs = n - l->same[level], many = figure / 50 > 15 ? figure / 50 : 15;
    int64_t near = sum(l->count, level - 2, level + 2) - n - (level <= 2 ? l->count[0] : 0);
    bool in_runs = level < 8 ? 8 * runs <= n : 5 * runs <= 2 * n;

    if (n < 16 || !in_runs)
        return false;
    return levels_in_use(l) <= FEW_LEVELS || (n >= many && 2 * near <= n) || 10 * l->edge[level] >= 7 * 2 * runs;
}

/* Whether the dark levels are what is left of a lossy file: some of everything, beside a bright figure. */
static bool dark_is_noise(const struct mask_levels *l, int top, int64_t figure)
{
    int64_t dark = sum(l->count, 1, NOISE_OF_JPEG), flat = 0;

    for (int i = 1; i <= NOISE_OF_JPEG; i++)
        flat += is_flat(l, i, figure) ? l->count[i] : 0;
    return top > 2 * NOISE_OF_JPEG && 10 * flat < 9 * dark;
}

/* A lossy file spreads a flat level over its neighbours: the lowest window of 17 with a fifth of the figure. */
static int lowest_of_lossy(const struct mask_levels *l, int top)
{
    int64_t figure = sum(l->count, NOISE_OF_JPEG + 1, 255);

    for (int i = NOISE_OF_JPEG + 9; i < top; i++)
        if (5 * sum(l->count, i - 8, i + 8) >= 2 * figure && l->count[i] * 12 >= sum(l->count, i - 8, i + 8))
            return i;
    return top;
}

/* The level over which figures begin: a ground need not be 0 all over, as in a veil of alpha. */
static int ground_level(const struct mask_levels *l)
{
    for (int i = 1; i <= NOISE_OF_JPEG; i++)
        if (2 * l->ring[i] > l->n_ring)
            return i;
    return 0;
}

struct mask_split mask_split_levels(const struct mask_levels *l, bool lossy)
{
    int top = top_level(l), from = ground_level(l) + 1;
    int64_t figure = l->n - l->count[0];
    struct mask_split s = { .lowest = top };

    if (top < from || (lossy && top <= NOISE_OF_JPEG))
        return s;
    if (lossy) {
        s.lowest = lowest_of_lossy(l, top);
        s.threshold = (s.lowest + 1) / 2;
        return s;
    }
    if (dark_is_noise(l, top, figure))
        from = NOISE_OF_JPEG + 1;
    figure = sum(l->count, from, 255);
    for (int i = 255; i >= from; i--)
        if (is_flat(l, i, figure)) {
            s.lowest = i;
            s.n_flat++;
        }
    if (s.n_flat == 0 && top <= NOISE_OF_JPEG)
        return s; /* noise over one colour */
    s.threshold = (s.lowest + ground_level(l) + 1) / 2;
    return s;
}

static double part(int64_t n, int64_t of)
{
    return of ? (double)n / (double)of : 0;
}

/* Extrema and changes along one row. */
struct seen {
    int64_t turns, cuts;
};

/* Whether none of the eight pixels around this marked one is marked. */
static bool is_dot(const struct mask_plane *p, int x, int y, int threshold)
{
    for (int v = y - 1; v <= y + 1; v++)
        for (int u = x - 1; u <= x + 1; u++)
            if (v >= 0 && v < p->height && u >= 0 && u < p->width && !(u == x && v == y) &&
                row_of(p, v)[u] >= threshold)
                return false;
    return true;
}

static int64_t dots_in_row(const struct mask_plane *p, int y, int threshold)
{
    const uint8_t *row = row_of(p, y);
    int64_t dots = 0;

    for (int x = 1; x + 1 < p->width; x++)
        if (row[x] >= threshold && row[x - 1] < threshold && row[x + 1] < threshold)
            dots += is_dot(p, x, y, threshold);
    return dots;
}

static struct seen see_row(const uint8_t *row, int n, int threshold, int step)
{
    struct seen s = { 0 };
    int way = 0;

    for (int x = pass_equal(row, 1, n); x < n; x = pass_equal(row, x + 1, n)) {
        bool marked = row[x] >= threshold, before = row[x - 1] >= threshold;
        int d = row[x] - row[x - 1], now = d >= step ? 1 : d <= -step ? -1 : 0;

        s.cuts += marked != before;
        if (!marked || !before) {
            way = 0;
            continue;
        }
        s.turns += now != 0 && way == -now;
        way = now ? now : way;
    }
    return s;
}

static double commonest(const struct mask_levels *l, int threshold)
{
    int64_t best = 0;

    for (int i = threshold; i < 256; i++) {
        int from = i - 8 < threshold ? threshold : i - 8;
        int64_t n = sum(l->count, from, i + 8);

        best = n > best ? n : best;
    }
    return part(best, sum(l->count, threshold, 255));
}

static int corners(const struct mask_plane *p, int threshold)
{
    const uint8_t *top = row_of(p, 0), *bottom = row_of(p, p->height - 1);
    int right = p->width - 1;

    return (top[0] >= threshold) + (top[right] >= threshold) + (bottom[0] >= threshold) + (bottom[right] >= threshold);
}

struct mask_shape mask_see_shape(const struct mask_plane *plane, const struct mask_levels *l, int threshold, bool lossy)
{
    int noise = lossy ? NOISE_OF_JPEG : NOISE;
    int64_t marked = sum(l->count, threshold, 255), turns = 0, cuts = 0, dots = 0;

#pragma omp parallel for schedule(static) reduction(+ : turns, cuts, dots)
    for (int y = 0; y < plane->height; y++) {
        struct seen s = see_row(row_of(plane, y), plane->width, threshold, lossy ? 12 : 4);

        turns += s.turns;
        cuts += s.cuts;
        dots += dots_in_row(plane, y, threshold);
    }
    noise = noise < threshold - 1 ? noise : threshold - 1;
    return (struct mask_shape){
        .share = part(marked, l->n),
        .ring = part(sum(l->ring, threshold, 255), l->n_ring),
        .inner = part(sum(l->inner, threshold, 255), l->n_inner),
        .ground = part(sum(l->count, 0, noise), l->n),
        .soft = part(sum(l->count, threshold / 2, threshold + threshold / 2 - 1), marked),
        .common = commonest(l, threshold),
        .turns = part(turns, marked),
        .cuts = part(cuts, l->n),
        .dots = part(dots, marked),
        .corners = corners(plane, threshold),
    };
}

EVERY_PROCESSOR static void mark(uint8_t *p, size_t n, int threshold, uint8_t yes)
{
    for (size_t i = 0; i < n; i++)
        p[i] = p[i] >= threshold ? yes : (uint8_t)~yes;
}

void mask_mark_levels(const struct mask_plane *plane, int threshold, bool invert)
{
    mark(plane->pixels, (size_t)plane->width * (size_t)plane->height, threshold, invert ? 0 : 255);
}
