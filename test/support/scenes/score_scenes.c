#include "test/support/scenes/score_scenes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const ground_names[N_GROUNDS] = { "grass",  "sand",   "tiles",       "sky",
                                                     "planks", "carpet", "two grounds", "pebbles" };
static const char *const fault_names[N_FAULTS] = { "none",  "ghost", "outline", "tint",        "uneven",
                                                   "shift", "blur",  "foreign", "other ground" };

const char *score_ground_name(enum score_ground g)
{
    return ground_names[g];
}

const char *score_fault_name(enum score_fault f)
{
    return fault_names[f];
}

static void must(enum err_code rc, const struct err *err)
{
    if (rc) {
        (void)fprintf(stderr, "score_scenes: %s\n", err->msg);
        abort();
    }
}

/* 0 .. 1, the same for the same arguments (splitmix64). */
static double random_at(uint64_t seed, int64_t x, int64_t y)
{
    uint64_t z = seed * 0x9e3779b97f4a7c15u + (uint64_t)x * 0xbf58476d1ce4e5b9u + (uint64_t)y * 0x94d049bb133111ebu;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

static double between(uint64_t seed, int n, double low, double high)
{
    return low + (high - low) * random_at(seed, n, 7777);
}

/* Nearly normal, deviation 1. */
static double normal_at(uint64_t seed, int64_t x, int64_t y)
{
    double sum = 0;

    for (int i = 0; i < 4; i++)
        sum += random_at(seed + 1000003u * (unsigned)i, x, y) - 0.5;
    return sum * 1.7320508;
}

static double smooth(double t)
{
    return t * t * (3 - 2 * t);
}

/* Random values at whole numbers, smooth between them: -1 .. 1. */
static double noise_at(uint64_t seed, double x, double y)
{
    double fx = floor(x), fy = floor(y), u = smooth(x - fx), v = smooth(y - fy);
    int64_t i = (int64_t)fx, k = (int64_t)fy;
    double top = (1 - u) * random_at(seed, i, k) + u * random_at(seed, i + 1, k);
    double bottom = (1 - u) * random_at(seed, i, k + 1) + u * random_at(seed, i + 1, k + 1);

    return 2 * ((1 - v) * top + v * bottom) - 1;
}

static double cloud_at(uint64_t seed, double x, double y, double size, int octaves)
{
    double sum = 0, share = 1;

    for (int i = 0; i < octaves; i++, share *= 0.6, size *= 0.5)
        sum += share * noise_at(seed + (unsigned)i, x / size, y / size);
    return sum;
}

static void colour(double *rgb, double r, double g, double b)
{
    rgb[0] = r;
    rgb[1] = g;
    rgb[2] = b;
}

static void grass(uint64_t s, double x, double y, double *rgb)
{
    double lean = 3 * noise_at(s + 9, x / 30, y / 30), n = 26 * cloud_at(s, x + lean, y / 3, 4, 2);

    n += 12 * cloud_at(s + 50, x, y, 60, 2);
    colour(rgb, 90 + n, 120 + 1.1 * n, 60 + 0.6 * n);
}

static void sand(uint64_t s, double x, double y, double *rgb)
{
    double n = 7 * cloud_at(s, x, y, 3, 2) + 6 * cloud_at(s + 50, x, y, 80, 2);

    colour(rgb, 200 + n, 180 + n, 140 + 0.9 * n);
}

static void tiles(uint64_t s, double x, double y, double *rgb)
{
    double size = between(s, 1, 40, 60), u = x / size + 0.02 * y / size, v = y / size - 0.02 * x / size;
    double du = fabs(u - floor(u) - 0.5), dv = fabs(v - floor(v) - 0.5), joint = fmax(du, dv) > 0.47 ? -60 : 0;
    double n = 12 * (random_at(s, (int64_t)floor(u), (int64_t)floor(v)) - 0.5) + 3 * cloud_at(s + 5, x, y, 12, 2);

    colour(rgb, 190 + n + joint, 180 + n + joint, 170 + n + joint);
}

static void sky(uint64_t s, double x, double y, double *rgb)
{
    double t = y / 4 + x * between(s, 2, -0.05, 0.05), n = 2 * cloud_at(s, x, y, 90, 1);

    colour(rgb, 90 + 0.6 * t + n, 140 + 0.5 * t + n, 210 + 0.25 * t + n);
}

static void planks(uint64_t s, double x, double y, double *rgb)
{
    double width = between(s, 3, 34, 50), row = floor(y / width), inside = y / width - row;
    double grain = 14 * cloud_at(s + (uint64_t)(int64_t)row * 31u, x / 14, y, 5, 3);
    double n = 30 * (random_at(s, (int64_t)row, 3) - 0.5) + grain + (inside < 0.04 ? -55 : 0);

    colour(rgb, 150 + n, 110 + 0.8 * n, 75 + 0.6 * n);
}

static void carpet(uint64_t s, double x, double y, double *rgb)
{
    double n = 14 * sin(x * 1.05) * sin(y * 0.9) + 8 * cloud_at(s, x, y, 3, 1) + 6 * sin((x + y) / 9);

    colour(rgb, 120 + n, 70 + 0.7 * n, 70 + 0.7 * n);
}

static void two_grounds(uint64_t s, double x, double y, double *rgb)
{
    double slope = between(s, 4, -0.2, 0.2), edge = y - 160 - slope * (x - 160) - 2 * noise_at(s + 3, x / 10, 0);
    double above[3], n = 14 * cloud_at(s + 70, x, y, 3, 2), share = fmin(fmax(edge + 0.5, 0), 1);

    grass(s, x, y, rgb);
    colour(above, 105 + n, 105 + n, 110 + n);
    for (int c = 0; c < 3; c++)
        rgb[c] = share * rgb[c] + (1 - share) * above[c];
}

/* Cells around random points: stones with shaded rims. */
static void pebbles(uint64_t s, double x, double y, double *rgb)
{
    enum { SIZE = 11 };
    int64_t i = (int64_t)floor(x / SIZE), k = (int64_t)floor(y / SIZE), own_x = 0, own_y = 0;
    double first = 1e9, second = 1e9, n;

    for (int64_t v = k - 1; v <= k + 1; v++)
        for (int64_t u = i - 1; u <= i + 1; u++) {
            double dx = ((double)u + random_at(s, u, v)) * SIZE - x,
                   dy = ((double)v + random_at(s + 1, u, v)) * SIZE - y;
            double d = hypot(dx, dy);

            second = fmin(second, fmax(d, first));
            own_x = d < first ? u : own_x;
            own_y = d < first ? v : own_y;
            first = fmin(first, d);
        }
    n = 70 * (random_at(s + 2, own_x, own_y) - 0.5) - 50 * fmax(0, 1 - (second - first) / 2.5);
    colour(rgb, 140 + n, 132 + n, 122 + n);
}

static void (*const painters[N_GROUNDS])(uint64_t, double, double, double *) = { grass,  sand,   tiles,       sky,
                                                                                 planks, carpet, two_grounds, pebbles };

static uint8_t to_byte(double v)
{
    return (uint8_t)fmin(fmax(lrint(v), 0), 255);
}

static void new_image(struct arena *a, int width, int height, int channels, struct image *ret)
{
    struct err err = { 0 };

    must(image_new(a, width, height, channels, ret, &err), &err);
}

/* A lens is never sharper than this: 1 2 1 across, then down, in place. */
static void soften(double *v, int n, ptrdiff_t stride)
{
    double before = v[0];

    for (int i = 0; i < n; i++) {
        double own = v[i * stride], after = i + 1 < n ? v[(i + 1) * stride] : own;

        v[i * stride] = 0.25 * before + 0.5 * own + 0.25 * after;
        before = own;
    }
}

static double *planes_of(struct arena *a, const struct image *im)
{
    struct err err = { 0 };
    double *v;

    must(arena_alloc(a, image_bytes(im), sizeof *v, &v, &err), &err);
    for (size_t i = 0; i < image_bytes(im); i++)
        v[i] = im->pixels[i];
    return v;
}

static void soften_picture(double *v, int width, int height)
{
    for (int y = 0; y < height; y++)
        for (int c = 0; c < 3; c++)
            soften(v + 3 * (ptrdiff_t)y * width + c, width, 3);
    for (int x = 0; x < width; x++)
        for (int c = 0; c < 3; c++)
            soften(v + 3 * x + c, height, 3 * (ptrdiff_t)width);
}

static double grain_of(uint64_t seed)
{
    return between(seed, 11, 1.2, 2.8);
}

static void add_grain(const double *v, uint64_t seed, double deviation, struct image *im)
{
    for (int y = 0; y < im->height; y++)
        for (int x = 0; x < im->width; x++)
            for (int c = 0; c < 3; c++) {
                size_t i = 3 * ((size_t)y * (size_t)im->width + (size_t)x) + (size_t)c;

                im->pixels[i] = to_byte(
                    v[i] + deviation * (0.8 * normal_at(seed, x, y) + 0.6 * normal_at(seed + 77u + (unsigned)c, x, y)));
            }
}

void score_draw_ground(struct arena *a, enum score_ground g, uint64_t seed, unsigned moment, int width, int height,
                       struct image *ret)
{
    double *v, dx = floor(between(seed, 12, 0, 1000));

    new_image(a, width, height, 3, ret);
    v = planes_of(a, ret);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            painters[g](seed * 8 + g, g == GROUND_TWO ? x : x + dx, y, v + 3 * ((size_t)y * (size_t)width + (size_t)x));
    soften_picture(v, width, height);
    add_grain(v, seed * 31 + 5 + moment * 1009u, grain_of(seed), ret);
}

/* Pixels outside the object; negative inside. Its outline is a circle with waves. */
static double distance(const struct score_case *c, double x, double y)
{
    double dx = x - c->middle_x, dy = y - c->middle_y, turn = atan2(dy, dx), r = c->radius;

    for (int k = 2; k <= 4; k++)
        r += c->radius * 0.12 * between(c->seed, 20 + k, -1, 1) * cos(k * turn + between(c->seed, 30 + k, 0, 6));
    return hypot(dx, dy) - r;
}

static void object_colour(const struct score_case *c, double x, double y, double *rgb)
{
    double n = between(c->seed, 44, 8, 26) * cloud_at(c->seed + 13, x, y, between(c->seed, 45, 5, 16), 2);

    n += between(c->seed, 46, 0, 25) * sin((x * cos(c->seed) + y * sin(c->seed)) / between(c->seed, 47, 2, 6));
    for (int i = 0; i < 3; i++)
        rgb[i] = between(c->seed, 50 + i, 20, 235) + n - 0.5 * (y - c->middle_y);
}

static void draw_object(struct arena *a, struct score_case *c)
{
    double *v = planes_of(a, &c->truth), own[3], deviation = grain_of(c->seed);

    new_image(a, c->truth.width, c->truth.height, 3, &c->before);
    memcpy(c->before.pixels, c->truth.pixels, image_bytes(&c->truth));
    for (int y = 0; y < c->truth.height; y++)
        for (int x = 0; x < c->truth.width; x++) {
            double d = distance(c, x, y), share = 0.5 * erfc(d / (1.2 * M_SQRT2)); /* a lens of 1.2 pixels */
            size_t at = 3 * ((size_t)y * (size_t)c->truth.width + (size_t)x);

            if (d > 5)
                continue;
            object_colour(c, x, y, own);
            for (size_t i = 0; i < 3; i++)
                c->before.pixels[at + i] =
                    to_byte(share * (own[i] + deviation * normal_at(c->seed + 3 + i, x, y)) + (1 - share) * v[at + i]);
        }
}

static void draw_masks(struct arena *a, struct score_case *c)
{
    new_image(a, c->truth.width, c->truth.height, 1, &c->mask);
    new_image(a, c->truth.width, c->truth.height, 1, &c->paste);
    for (int y = 0; y < c->truth.height; y++)
        for (int x = 0; x < c->truth.width; x++) {
            size_t i = (size_t)y * (size_t)c->truth.width + (size_t)x;
            double d = distance(c, x, y) - c->margin;

            c->mask.pixels[i] = d <= 0 ? 255 : 0;
            c->paste.pixels[i] = to_byte(255 * smooth(fmin(fmax((c->grow - d) / c->feather, 0), 1)));
        }
}

void score_case_on(struct arena *a, const struct image *truth, enum score_ground g, uint64_t seed,
                   struct score_case *ret)
{
    int side = truth->width < truth->height ? truth->width : truth->height;
    struct score_case c = { .truth = *truth, .seed = seed, .ground = g };

    c.radius = between(seed, 13, 0.1, 0.17) * side;
    c.middle_x = truth->width * 0.5 + between(seed, 14, -0.08, 0.08) * side;
    c.middle_y = truth->height * 0.5 + between(seed, 15, -0.08, 0.08) * side;
    c.margin = 3 + (int)between(seed, 16, 0, 6); /* the lens spreads the object by 3 pixels */
    c.feather = 2 + (int)between(seed, 17, 0, 3);
    c.grow = c.feather + 4 + (int)between(seed, 18, 0, 4);
    draw_object(a, &c);
    draw_masks(a, &c);
    *ret = c;
}

static size_t index_of(const struct image *im, int x, int y)
{
    x = x < 0 ? 0 : x < im->width ? x : im->width - 1;
    y = y < 0 ? 0 : y < im->height ? y : im->height - 1;
    return ((size_t)y * (size_t)im->width + (size_t)x) * (size_t)im->channels;
}

/* The photo with `painted` pasted into it. */
static void paste(struct arena *a, const struct score_case *c, const double *painted, struct image *ret)
{
    new_image(a, c->truth.width, c->truth.height, 3, ret);
    for (size_t i = 0; i < image_bytes(ret); i++) {
        double share = c->paste.pixels[i / 3] / 255.0;

        ret->pixels[i] = to_byte(share * to_byte(painted[i]) + (1 - share) * c->before.pixels[i]);
    }
}

static void paint_ghost(const struct score_case *c, bool outline, double *v)
{
    double share = between(c->seed, 60, 0.15, 0.3);

    for (int y = 0; y < c->truth.height; y++)
        for (int x = 0; x < c->truth.width; x++) {
            double own = !outline ? share : fabs(distance(c, x, y)) < 1.5 ? 0.6 : 0;

            for (size_t i = index_of(&c->truth, x, y), k = i; k < i + 3; k++)
                v[k] += own * ((double)c->before.pixels[k] - c->truth.pixels[k]);
        }
}

static void paint_tint(const struct score_case *c, double *v)
{
    double sign = between(c->seed, 61, 0, 1) < 0.5 ? -8 : 8;
    int channel = (int)between(c->seed, 62, 0, 5); /* over 2: all */

    for (size_t i = 0; i < image_bytes(&c->truth); i++)
        v[i] += channel > 2 || (int)(i % 3) == channel ? sign : 0;
}

static void paint_uneven(const struct score_case *c, double *v)
{
    double turn = between(c->seed, 64, 0, 6.28);

    for (int y = 0; y < c->truth.height; y++)
        for (int x = 0; x < c->truth.width; x++) {
            double side = ((x - c->middle_x) * cos(turn) + (y - c->middle_y) * sin(turn)) / c->radius;

            for (size_t i = index_of(&c->truth, x, y), k = i; k < i + 3; k++)
                v[k] += 16 * fmin(fmax(2 * side, -1), 1);
        }
}

static void paint_shift(const struct score_case *c, int dx, int dy, double *v)
{
    for (int y = 0; y < c->truth.height; y++)
        for (int x = 0; x < c->truth.width; x++)
            for (size_t i = 0; i < 3; i++)
                v[index_of(&c->truth, x, y) + i] = c->truth.pixels[index_of(&c->truth, x + dx, y + dy) + i];
}

static double sharpness_of(const struct score_case *c, const double *v)
{
    ptrdiff_t row = 3 * (ptrdiff_t)c->truth.width;
    double sum2 = 0;

    for (int y = 1; y + 1 < c->truth.height; y++)
        for (int x = 1; x + 1 < c->truth.width; x++) {
            const double *p = v + index_of(&c->truth, x, y) + 1;

            if (c->mask.pixels[(size_t)y * (size_t)c->truth.width + (size_t)x])
                sum2 += pow(p[-3] + p[3] + p[-row] + p[row] - 4 * p[0], 2);
        }
    return sum2;
}

/* Softer and softer versions are mixed until the share is met. */
static void paint_blur(struct arena *a, const struct score_case *c, double *v)
{
    double *soft = planes_of(a, &c->truth), want = 0.3 * sharpness_of(c, v), low = 0, high = 1;
    size_t n = image_bytes(&c->truth);

    soften_picture(soft, c->truth.width, c->truth.height);
    soften_picture(soft, c->truth.width, c->truth.height);
    for (int k = 0; k < 12; k++) {
        double *mixed = planes_of(a, &c->truth), share = 0.5 * (low + high);

        for (size_t i = 0; i < n; i++)
            mixed[i] = share * soft[i] + (1 - share) * v[i];
        if (sharpness_of(c, mixed) > want)
            low = share;
        else
            high = share;
    }
    for (size_t i = 0; i < n; i++)
        v[i] = high * soft[i] + (1 - high) * v[i];
}

/* A ball in the middle of the mask, of half the object's size, unlike object and ground. */
static void paint_foreign(const struct score_case *c, double *v)
{
    struct score_case other = *c;
    double own[3];

    other.seed = c->seed * 7 + 101;
    other.radius = 0.62 * c->radius;
    for (int i = 0; i < 3; i++) {
        double ground = c->truth.pixels[index_of(&c->truth, (int)c->middle_x, (int)c->middle_y) + (size_t)i];

        own[i] = ground > 128 ? ground - between(other.seed, i, 50, 110) : ground + between(other.seed, i, 50, 110);
    }
    for (int y = 0; y < c->truth.height; y++)
        for (int x = 0; x < c->truth.width; x++) {
            double d = distance(&other, x, y), share = 0.5 * erfc(d / 1.7), n = 14 * cloud_at(other.seed, x, y, 7, 2);

            for (size_t i = 0; i < 3 && d < 6; i++) {
                double *p = v + index_of(&c->truth, x, y) + i;

                *p = share * (own[i] + n - 0.6 * (y - c->middle_y)) + (1 - share) * *p;
            }
        }
}

static void paint_other_ground(struct arena *a, const struct score_case *c, double *v)
{
    static const enum score_ground others[N_GROUNDS] = { GROUND_PEBBLES, GROUND_CARPET, GROUND_PLANKS, GROUND_SAND,
                                                         GROUND_GRASS,   GROUND_SAND,   GROUND_PLANKS, GROUND_GRASS };
    struct image im;

    score_draw_ground(a, others[c->ground], c->seed + 5, 0, c->truth.width, c->truth.height, &im);
    for (size_t i = 0; i < image_bytes(&im); i++)
        v[i] = im.pixels[i];
}

static void paint(struct arena *a, const struct score_case *c, enum score_fault f, double *v)
{
    int side = (int)between(c->seed, 63, 0, 4);

    if (f == FAULT_GHOST || f == FAULT_OUTLINE)
        paint_ghost(c, f == FAULT_OUTLINE, v);
    else if (f == FAULT_TINT)
        paint_tint(c, v);
    else if (f == FAULT_UNEVEN)
        paint_uneven(c, v);
    else if (f == FAULT_SHIFT)
        paint_shift(c, side == 0 ? 2 : side == 1 ? -2 : 0, side == 2 ? 2 : side == 3 ? -2 : 0, v);
    else if (f == FAULT_BLUR)
        paint_blur(a, c, v);
    else if (f == FAULT_FOREIGN)
        paint_foreign(c, v);
    else if (f == FAULT_OTHER_GROUND)
        paint_other_ground(a, c, v);
}

void score_case_result(struct arena *a, const struct score_case *c, enum score_fault f, struct image *ret)
{
    double *v = planes_of(a, &c->truth);

    paint(a, c, f, v);
    paste(a, c, v, ret);
}

/* Grain of another moment, or the ground from beside the object. */
void score_case_sound(struct arena *a, const struct score_case *c, enum score_sound k, struct image *ret)
{
    double *v = planes_of(a, k == SOUND_FRESH_GRAIN && c->again ? c->again : &c->truth);

    if (k == SOUND_CLONE)
        paint_shift(c, (int)(2.6 * c->radius) * (c->middle_x > c->truth.width * 0.5 ? -1 : 1), 0, v);
    paste(a, c, v, ret);
}

void score_case_measure(struct arena *a, const struct score_case *c, const struct image *after,
                        struct picture_scores *ret)
{
    struct score_pictures in = { &c->before, after, &c->mask, &c->paste };
    struct err err = { 0 };

    must(picture_scores_measure(a, &in, ret, &err), &err);
}

bool score_own_figure_is_worse(enum score_fault f, const struct picture_scores *clean,
                               const struct picture_scores *faulty)
{
    switch (f) {
    case FAULT_GHOST:
        return faulty->ghost > clean->ghost;
    case FAULT_TINT:
        return faulty->colour_step > clean->colour_step;
    case FAULT_UNEVEN:
        return faulty->seam > clean->seam;
    case FAULT_SHIFT:
        return faulty->overlap > clean->overlap;
    case FAULT_BLUR:
        return faulty->sharpness < clean->sharpness;
    case FAULT_OUTLINE:
        return faulty->outline > clean->outline;
    case FAULT_FOREIGN:
        return faulty->hallucination > clean->hallucination;
    case FAULT_OTHER_GROUND:
        return faulty->coherence < clean->coherence;
    default:
        return false;
    }
}
