#include "models/mask/mask_clean.h"

#include <math.h>
#include <string.h>

#include "kernels/base/processor.h"
#include "models/image/mask.h"

/* The runs of a row: the pixels of one value between its neighbours of the other. */
struct run {
    int start, end, label;
};

struct runs {
    struct run *list;
    int n;
};

/* of[label] is the label that this one was joined to, or, for the first of a set, minus the number of its pixels. */
struct labels {
    int32_t *of;
    int32_t n;
};

/* One of the two searches: for specks, value 255 and reach 1; for holes, value 0 and reach 0. */
struct search {
    const struct image *mask;
    uint8_t value;
    int reach; /* pixels by which runs may miss each other and still touch: 1 joins corners */
    struct runs row, above;
    struct labels labels;
};

int64_t mask_least_pixels(int width, int height)
{
    int64_t share = llround(2e-5 * width * height);

    return share > 16 ? share : 16;
}

/* The next pixel of this value from x on, or n. */
INLINE_HOT int find(const uint8_t *row, int x, int n, uint8_t value)
{
    const uint8_t *at;

    if (x < n && row[x] == value)
        return x;
    at = x < n ? memchr(row + x, value, (size_t)(n - x)) : NULL;
    return at ? (int)(at - row) : n;
}

static void read_runs(const struct search *s, int y, struct runs *ret)
{
    int n = s->mask->width;
    const uint8_t *row = s->mask->pixels + (size_t)y * (size_t)n;
    int x = find(row, 0, n, s->value);

    for (ret->n = 0; x < n; ret->n++) {
        int end = find(row, x + 1, n, s->value ^ 255);

        ret->list[ret->n] = (struct run){ x, end, -1 };
        x = find(row, end + 1, n, s->value);
    }
}

static int32_t first_of(const struct labels *l, int32_t label)
{
    while (l->of[label] >= 0) {
        int32_t next = l->of[label];

        if (l->of[next] >= 0)
            l->of[label] = l->of[next];
        label = next;
    }
    return label;
}

static void join(const struct labels *l, int32_t a, int32_t b)
{
    int32_t large = first_of(l, a), small = first_of(l, b);

    if (large == small)
        return;
    if (l->of[small] < l->of[large]) {
        int32_t other = small;

        small = large;
        large = other;
    }
    l->of[large] += l->of[small];
    l->of[small] = large;
}

/* The label of the first run above that this one touches, or -1. In the first walk, the others' labels are joined. */
static int32_t label_from_above(const struct search *s, int from, const struct run *r, bool count)
{
    int32_t label = -1;

    for (int k = from; k < s->above.n && s->above.list[k].start < r->end + s->reach; k++)
        if (label < 0)
            label = s->above.list[k].label;
        else if (count)
            join(&s->labels, label, s->above.list[k].label);
        else
            break;
    return label;
}

/* Both walks give the same labels; the first counts their pixels. */
static void label_row(struct search *s, bool count)
{
    int from = 0;

    for (int i = 0; i < s->row.n; i++) {
        struct run *r = &s->row.list[i];

        while (from < s->above.n && s->above.list[from].end + s->reach <= r->start)
            from++;
        r->label = label_from_above(s, from, r, count);
        if (r->label < 0 && count)
            s->labels.of[s->labels.n] = r->start - r->end;
        else if (count)
            s->labels.of[first_of(&s->labels, r->label)] -= r->end - r->start;
        r->label = r->label < 0 ? s->labels.n++ : r->label;
    }
}

static void next_row(struct search *s, int y, bool count)
{
    struct runs above = s->row;

    s->row = s->above;
    s->above = above;
    read_runs(s, y, &s->row);
    label_row(s, count);
}

static void walk_and_count(struct search *s)
{
    s->row.n = s->above.n = s->labels.n = 0;
    for (int y = 0; y < s->mask->height; y++)
        next_row(s, y, true);
}

