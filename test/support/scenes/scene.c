#include "test/support/scenes/scene.h"

#include <math.h>
#include <stdlib.h>

const char *const scene_ground_names[SCENE_GROUNDS] = { "grass",    "sand", "tiles", "grass beside concrete",
                                                        "concrete", "fur" };
const char *const scene_dark_names[SCENE_DARKS] = { "nothing",
                                                    "asphalt from the feet on",
                                                    "a dark plate",
                                                    "a black pet",
                                                    "a grey pet",
                                                    "a brown pet",
                                                    "dark trousers",
                                                    "markings of a coat",
                                                    "the shadow of a fence",
                                                    "light that fades" };

/* A number in -1 to 1 for a point of a lattice. */
static double lattice(int x, int y, unsigned seed)
{
    uint32_t h = (uint32_t)x * 0x9e3779b1U ^ (uint32_t)y * 0x85ebca6bU ^ seed * 0xc2b2ae35U;

    h = (h ^ h >> 15) * 0x2c1b3c6dU;
    h = (h ^ h >> 12) * 0x297a2d39U;
    return (double)(h ^ h >> 15) / 2147483648.0 - 1;
}

static double noise(double x, double y, unsigned seed)
{
    int x0 = (int)floor(x), y0 = (int)floor(y);
    double fx = x - x0, fy = y - y0;

    fx = fx * fx * (3 - 2 * fx);
    fy = fy * fy * (3 - 2 * fy);
    return (1 - fy) * ((1 - fx) * lattice(x0, y0, seed) + fx * lattice(x0 + 1, y0, seed)) +
           fy * ((1 - fx) * lattice(x0, y0 + 1, seed) + fx * lattice(x0 + 1, y0 + 1, seed));
}

/* Grain from fine to coarse, in -1 to 1 or so. */
static double texture(double x, double y, unsigned seed)
{
    return 0.45 * noise(x / 1.7, y / 1.7, seed) + 0.35 * noise(x / 5, y / 5, seed + 1) +
           0.25 * noise(x / 19, y / 19, seed + 2) + 0.15 * noise(x / 80, y / 80, seed + 3);
}

static void tint(double ret[3], double r, double g, double b, double contrast, double t)
{
    double light = exp(contrast * t);

    ret[0] = r * light;
    ret[1] = g * light;
    ret[2] = b * light;
}

/* How much of a pixel lies within a shape whose edge is `d` pixels away (below 0: inside). */
static double cover(double d, double sigma)
{
    return 0.5 * erfc(d / (sigma * M_SQRT2));
}

static double ellipse(double x, double y, double rx, double ry)
{
    double k = hypot(x / rx, y / ry);

    return (k - 1) * (k > 1e-9 ? hypot(x, y) / k : fmin(rx, ry));
}

static double box(double x, double y, double rx, double ry)
{
    double dx = fabs(x) - rx, dy = fabs(y) - ry;

    return fmin(fmax(dx, dy), 0) + hypot(fmax(dx, 0), fmax(dy, 0));
}

/* The figure stands on (0, 0), is 1 high, and y grows upwards: two legs, a body, a head. */
static double figure(double x, double y)
{
    double d = fmin(box(x + 0.10, y - 0.2, 0.045, 0.22), box(x - 0.10, y - 0.2, 0.045, 0.22));

    d = fmin(d, ellipse(x, y - 0.55, 0.2, 0.24));
    return fmin(d, ellipse(x, y - 0.87, 0.11, 0.13));
}

struct drawing {
    const struct scene *s;
    double size, foot_x, foot_y; /* of the figure, pixels */
};

static void ground_at(const struct drawing *d, int x, int y, double ret[3])
{
    enum scene_ground g = d->s->ground;
    unsigned seed = d->s->seed * 16;
    double t = texture(x, y, seed), edge = cover(x - d->foot_x - 0.3 * (y - d->foot_y), 1.2), other[3];
    int tile = (int)(d->size / 4);

    tint(ret, 0.34, 0.32, 0.29, 0.06, t); /* concrete */
    if (g == SCENE_GRASS || g == SCENE_TWO_GROUNDS) {
        tint(other, 0.13, 0.22, 0.06, 0.45, t);
        for (int c = 0; c < 3; c++)
            ret[c] = g == SCENE_GRASS ? other[c] : edge * other[c] + (1 - edge) * ret[c];
    } else if (g == SCENE_SAND) {
        tint(ret, 0.52, 0.41, 0.27, 0.13, t);
    } else if (g == SCENE_FUR) {
        tint(ret, 0.33, 0.19, 0.09, 0.25, texture(x * 0.5, y * 1.5, seed));
    } else if (g == SCENE_TILES) {
        bool grout = x % tile < 4 || y % tile < 4;
        tint(ret, 0.40, 0.31, 0.24, 0.05, t + (grout ? -9 : 1.6 * lattice(x / tile, y / tile, seed + 9)));
    }
}

/* The light that the shadow leaves of red and green. */
static double shade_at(const struct drawing *d, int x, int y)
{
    double up = (y - d->foot_y) / (0.38 * d->size), px = (x - d->foot_x) / d->size - d->s->direction * up;
    double sigma = 0.002 + d->s->penumbra * fmax(up, 0) / 2.6;

    if (d->s->light >= 1 || up < -0.1)
        return 1;
    return 1 - (1 - d->s->light) * cover(figure(px, up), sigma + 0.003);
}

