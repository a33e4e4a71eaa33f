#include "models/mask/shadow.h"

#include <math.h>
#include <stdlib.h>

#include "models/image/mask.h"

enum {
    CELLS_ACROSS = 256,
    BINS = 24, /* of the logarithm of the light of a channel */
    COLOURS_MOST = 32,
    EDGE_POINTS = 400,
    ALONG = 4, /* pixels to both sides of a point of the edge over which its profile is averaged */
    SLOPE = 5  /* pixels over which a thing's edge makes most of its step */
};

#define BIN_WIDTH  0.3F /* of the natural logarithm of light, as everything below */
#define DARKEST    -7.2F
#define LIT        0.12F /* how far the light of a lit ground is from one of its colours */
#define HUE        0.30F /* how much the channels of a shadow differ */
#define DEEPEST    -2.1F
#define SHALLOWEST -0.14F
#define SHARPEST   0.66F /* the part of its step that a shadow's edge makes within SLOPE pixels */

const char *const shadow_result_names[SHADOW_RESULTS] = { "added",     "none",       "no-ground",
                                                          "too-large", "not-likely", "too-sharp" };

enum state {
    GROUND,
    FIGURE, /* marked, in part at least */
    RIM,    /* so close to it that the figure may show */
    DARK,   /* could be shadow */
    SHADOW
};

/* The ground around the figure in square cells. */
struct view {
    const struct image *photo, *mask;
    struct image_box figure, window; /* pixels; the window is whole cells but at the photo's edge */
    int scale, w, h;                 /* pixels a cell; cells */
    int frame, rim;                  /* cells: width of the frame, and of the rim */
    bool left, right, below;         /* whether the frame has this side: the photo does not end close to the figure */
    float light_of[256];
    float (*light)[3]; /* [h, w], logarithm of the mean */
    uint8_t *state, *next;
    float colours[COLOURS_MOST][3]; /* of lit grounds */
    int n_colours;
    float depth; /* of the shadow, the logarithm of the light that it leaves */
};

static int clamp_int(int x, int low, int high)
{
    return x < low ? low : x > high ? high : x;
}

static float mean3(const float v[3])
{
    return (v[0] + v[1] + v[2]) * (1.0F / 3.0F);
}

static void choose_window(struct view *v)
{
    struct image_box f = v->figure;
    int tall = box_height(f), wide = box_width(f), size = tall > wide ? tall : wide;
    int reach = (int)(size * SHADOW_REACH), margin = reach + reach / 7, long_side;

    v->window = (struct image_box){ clamp_int(f.left - margin, 0, v->photo->width), f.top + tall / 2,
                                    clamp_int(f.right + margin, 0, v->photo->width),
                                    clamp_int(f.bottom + margin, 0, v->photo->height) };
    v->left = f.left - v->window.left >= margin / 2;
    v->right = v->window.right - f.right >= margin / 2;
    v->below = v->window.bottom - f.bottom >= margin / 2;
    long_side = box_width(v->window);
    long_side = box_height(v->window) > long_side ? box_height(v->window) : long_side;
    v->scale = (long_side + CELLS_ACROSS - 1) / CELLS_ACROSS;
    v->w = (box_width(v->window) + v->scale - 1) / v->scale;
    v->h = (box_height(v->window) + v->scale - 1) / v->scale;
    v->frame = clamp_int(margin / v->scale / 8, 1, CELLS_ACROSS);
    long_side = v->photo->width > v->photo->height ? v->photo->width : v->photo->height;
    v->rim = clamp_int((long_side / 250 > 8 ? long_side / 250 : 8) / v->scale, 1, 8);
}

static void make_light_table(struct view *v)
{
    for (int i = 0; i < 256; i++) {
        float x = (float)i / 255.0F;

        v->light_of[i] = x <= 0.04045F ? x / 12.92F : powf((x + 0.055F) / 1.055F, 2.4F);
    }
}

