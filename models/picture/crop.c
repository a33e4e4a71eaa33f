#include "models/picture/crop.h"

#include <math.h>
#include <string.h>

#include "models/image/mask.h"

enum { PARTS_MAX = 64, CELL_LEAST = 16, CELLS_A_SIDE = 256 };

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

static int whole_tokens_up(int side)
{
    return (side + PAINT_MULTIPLE - 1) / PAINT_MULTIPLE * PAINT_MULTIPLE;
}

int crop_tokens(const struct crop *c)
{
    return c->fill_width / PAINT_MULTIPLE * (c->fill_height / PAINT_MULTIPLE);
}

/* ---- one crop ---- */

struct photo {
    int width, height, grow;
};

struct side {
    int begin, length;
};

static struct image_box grown(const struct photo *p, struct image_box b)
{
    return box_grow(b, p->grow, (struct image_box){ 0, 0, p->width, p->height });
}

/* `length` pixels around low to high, shifted to be inside. */
static struct side place(int low, int high, int length, int photo)
{
    int begin = (low + high) / 2 - length / 2;

    return (struct side){ max_int(min_int(begin, photo - length), 0), length };
}

/* The crop's side around what is marked and grown, from low to high. */
static struct side choose_side(int low, int high, int photo)
{
    int marked = high - low, most = photo / PAINT_MULTIPLE * PAINT_MULTIPLE;
    int wanted = max_int(marked + marked / 2, marked + 2 * CROP_CONTEXT);
    int length = whole_tokens_up(max_int(wanted, CROP_LEAST_SIDE));
    int least_low = max_int(low - PAINT_MULTIPLE, 0), least_high = min_int(high + PAINT_MULTIPLE, photo);

    if (length <= photo)
        return place(low, high, length, photo);
    /* All of the photo but a few pixels, if those that matter are in it; else all of it. */
    if (least_high - least_low <= most) {
        struct side s = place(low, high, most, photo);

        s.begin = max_int(min_int(s.begin, least_low), least_high - most);
        return s;
    }
    return (struct side){ 0, photo };
}

static int paint_side(int length)
{
    return max_int(whole_tokens_up(length), PAINT_SHORT_SIDE);
}

static int nearest_side(double length)
{
    int n = (int)lround(length / PAINT_MULTIPLE) * PAINT_MULTIPLE;

    return min_int(max_int(n, PAINT_SHORT_SIDE), PAINT_MOST_SIDE);
}

/* The largest picture of the box's shape that the tokens allow. */
static void shrink(struct crop *c, int width, int height)
{
    double scale = fmin(sqrt((double)CROP_MAX_TOKENS * PAINT_MULTIPLE * PAINT_MULTIPLE / ((double)width * height)),
                        (double)PAINT_MOST_SIDE / max_int(width, height));

    c->fill_width = nearest_side(width * scale);
    c->fill_height = nearest_side(height * scale);
    while (crop_tokens(c) > CROP_MAX_TOKENS) { /* the side that was rounded up gives way */
        int *side = (double)c->fill_width / width > (double)c->fill_height / height ? &c->fill_width : &c->fill_height;

        *side -= PAINT_MULTIPLE;
    }
    c->scale = fmin(fmin((double)c->fill_width / width, (double)c->fill_height / height), 1);
}

static struct crop crop_of(struct side x, struct side y, struct image_box hole)
{
    struct crop c = { .box = { x.begin, y.begin, x.begin + x.length, y.begin + y.length },
                      .hole = hole,
                      .fill_width = paint_side(x.length),
                      .fill_height = paint_side(y.length),
                      .scale = 1 };

    if (crop_tokens(&c) > CROP_MAX_TOKENS || max_int(c.fill_width, c.fill_height) > PAINT_MOST_SIDE)
        shrink(&c, x.length, y.length);
    return c;
}

static struct crop crop_around(const struct photo *p, struct image_box marked)
{
    struct image_box g = grown(p, marked);

    return crop_of(choose_side(g.left, g.right, p->width), choose_side(g.top, g.bottom, p->height), g);
}

static struct crop crop_whole(const struct photo *p, struct image_box marked)
{
    double scale = fmin((double)PAINT_LONG_SIDE / max_int(p->width, p->height), 1);

    /* sides are rounded up, so that no detail is lost to divisibility */
    return (struct crop){ .box = { 0, 0, p->width, p->height },
                          .hole = grown(p, marked),
                          .fill_width = paint_side((int)ceil(p->width * scale - 1e-9)),
                          .fill_height = paint_side((int)ceil(p->height * scale - 1e-9)),
                          .scale = scale };
}

/* ---- the parts of a mask ---- */

/* The mask in cells of `size` pixels: what is marked in each, and which other cell it belongs to. */
struct cells {
    int across, down, size;
    struct image_box *marked; /* [down, across]; left >= right: nothing */
    int *parent;              /* of a union-find; -1: nothing is marked */
};

static void mark_cells(struct cells *c, const struct image *mask, struct image_box extent)
{
    for (int i = 0; i < c->across * c->down; i++) {
        c->marked[i] = (struct image_box){ mask->width, mask->height, 0, 0 };
        c->parent[i] = -1;
    }
    for (int y = extent.top; y < extent.bottom; y++) {
        const uint8_t *row = mask->pixels + (size_t)y * (size_t)mask->width;

        for (int x = extent.left; x < extent.right; x++) {
            int i = y / c->size * c->across + x / c->size;

            if (!row[x])
                continue;
            c->marked[i] = box_join(c->marked[i], (struct image_box){ x, y, x + 1, y + 1 });
            c->parent[i] = i;
        }
    }
}