/* 1 where the dark thing covers the pixel. */
static double dark_at(const struct drawing *d, int x, int y)
{
    double u = (x - d->foot_x) / d->size, v = (y - d->foot_y) / d->size, lens = 1.2 / d->size;
    double rough = 0.05 * noise(x / (0.12 * d->size), y / (0.12 * d->size), d->s->seed + 77);

    switch (d->s->dark) {
    case SCENE_ASPHALT:
        return cover(0.0 - v - 0.2 * u, lens);
    case SCENE_TILE:
        return cover(box(u - 0.06, v - 0.06, 0.28, 0.12), lens);
    case SCENE_BLACK_PET:
    case SCENE_GREY_PET:
    case SCENE_BROWN_PET:
        return cover(fmin(ellipse(u - 0.22, v - 0.06, 0.26, 0.11), ellipse(u - 0.47, v + 0.02, 0.08, 0.08)) + rough / 4,
                     lens);
    case SCENE_LEGS:
        return fmax(cover(box(u + 0.10, v - 0.12, 0.05, 0.14), lens), cover(box(u - 0.10, v - 0.12, 0.05, 0.14), lens));
    case SCENE_MARKINGS:
        return cover(ellipse(u - 0.05, v - 0.1, 0.3, 0.14) + rough, 0.02);
    case SCENE_FENCE:
        return 0.5 + 0.5 * tanh(4 * sin((u + 0.4 * v) * 14));
    default:
        return 0;
    }
}

static void darken(const struct drawing *d, int x, int y, double rgb[3])
{
    double k = dark_at(d, x, y), hair = texture(x * 0.6, y * 1.3, d->s->seed * 16 + 5),
           own[3] = { rgb[0], rgb[1], rgb[2] };
    double fade = fmin(1, exp(-1.2 * ((double)y / d->s->height - 0.5)));

    switch (d->s->dark) {
    case SCENE_BLACK_PET:
        tint(own, 0.02, 0.018, 0.017, 0.4, hair);
        break;
    case SCENE_GREY_PET:
        tint(own, 0.12, 0.113, 0.103, 0.25, hair);
        break;
    case SCENE_BROWN_PET:
        tint(own, 0.11, 0.055, 0.025, 0.3, hair);
        break;
    case SCENE_LEGS:
        tint(own, 0.035, 0.04, 0.06, 0.1, hair);
        break;
    case SCENE_EVENING:
        tint(rgb, rgb[0] * fade, rgb[1] * fade, rgb[2] * fade, 0, 0);
        return;
    default:
        tint(own, rgb[0] * 0.4, rgb[1] * 0.4, rgb[2] * 0.42, 0, 0);
    }
    for (int c = 0; c < 3; c++)
        rgb[c] = k * own[c] + (1 - k) * rgb[c];
}

static uint8_t code_of(double light)
{
    double v = light <= 0.0031308 ? 12.92 * light : 1.055 * pow(light, 1 / 2.4) - 0.055;

    return (uint8_t)lround(255 * fmin(fmax(v, 0), 1));
}

static void draw_pixel(const struct drawing *d, int x, int y, uint8_t *photo, double *ret_shade)
{
    double rgb[3], shade = shade_at(d, x, y), outline, k;

    ground_at(d, x, y, rgb);
    if (d->s->dark == SCENE_ASPHALT || d->s->dark == SCENE_TILE || d->s->dark >= SCENE_MARKINGS)
        darken(d, x, y, rgb);
    for (int c = 0; c < 3; c++)
        rgb[c] *= c == 2 ? 1 - (1 - shade) * 0.93 : shade; /* the sky's light is blue */
    if (d->s->dark >= SCENE_BLACK_PET && d->s->dark <= SCENE_LEGS)
        darken(d, x, y, rgb);
    outline = figure((x - d->foot_x) / d->size, (d->foot_y - y) / d->size) * d->size;
    k = cover(outline, 1.2);
    for (int c = 0; c < 3; c++)
        photo[c] = code_of(k * (c == 0 ? 0.5 : 0.08) + (1 - k) * rgb[c]);
    *ret_shade = shade;
}

void scene_draw(struct arena *a, const struct scene *s, struct image *photo, struct image *mask, struct image *shadow)
{
    struct drawing d = { s, 0.5 * s->height, 0.6 * s->height, 0.62 * s->height };
    int width = s->height * 5 / 4;

    if (image_new(a, width, s->height, 3, photo, NULL) || image_new(a, width, s->height, 1, mask, NULL) ||
        image_new(a, width, s->height, 1, shadow, NULL))
        abort();
#pragma omp parallel for schedule(dynamic, 16)
    for (int y = 0; y < s->height; y++)
        for (int x = 0; x < width; x++) {
            size_t at = (size_t)y * (size_t)width + (size_t)x;
            double shade, outline = figure((x - d.foot_x) / d.size, (d.foot_y - y) / d.size) * d.size;

            if (s->dark == SCENE_LEGS && y > d.foot_y - 0.02 * d.size)
                outline = d.size; /* the mask ends where the trousers begin */
            draw_pixel(&d, x, y, photo->pixels + 3 * at, &shade);
            mask->pixels[at] = outline <= s->mask_error ? 255 : 0;
            shadow->pixels[at] = !mask->pixels[at] && shade < 0.9 ? 255 : 0;
        }
}