/* The mean light of a cell; false: some of it is marked. */
static bool cell_light(const struct view *v, int cx, int cy, float ret[3])
{
    int x0 = v->window.left + cx * v->scale, x1 = x0 + v->scale, y0 = v->window.top + cy * v->scale, y1 = y0 + v->scale;
    float sum[3] = { 0 }, n;

    x1 = x1 > v->window.right ? v->window.right : x1;
    y1 = y1 > v->window.bottom ? v->window.bottom : y1;
    for (int y = y0; y < y1; y++) {
        size_t at = (size_t)y * (size_t)v->photo->width + (size_t)x0;
        const uint8_t *p = v->photo->pixels + 3 * at;

        for (int x = x0; x < x1; x++, at++, p += 3) {
            if (v->mask->pixels[at])
                return false;
            for (int c = 0; c < 3; c++)
                sum[c] += v->light_of[p[c]];
        }
    }
    n = (float)(x1 - x0) * (float)(y1 - y0);
    for (int c = 0; c < 3; c++)
        ret[c] = sum[c] / n;
    return true;
}

/* Cells within `cells` of one in state `of` that are GROUND become `to`. */
static void widen(struct view *v, enum state of, enum state to, int cells)
{
    for (int i = 0; i < cells; i++) {
        memcpy(v->next, v->state, (size_t)v->w * (size_t)v->h);
        for (int y = 0; y < v->h; y++)
            for (int x = 0; x < v->w; x++) {
                const uint8_t *s = v->state + (size_t)y * (size_t)v->w + x;
                bool near = (x > 0 && (s[-1] == of || s[-1] == to)) || (x + 1 < v->w && (s[1] == of || s[1] == to)) ||
                            (y > 0 && (s[-v->w] == of || s[-v->w] == to)) ||
                            (y + 1 < v->h && (s[v->w] == of || s[v->w] == to));

                if (*s == GROUND && near)
                    v->next[(size_t)y * (size_t)v->w + (size_t)x] = (uint8_t)to;
            }
        memcpy(v->state, v->next, (size_t)v->w * (size_t)v->h);
    }
}

/* The logarithm of the mean of a cell and its neighbours on the ground: grain of the ground must not look like shadow.
 */
static void smooth(struct view *v, float (*mean)[3])
{
#pragma omp parallel for schedule(static)
    for (int y = 0; y < v->h; y++)
        for (int x = 0; x < v->w; x++) {
            float sum[3] = { 0 }, n = 0;

            for (int ny = y > 0 ? y - 1 : 0; ny <= y + 1 && ny < v->h; ny++)
                for (int nx = x > 0 ? x - 1 : 0; nx <= x + 1 && nx < v->w; nx++) {
                    size_t at = (size_t)ny * (size_t)v->w + (size_t)nx;

                    if (v->state[at] != GROUND)
                        continue;
                    n++;
                    for (int c = 0; c < 3; c++)
                        sum[c] += mean[at][c];
                }
            for (int c = 0; c < 3; c++)
                v->light[(size_t)y * (size_t)v->w + (size_t)x][c] = logf(n > 0 ? sum[c] / n + 1e-4F : 1e-4F);
        }
}

static enum err_code look(struct arena *a, struct view *v, struct err *err)
{
    size_t n = (size_t)v->w * (size_t)v->h;
    float(*mean)[3] = NULL;

    TRY(arena_alloc(a, n, sizeof *v->light, &v->light, err));
    TRY(arena_alloc(a, n, 1, &v->state, err));
    TRY(arena_alloc(a, n, 1, &v->next, err));
    TRY(arena_alloc(a, n, sizeof *mean, &mean, err));
    make_light_table(v);
#pragma omp parallel for schedule(dynamic, 4)
    for (int y = 0; y < v->h; y++)
        for (int x = 0; x < v->w; x++) {
            size_t at = (size_t)y * (size_t)v->w + (size_t)x;

            v->state[at] = cell_light(v, x, y, mean[at]) ? GROUND : FIGURE;
        }
    widen(v, FIGURE, RIM, v->rim);
    smooth(v, mean);
    return ERR_OK;
}

/* The frame along up to three sides of the window; the fourth is behind the figure. */
static bool in_frame(const struct view *v, int x, int y)
{
    return (v->left && x < v->frame) || (v->right && x >= v->w - v->frame) || (v->below && y >= v->h - v->frame);
}