static int root_of(const struct cells *c, int i)
{
    while (c->parent[i] != i) {
        c->parent[i] = c->parent[c->parent[i]];
        i = c->parent[i];
    }
    return i;
}

static void join_cells(const struct cells *c, int i, int other)
{
    int a, b;

    if (c->parent[i] < 0 || c->parent[other] < 0)
        return;
    a = root_of(c, i);
    b = root_of(c, other);
    if (a == b)
        return;
    c->parent[max_int(a, b)] = min_int(a, b);
    c->marked[min_int(a, b)] = box_join(c->marked[a], c->marked[b]);
}

static void join_neighbours(const struct cells *c)
{
    for (int y = 0; y < c->down; y++)
        for (int x = 0; x < c->across; x++) {
            int i = y * c->across + x;

            if (x > 0)
                join_cells(c, i, i - 1);
            for (int k = x > 0 ? -1 : 0; y > 0 && k <= (x + 1 < c->across ? 1 : 0); k++)
                join_cells(c, i, i - c->across + k);
        }
}

/* The boxes of the parts, or more than `most` as a count alone. */
static int list_parts(const struct cells *c, struct image_box *parts, int most)
{
    int n = 0;

    for (int i = 0; i < c->across * c->down; i++)
        if (c->parent[i] == i) {
            if (n < most)
                parts[n] = c->marked[i];
            n++;
        }
    return n;
}

static enum err_code find_in_cells(struct arena *a, const struct image *mask, struct image_box extent, int size,
                                   struct image_box *parts, int *ret_n, struct err *err)
{
    ARENA_SCRATCH(a);
    struct cells c = { (mask->width + size - 1) / size, (mask->height + size - 1) / size, size, NULL, NULL };
    size_t n = (size_t)c.across * (size_t)c.down;

    TRY(arena_alloc(a, n, sizeof *c.marked, &c.marked, err));
    TRY(arena_alloc(a, n, sizeof *c.parent, &c.parent, err));
    mark_cells(&c, mask, extent);
    join_neighbours(&c);
    *ret_n = list_parts(&c, parts, PARTS_MAX);
    return ERR_OK;
}

/* Parts that are not in neighbouring cells. The cells grow until there are not too many parts. */
static enum err_code find_parts(struct arena *a, const struct image *mask, struct image_box extent,
                                struct image_box *parts, int *ret_n, struct err *err)
{
    int size = max_int(CELL_LEAST, (max_int(mask->width, mask->height) + CELLS_A_SIDE - 1) / CELLS_A_SIDE);

    do {
        TRY(find_in_cells(a, mask, extent, size, parts, ret_n, err));
        size *= 2;
    } while (*ret_n > PARTS_MAX);
    return ERR_OK;
}

/* ---- which parts are painted together ---- */

static int tokens_around(const struct photo *p, struct image_box part)
{
    const struct crop c = crop_around(p, part);

    return crop_tokens(&c);
}

/* At the photo's own scale, even where that is too large to be painted: a smaller scale is cheap and blurred. */
static int native_cost(const struct photo *p, struct image_box part)
{
    const struct image_box b = crop_around(p, part).box;

    return paint_side(box_width(b)) / PAINT_MULTIPLE * (paint_side(box_height(b)) / PAINT_MULTIPLE) + CROP_RUN_TOKENS;
}

/* What it costs more to paint both in one crop; much less than nothing where one crop would hold marks of the other. */
static int cost_of_joining(const struct photo *p, struct image_box a, struct image_box b)
{
    const struct crop of_a = crop_around(p, a), of_b = crop_around(p, b);

    if (box_meets(of_a.box, grown(p, b)) || box_meets(of_b.box, grown(p, a)))
        return INT32_MIN;
    return native_cost(p, box_join(a, b)) - native_cost(p, a) - native_cost(p, b);
}

/* Joins the two parts for which that costs least, if it has to be or costs nothing. */
static bool join_two(const struct photo *p, struct image_box *parts, int *n)
{
    int best = INT32_MAX, first = 0, second = 0;

    for (int i = 0; i < *n; i++)
        for (int j = i + 1; j < *n; j++) {
            int more = cost_of_joining(p, parts[i], parts[j]);

            if (more < best) {
                best = more;
                first = i;
                second = j;
            }
        }
    if (*n < 2 || (best > 0 && *n <= CROP_MAX))
        return false;
    parts[first] = box_join(parts[first], parts[second]);
    parts[second] = parts[--*n];
    return true;
}

static void plan_parts(const struct photo *p, struct image_box extent, struct image_box *parts, int n,
                       struct crop_plan *ret)
{
    int apart = 0;

    while (join_two(p, parts, &n))
        ;
    for (int i = 0; i < n; i++)
        apart += tokens_around(p, parts[i]);
    if (apart >= tokens_around(p, extent)) {
        parts[0] = extent;
        n = 1;
    }
    ret->n = n;
    for (int i = 0; i < n; i++)
        ret->crops[i] = crop_around(p, parts[i]);
}

enum err_code crop_plan(struct arena *a, const struct image *mask, int grow, enum picture_geometry_mode mode,
                        struct crop_plan *ret, struct err *err)
{
    const struct photo p = { mask->width, mask->height, grow };
    struct image_box extent = mask_extent(mask).box, parts[PARTS_MAX];
    struct crop_plan plan = { .n = 1 };
    int n = 0;

    if (box_is_empty(extent))
        return err_set(err, ERR_INVALID, "crop: the mask marks nothing");
    if (mode == PICTURE_FULL) {
        plan.crops[0] = crop_whole(&p, extent);
    } else {
        TRY(find_parts(a, mask, extent, parts, &n, err));
        plan_parts(&p, extent, parts, n, &plan);
    }
    *ret = plan;
    return ERR_OK;
}