static int count_small(const struct labels *l, int64_t least)
{
    int n = 0;

    for (int32_t i = 0; i < l->n; i++)
        n += l->of[i] < 0 && -(int64_t)l->of[i] < least;
    return n;
}

static void walk_and_turn(struct search *s, int64_t least)
{
    s->row.n = s->above.n = s->labels.n = 0;
    for (int y = 0; y < s->mask->height; y++) {
        uint8_t *row = s->mask->pixels + (size_t)y * (size_t)s->mask->width;

        next_row(s, y, false);
        for (int i = 0; i < s->row.n; i++) {
            const struct run *r = &s->row.list[i];

            if (-(int64_t)s->labels.of[first_of(&s->labels, r->label)] < least)
                memset(row + r->start, s->value ^ 255, (size_t)(r->end - r->start));
        }
    }
}

EVERY_PROCESSOR static int changes_in_row(const uint8_t *row, int n)
{
    int count = 0;

    for (int x = 1; x < n;) {
        int end = x + 255 < n ? x + 255 : n;
        uint8_t part = 0;

        for (; x < end; x++)
            part = (uint8_t)(part + (row[x] != row[x - 1]));
        count += part;
    }
    return count;
}

/* At least as many as there are runs of either value. */
static size_t bound_on_runs(const struct image *mask)
{
    size_t n = 0;

    for (int y = 0; y < mask->height; y++)
        n += (size_t)changes_in_row(mask->pixels + (size_t)y * (size_t)mask->width, mask->width) / 2 + 1;
    return n;
}

/* Gives the small sets of this value the other one. Only sets that are not the whole picture are small. */
static int turn_small(struct search *s, uint8_t value, int64_t least)
{
    int64_t all = (int64_t)s->mask->width * s->mask->height;
    int sets;

    least = least < all ? least : all;
    s->value = value;
    s->reach = value ? 1 : 0;
    walk_and_count(s);
    sets = count_small(&s->labels, least);
    if (sets)
        walk_and_turn(s, least);
    return sets;
}

enum err_code mask_clean(struct arena *a, const struct image *mask, int64_t least, struct mask_cleaning *ret,
                         struct err *err)
{
    ARENA_SCRATCH(a);
    struct search s = { .mask = mask };
    size_t per_row = (size_t)mask->width / 2 + 1;

    TRY(arena_alloc(a, bound_on_runs(mask), sizeof *s.labels.of, &s.labels.of, err));
    TRY(arena_alloc(a, per_row, sizeof *s.row.list, &s.row.list, err));
    TRY(arena_alloc(a, per_row, sizeof *s.above.list, &s.above.list, err));
    ret->specks_removed = turn_small(&s, 255, least);
    ret->holes_filled = turn_small(&s, 0, least); /* fewer specks never make more runs */
    return ERR_OK;
}

enum err_code mask_check_share(const struct image *mask, double max_share, double *ret_share, struct err *err)
{
    int64_t all = (int64_t)mask->width * mask->height, n = mask_extent(mask).n_set;
    double share = (double)n / (double)all;

    *ret_share = share;
    if (n == all)
        return err_set(err, ERR_MASK_FULL, "the mask marks the whole photo, so nothing of it would be kept");
    if (n == 0)
        return err_set(err, ERR_MASK_EMPTY, "the mask marks nothing, so there is nothing to repaint");
    if (n < mask_least_pixels(mask->width, mask->height))
        return err_set(err, ERR_MASK_EMPTY,
                       "the mask marks only %lld pixels of the photo, which is less than a speck; at least %lld are "
                       "needed",
                       (long long)n, (long long)mask_least_pixels(mask->width, mask->height));
    if (max_share > 0 && share > max_share)
        return err_set(err, ERR_MASK_LARGE, "the mask marks %.1f %% of the photo; at most %.4g %% can be repainted",
                       ceil(1000 * share) / 10, 100 * max_share);
    return ERR_OK;
}