struct bin {
    int n;
    float sum[3];
};

static int bin_of(const float light[3])
{
    int at = 0;

    for (int c = 0; c < 3; c++)
        at = at * BINS + clamp_int((int)((light[c] - DARKEST) / BIN_WIDTH), 0, BINS - 1);
    return at;
}

/* Every colour that at least one cell in twenty-five of the frame has. */
static enum err_code find_colours(struct arena *a, struct view *v, struct err *err)
{
    struct bin *bins = NULL;
    int n = 0;

    TRY(arena_alloc(a, BINS * BINS * BINS, sizeof *bins, &bins, err));
    for (int y = 0; y < v->h; y++)
        for (int x = 0; x < v->w; x++) {
            size_t at = (size_t)y * (size_t)v->w + (size_t)x;
            struct bin *b = bins + bin_of(v->light[at]);

            if (v->state[at] != GROUND || !in_frame(v, x, y))
                continue;
            n++;
            b->n++;
            for (int c = 0; c < 3; c++)
                b->sum[c] += v->light[at][c];
        }
    for (int i = 0; i < BINS * BINS * BINS && v->n_colours < COLOURS_MOST; i++)
        if (n >= 100 && bins[i].n * 25 >= n) {
            for (int c = 0; c < 3; c++)
                v->colours[v->n_colours][c] = bins[i].sum[c] / (float)bins[i].n;
            v->n_colours++;
        }
    return ERR_OK;
}

/* The mean of what the channels differ by; false: they do not differ alike, so that it is another colour. */
static bool same_hue(const float light[3], const float colour[3], float *ret)
{
    float d[3] = { light[0] - colour[0], light[1] - colour[1], light[2] - colour[2] };
    float low = fminf(fminf(d[0], d[1]), d[2]), high = fmaxf(fmaxf(d[0], d[1]), d[2]);

    *ret = mean3(d);
    return high - low <= HUE;
}

/* By how much a cell is darker than the lit ground of its hue that is next to it in brightness: 0 lit, NAN no shadow.
 */
static float depth_of(const struct view *v, const float light[3])
{
    float best = NAN, d;

    for (int i = 0; i < v->n_colours; i++) {
        if (!same_hue(light, v->colours[i], &d))
            continue;
        if (fabsf(d) <= LIT)
            return 0.0F;
        if (d <= SHALLOWEST && d >= DEEPEST && !(d <= best))
            best = d;
    }
    return best;
}

