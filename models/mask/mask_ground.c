#include "models/mask/mask_ground.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/processor.h"

enum { PLACES_MAX = 32, SHADES = 16 };

int mask_brightness(const uint8_t c[3])
{
    int most = c[0] > c[1] ? c[0] : c[1];

    return most > c[2] ? most : c[2];
}

static size_t size_of(const struct mask_file *f)
{
    return (size_t)f->stored.width * (size_t)f->stored.height;
}

static void colour_at(const struct mask_file *f, size_t at, uint8_t ret[3])
{
    size_t c = (size_t)f->stored.channels;

    for (size_t i = 0; i < 3; i++)
        ret[i] = f->stored.pixels[at * c + (c == 3 ? i : 0)];
}

/* Calls for every pixel of the frame. */
struct frame_walk {
    int width, height, x, y;
};

static bool next_of_frame(struct frame_walk *w)
{
    bool full_row = w->y == 0 || w->y == w->height - 1;

    w->x += full_row || w->width == 1 ? 1 : w->width - 1;
    if (w->x < w->width)
        return true;
    w->x = 0;
    w->y++;
    return w->y < w->height;
}

static size_t place_of(const struct frame_walk *w)
{
    return (size_t)w->y * (size_t)w->width + (size_t)w->x;
}

static int shade_of(const uint8_t c[3])
{
    return (c[0] / SHADES * SHADES + c[1] / SHADES) * SHADES + c[2] / SHADES;
}

/* The colour that has the majority among those of the commonest shade, or one of them. */
static void commonest_colour(const struct mask_file *f, uint8_t ret[3])
{
    int count[SHADES * SHADES * SHADES] = { 0 }, best = 0, votes = 0;
    struct frame_walk w = { f->stored.width, f->stored.height, -1, 0 };
    uint8_t c[3];

    while (next_of_frame(&w)) {
        colour_at(f, place_of(&w), c);
        count[shade_of(c)]++;
    }
    for (int i = 0; i < SHADES * SHADES * SHADES; i++)
        best = count[i] > count[best] ? i : best;
    w = (struct frame_walk){ f->stored.width, f->stored.height, -1, 0 };
    while (next_of_frame(&w)) {
        colour_at(f, place_of(&w), c);
        if (shade_of(c) != best)
            continue;
        if (votes == 0)
            memcpy(ret, c, 3);
        votes += memcmp(ret, c, 3) == 0 ? 1 : -1;
    }
}

static int commonest_place(const struct mask_file *f)
{
    struct frame_walk w = { f->stored.width, f->stored.height, -1, 0 };
    int count[256] = { 0 }, best = 0;

    while (next_of_frame(&w))
        count[f->index[place_of(&w)]]++;
    for (int i = 0; i < 256; i++)
        best = count[i] > count[best] ? i : best;
    return best;
}

static int places_in_use(const struct mask_file *f)
{
    bool used[256] = { false };
    int n = 0;

    for (size_t i = 0; i < size_of(f); i++)
        used[f->index[i]] = true;
    for (int i = 0; i < 256; i++)
        n += used[i];
    return n;
}

struct mask_ground mask_find_ground(const struct mask_file *f)
{
    struct mask_ground g = { .place = -1 };

    commonest_colour(f, g.colour);
    if (!f->index)
        return g;
    g.n_places = places_in_use(f);
    g.by_place = g.n_places <= PLACES_MAX;
    g.place = commonest_place(f);
    for (size_t i = 0; i < size_of(f); i++)
        if (f->index[i] == g.place) {
            colour_at(f, i, g.colour);
            break;
        }
    return g;
}

EVERY_PROCESSOR static void measure_grey(uint8_t *dst, const uint8_t *src, size_t n, uint8_t ground)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = (uint8_t)(src[i] > ground ? src[i] - ground : ground - src[i]);
}

INLINE_HOT uint8_t away(uint8_t a, uint8_t b)
{
    return (uint8_t)(a > b ? a - b : b - a);
}

EVERY_PROCESSOR static void measure_rgb(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t ground[3])
{
    uint8_t g0 = ground[0], g1 = ground[1], g2 = ground[2];

    for (size_t i = 0; i < n; i++) {
        uint8_t r = away(src[3 * i], g0), g = away(src[3 * i + 1], g1), b = away(src[3 * i + 2], g2);

        r = r > g ? r : g;
        dst[i] = r > b ? r : b;
    }
}

static void measure_colours(const struct mask_file *f, const uint8_t ground[3], uint8_t *dst)
{
    if (f->stored.channels == 1)
        measure_grey(dst, f->stored.pixels, size_of(f), ground[0]);
    else
        measure_rgb(dst, f->stored.pixels, size_of(f), ground);
}

/* How far each place is from the ground: those that lie in runs are far whatever their colour, and the colours of a
 * soft edge between them are as far as they look. */
static void measure_places(const struct mask_file *f, int ground, uint8_t *plane)
{
    int64_t count[256] = { 0 }, same[256] = { 0 };
    uint8_t far[256] = { 0 };

    for (size_t i = 0; i < size_of(f); i++) {
        count[f->index[i]]++;
        same[f->index[i]] += i > 0 && f->index[i] == f->index[i - 1];
        far[f->index[i]] = plane[i];
    }
    for (int i = 0; i < 256; i++)
        far[i] = i == ground ? 0 : 5 * same[i] >= 3 * count[i] ? 255 : far[i];
    for (size_t i = 0; i < size_of(f); i++)
        plane[i] = far[f->index[i]];
}

void mask_measure_ground(const struct mask_file *f, const struct mask_ground *ground, const struct mask_plane *plane)
{
    measure_colours(f, ground->colour, plane->pixels);
    if (ground->by_place)
        measure_places(f, ground->place, plane->pixels);
}

void mask_measure_light(const struct mask_file *f, uint8_t transparent, const struct mask_plane *plane)
{
    static const uint8_t black[3] = { 0 };

    measure_colours(f, black, plane->pixels);
    for (size_t i = 0; f->alpha && i < size_of(f); i++)
        plane->pixels[i] = (uint8_t)((plane->pixels[i] * f->alpha[i] + transparent * (255 - f->alpha[i]) + 127) / 255);
}

void mask_measure_alpha(const uint8_t *alpha, bool hole, const struct mask_plane *plane)
{
    size_t n = (size_t)plane->width * (size_t)plane->height;

    for (size_t i = 0; i < n; i++)
        plane->pixels[i] = hole ? (uint8_t)(255 - alpha[i]) : alpha[i];
}