/* Whether a cell is ground that touches the figure's rim at its lower end, below or beside it. */
static bool at_foot(const struct view *v, int x, int y)
{
    int tall = v->figure.bottom - v->figure.top, foot = (v->figure.bottom - tall / 8 - v->window.top) / v->scale;
    const uint8_t *s = v->state + (size_t)y * (size_t)v->w + x;

    return y >= foot && *s != FIGURE && *s != RIM &&
           ((x > 0 && s[-1] == RIM) || (x + 1 < v->w && s[1] == RIM) || (y > 0 && s[-v->w] == RIM));
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static float median(float *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return values[n / 2];
}

/* Whether it is dark along a twelfth of the foot. */
static bool is_dark_at_foot(const struct view *v)
{
    int n = 0, feet = 0;

    for (int y = 0; y < v->h; y++)
        for (int x = 0; x < v->w; x++)
            if (at_foot(v, x, y)) {
                feet++;
                n += depth_of(v, v->light[(size_t)y * (size_t)v->w + (size_t)x]) < 0;
            }
    return n >= 3 && n * 12 >= feet;
}

/* Cells between two depths. */
static void mark_dark(struct view *v, float least, float most)
{
    for (size_t at = 0; at < (size_t)v->w * (size_t)v->h; at++) {
        float d = v->state[at] < FIGURE || v->state[at] >= DARK ? depth_of(v, v->light[at]) : NAN;

        if (v->state[at] >= DARK)
            v->state[at] = GROUND;
        if (d <= least && d >= most)
            v->state[at] = DARK;
    }
}

/* Cells of a state with fewer than `least` of the same among themselves and their eight neighbours become `to`; the
 * figure counts as any state. */
static void thin(struct view *v, enum state of, enum state to, int least)
{
    memcpy(v->next, v->state, (size_t)v->w * (size_t)v->h);
    for (int y = 1; y + 1 < v->h; y++)
        for (int x = 1; x + 1 < v->w; x++) {
            const uint8_t *s = v->state + (size_t)y * (size_t)v->w + x;
            int n = 0;

            for (int dy = -1; dy <= 1; dy++)
                for (int dx = -1; dx <= 1; dx++) {
                    int near = s[dy * v->w + dx];
                    n += near == (int)of || near == FIGURE || near == RIM;
                }
            if (*s == of && n < least)
                v->next[(size_t)y * (size_t)v->w + (size_t)x] = (uint8_t)to;
        }
    memcpy(v->state, v->next, (size_t)v->w * (size_t)v->h);
}

/* The dark cells that are connected with the figure's lower edge become the shadow; returns how many. */
static enum err_code flood(struct arena *a, struct view *v, int *ret_n, struct err *err)
{
    int *stack = NULL, n = 0, top = 0;

    TRY(arena_alloc(a, (size_t)v->w * (size_t)v->h, sizeof *stack, &stack, err));
    for (int at = 0; at < v->w * v->h; at++)
        if (v->state[at] == DARK && at_foot(v, at % v->w, at / v->w)) {
            v->state[at] = SHADOW;
            stack[top++] = at;
        }
    for (; top > 0; n++) {
        int at = stack[--top], x = at % v->w, y = at / v->w;
        const int near[4] = { x > 0 ? at - 1 : at, x + 1 < v->w ? at + 1 : at, y > 0 ? at - v->w : at,
                              y + 1 < v->h ? at + v->w : at };

        for (int i = 0; i < 4; i++)
            if (v->state[near[i]] == DARK) {
                v->state[near[i]] = SHADOW;
                stack[top++] = near[i];
            }
    }
    *ret_n = n;
    return ERR_OK;
}

/* The depth of most cells of the shadow. */
static enum err_code find_depth(struct arena *a, struct view *v, int n, struct err *err)
{
    float *depths = NULL;
    int k = 0;

    TRY(arena_alloc(a, (size_t)n + 1, sizeof *depths, &depths, err));
    for (size_t at = 0; at < (size_t)v->w * (size_t)v->h && k < n; at++)
        if (v->state[at] == SHADOW)
            depths[k++] = depth_of(v, v->light[at]);
    v->depth = k ? median(depths, k) : 0.0F;
    return ERR_OK;
}

/* All that is dark at the foot, then what of it is about as dark as most of it. */
static enum err_code find_shadow(struct arena *a, struct view *v, int *ret_n, struct err *err)
{
    int n = 0;

    *ret_n = 0;
    if (!is_dark_at_foot(v))
        return ERR_OK;
    mark_dark(v, SHALLOWEST, DEEPEST);
    thin(v, DARK, GROUND, 5);
    TRY(flood(a, v, &n, err));
    TRY(find_depth(a, v, n, err));
    mark_dark(v, 0.5F * v->depth, 1.8F * v->depth - 0.1F);
    thin(v, DARK, GROUND, 5);
    return flood(a, v, ret_n, err);
}

/* Whether it ends before the window and its frame do; the photo's own edge may cut it off. */
static bool ends_within(const struct view *v)
{
    for (int y = 0; y < v->h; y++)
        for (int x = 0; x < v->w; x++)
            if (v->state[(size_t)y * (size_t)v->w + (size_t)x] == SHADOW && (y == 0 || in_frame(v, x, y)))
                return false;
    return true;
}

/* The light along a line of pixels across the edge, from the shadow to the ground. */
struct profile {
    float light[128][3];
    int n;
};

static bool sample(const struct view *v, float x, float y, float sum[3])
{
    int px = (int)floorf(x), py = (int)floorf(y);
    size_t at;

    if (px < 0 || py < 0 || px >= v->photo->width || py >= v->photo->height)
        return false;
    at = (size_t)py * (size_t)v->photo->width + (size_t)px;
    for (int c = 0; c < 3; c++)
        sum[c] += v->light_of[v->photo->pixels[3 * at + (size_t)c]];
    return !v->mask->pixels[at];
}

static bool take_profile(const struct view *v, float x, float y, const float normal[2], struct profile *p)
{
    int half = clamp_int(12 + 2 * v->scale, 12, 60);

    p->n = 2 * half + 1;
    for (int k = 0; k < p->n; k++) {
        float sum[3] = { 0 };

        for (int j = -ALONG; j <= ALONG; j++)
            if (!sample(v, x + (float)(k - half) * normal[0] - (float)j * normal[1],
                        y + (float)(k - half) * normal[1] + (float)j * normal[0], sum))
                return false;
        for (int c = 0; c < 3; c++)
            p->light[k][c] = logf(sum[c] / (2 * ALONG + 1) + 1e-4F);
    }
    return true;
}

/* Whether the edge is the step of a shadow; *ret_sharpness: the part of it within SLOPE pixels. */
static bool is_step(const struct view *v, const struct profile *p, float *ret_sharpness)
{
    int low = 0, high = p->n / 2;
    float step, steepest = 0, d;

    for (int k = 0; k <= p->n / 2; k++)
        low = mean3(p->light[k]) < mean3(p->light[low]) ? k : low;
    for (int k = p->n / 2; k < p->n; k++)
        high = mean3(p->light[k]) > mean3(p->light[high]) ? k : high;
    if (!same_hue(p->light[low], p->light[high], &step) || step > 0.5F * v->depth || step < 2.0F * v->depth - 0.1F)
        return false;
    for (int k = low; k + SLOPE <= high; k++) {
        d = mean3(p->light[k + SLOPE]) - mean3(p->light[k]);
        steepest = d > steepest ? d : steepest;
    }
    *ret_sharpness = high - low >= SLOPE ? steepest / -step : 1.0F;
    return true;
}

/* Away from the shadow, by where its cells are within two cells; false: this is no edge towards the ground. */
static bool normal_of(const struct view *v, int x, int y, float ret[2])
{
    float nx = 0, ny = 0, len;

    if (x < 2 || y < 2 || x + 2 >= v->w || y + 2 >= v->h)
        return false;
    for (int dy = -2; dy <= 2; dy++)
        for (int dx = -2; dx <= 2; dx++) {
            int s = v->state[(size_t)(y + dy) * (size_t)v->w + (size_t)(x + dx)];

            if (s == FIGURE || s == RIM)
                return false;
            nx -= s == SHADOW ? (float)dx : 0.0F;
            ny -= s == SHADOW ? (float)dy : 0.0F;
        }
    len = sqrtf(nx * nx + ny * ny);
    ret[0] = nx / len;
    ret[1] = ny / len;
    return len >= 4.0F;
}

struct edge {
    float sharpness[EDGE_POINTS];
    int seen, steps;
};

static void judge_point(const struct view *v, int x, int y, struct edge *e)
{
    struct profile p;
    float normal[2];
    float px = (float)v->window.left + ((float)x + 0.5F) * (float)v->scale;
    float py = (float)v->window.top + ((float)y + 0.5F) * (float)v->scale;

    if (e->seen == EDGE_POINTS || !normal_of(v, x, y, normal) ||
        !take_profile(v, px + normal[0] * (float)v->scale / 2, py + normal[1] * (float)v->scale / 2, normal, &p))
        return;
    e->seen++;
    e->steps += is_step(v, &p, &e->sharpness[e->steps]);
}

static enum shadow_result judge_edge(const struct view *v)
{
    struct edge e = { .seen = 0 };

    for (int y = 1; y + 1 < v->h; y++)
        for (int x = 1; x + 1 < v->w; x++) {
            const uint8_t *s = v->state + (size_t)y * (size_t)v->w + x;

            if (*s == SHADOW && (s[-1] < FIGURE || s[1] < FIGURE || s[-v->w] < FIGURE || s[v->w] < FIGURE))
                judge_point(v, x, y, &e);
        }
    if (e.seen < 8 || e.steps * 3 < e.seen * 2)
        return SHADOW_NOT_LIKELY;
    return median(e.sharpness, e.steps) <= SHARPEST ? SHADOW_ADDED : SHADOW_TOO_SHARP;
}

/* Cells beside the shadow join it where they could be its penumbra: a ground in some light. */
static void add_penumbra(struct view *v)
{
    for (size_t at = 0; at < (size_t)v->w * (size_t)v->h; at++)
        if (v->state[at] == DARK || (v->state[at] == GROUND && isnan(depth_of(v, v->light[at]))))
            v->state[at] = DARK; /* another thing, or a shadow of its own */
    widen(v, SHADOW, SHADOW, clamp_int(12 / v->scale, 2, 6));
}

/* Between the figure and its shadow nothing stays. */
static void close_rim(struct view *v)
{
    for (int y = v->h - 2; y >= 0; y--)
        for (int x = 0; x < v->w; x++) {
            uint8_t *s = v->state + (size_t)y * (size_t)v->w + x;
            bool below =
                s[v->w] == SHADOW || (x > 0 && s[v->w - 1] == SHADOW) || (x + 1 < v->w && s[v->w + 1] == SHADOW);

            if (*s == RIM && below)
                *s = SHADOW;
        }
}

static double shadow_pixels(const struct view *v)
{
    int n = 0;

    for (size_t at = 0; at < (size_t)v->w * (size_t)v->h; at++)
        n += v->state[at] == SHADOW;
    return (double)n * v->scale * v->scale;
}

static int64_t paint(const struct view *v)
{
    int64_t added = 0;

    for (int y = v->window.top; y < v->window.bottom; y++) {
        const uint8_t *s = v->state + (size_t)((y - v->window.top) / v->scale) * (size_t)v->w;
        uint8_t *row = v->mask->pixels + (size_t)y * (size_t)v->mask->width;

        for (int x = v->window.left; x < v->window.right; x++)
            if (s[(x - v->window.left) / v->scale] == SHADOW && !row[x]) {
                row[x] = 255;
                added++;
            }
    }
    return added;
}

static enum err_code judge(struct arena *a, struct view *v, int64_t n_marked, struct shadow *ret, struct err *err)
{
    int n = 0;

    TRY(look(a, v, err));
    TRY(find_colours(a, v, err));
    ret->result = v->n_colours ? SHADOW_NONE : SHADOW_NO_GROUND;
    TRY(find_shadow(a, v, &n, err));
    if (n < 12)
        return ERR_OK;
    ret->result = SHADOW_TOO_LARGE;
    if (!ends_within(v))
        return ERR_OK;
    ret->result = judge_edge(v);
    if (ret->result != SHADOW_ADDED)
        return ERR_OK;
    add_penumbra(v);
    close_rim(v);
    if (shadow_pixels(v) > SHADOW_AREA * (double)n_marked) {
        ret->result = SHADOW_TOO_LARGE;
        return ERR_OK;
    }
    ret->light = expf(v->depth);
    ret->added = paint(v);
    ret->share = (double)ret->added / (double)n_marked;
    return ERR_OK;
}

enum err_code shadow_grow(struct arena *a, const struct image *photo, const struct image *mask, struct shadow *ret,
                          struct err *err)
{
    ARENA_SCRATCH(a);
    struct mask_extent e = mask_extent(mask);
    struct view v = { .photo = photo, .mask = mask, .figure = e.box };
    struct shadow found = { .result = SHADOW_NO_GROUND, .light = 1.0 };

    if (photo->width != mask->width || photo->height != mask->height || photo->channels != 3 || mask->channels != 1)
        return err_set(err, ERR_INVALID, "shadow: the photo has %d x %d pixels, the mask %d x %d", photo->width,
                       photo->height, mask->width, mask->height);
    if (e.n_set && e.box.bottom < photo->height) {
        choose_window(&v);
        TRY(judge(a, &v, e.n_set, &found, err));
    }
    *ret = found;
    return ERR_OK;
}
