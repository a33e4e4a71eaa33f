/*
 * demo_inputs DIR - draws a photo-like picture and a mask of one thing in it: DIR/original.jpg, DIR/mask_auto.png.
 *
 * The picture is a meadow with a dog, a red ball and a leash; the mask marks the ball and the leash. Everything is
 * computed, so there is no picture to license, and the bytes are the same every time. Coordinates are in a frame 4 wide
 * and 3 high, y downwards. The meadow is a ground that the demo's model was trained on (scripts/demo_model/scenes.py),
 * at the size it was trained at, and without detail finer than 5 pixels, which that model cannot paint.
 */
#include <math.h>
#include <stdio.h>

#include "kernels/base/file.h"
#include "models/codec/jpeg.h"
#include "models/codec/png.h"

enum { WIDTH = 512, HEIGHT = 384, PIXELS_PER_UNIT = WIDTH / 4, LEASH_POINTS = 256, ARENA_BYTES = 64 << 20 };

struct colour {
    float r, g, b; /* 0 to 1 */
};

struct ellipse {
    float x, y, rx, ry, angle; /* centre, half axes, radians */
};

static const float horizon = 1.27f;

static float clampf(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

static float smooth_step(float from, float to, float x)
{
    float t = clampf((x - from) / (to - from), 0.0f, 1.0f);

    return t * t * (3.0f - 2.0f * t);
}

static struct colour mix(struct colour a, struct colour b, float t)
{
    return (struct colour){ a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t };
}

static struct colour shade(struct colour c, float by)
{
    return (struct colour){ c.r * by, c.g * by, c.b * by };
}

/* A fixed random number in 0 to 1 for each point of a grid (integer hash after Wang). */
static float lattice(int x, int y)
{
    uint32_t h = (uint32_t)x * 374761393u + (uint32_t)y * 668265263u;

    h = (h ^ (h >> 13)) * 1274126177u;
    return (float)((h ^ (h >> 16)) & 0xffff) / 65535.0f;
}

static float value_noise(float x, float y)
{
    float fx = floorf(x), fy = floorf(y);
    float tx = smooth_step(0, 1, x - fx), ty = smooth_step(0, 1, y - fy);
    int ix = (int)fx, iy = (int)fy;
    float top = lattice(ix, iy) + (lattice(ix + 1, iy) - lattice(ix, iy)) * tx;
    float bottom = lattice(ix, iy + 1) + (lattice(ix + 1, iy + 1) - lattice(ix, iy + 1)) * tx;

    return top + (bottom - top) * ty;
}

/* Octaves of value noise: 0 to 1, around 0.5. */
static float cloud(float x, float y, int octaves)
{
    float sum = 0.0f, total = 0.0f, weight = 0.5f;

    for (int i = 0; i < octaves; i++, weight *= 0.5f, x *= 2.0f, y *= 2.0f) {
        sum += weight * value_noise(x, y);
        total += weight;
    }
    return sum / total;
}

/* 0 at the centre, 1 on the outline. */
static float radius_in(const struct ellipse *e, float x, float y)
{
    float dx = x - e->x, dy = y - e->y, c = cosf(e->angle), s = sinf(e->angle);
    float u = (c * dx + s * dy) / e->rx, v = (c * dy - s * dx) / e->ry;

    return sqrtf(u * u + v * v);
}

/* 1 inside, 0 outside, with an edge of about a pixel and a half. */
static float coverage(const struct ellipse *e, float x, float y)
{
    float edge = 0.005f / (e->rx < e->ry ? e->rx : e->ry);

    return 1.0f - smooth_step(1.0f - edge, 1.0f + edge, radius_in(e, x, y));
}

/* Blades and tufts of grass in perspective: 0 on average. */
static float grass_height(float x, float y, float depth)
{
    float px = PIXELS_PER_UNIT * (x - 2.0f), py = PIXELS_PER_UNIT * (y - horizon);
    float bend = 10.0f * depth * (value_noise(px / 13.0f + 700.0f, py / 13.0f) - 0.5f); /* hides the lattice */
    float across = px + bend, down = py + 0.7f * bend;
    float blade = value_noise(across / (5.5f + 3.0f * depth) + 4096.0f, down / (6.0f + 7.0f * depth) + 64.0f);
    float tuft = value_noise(across / (18.0f + 12.0f * depth) + 8192.0f, down / (12.0f + 12.0f * depth) + 64.0f);

    return blade - 0.5f + 0.8f * (tuft - 0.5f);
}

static struct colour meadow(float x, float y)
{
    static const struct colour sky = { 0.62f, 0.78f, 0.93f }, haze = { 0.88f, 0.92f, 0.93f };
    static const struct colour hill = { 0.42f, 0.55f, 0.40f }, near = { 0.35f, 0.52f, 0.17f },
                               far = { 0.55f, 0.66f, 0.30f };
    float ridge = horizon - 0.2f - 0.12f * sinf(1.1f * x + 3.6f);
    float depth = clampf((y - horizon) / 1.75f, 0.0f, 1.0f);
    float height = grass_height(x, y, depth);
    float patches = cloud(1.5f * x + 9.0f, 2.5f * y, 2) - 0.5f;
    struct colour grass = shade(mix(far, near, depth), 1.0f + (0.12f + 0.22f * depth) * height + 0.45f * patches);
    struct colour back = mix(sky, haze, smooth_step(horizon - 2.2f, horizon - 0.2f, y));

    back = mix(back, hill, smooth_step(ridge - 0.012f, ridge + 0.012f, y));
    return mix(back, grass, smooth_step(horizon - 0.016f, horizon + 0.03f, y + 0.03f * height));
}

/* A body lit from the upper left, with fur. */
static struct colour furry(struct colour under, const struct ellipse *e, struct colour fur, float x, float y)
{
    float hair = cloud(20.0f * x + 6.0f * y, 7.0f * y - 5.0f * x, 2) - 0.5f;
    float light = 1.0f - 0.30f * (x - e->x) / e->rx * 0.5f - 0.28f * (y - e->y) / e->ry;

    return mix(under, shade(fur, clampf(light, 0.45f, 1.3f) * (1.0f + 0.35f * hair)), coverage(e, x, y));
}

static struct colour plain(struct colour under, const struct ellipse *e, struct colour c, float x, float y)
{
    return mix(under, c, coverage(e, x, y));
}

static struct colour shadow(struct colour under, const struct ellipse *e, float x, float y)
{
    return shade(under, 1.0f - 0.45f * (1.0f - smooth_step(0.3f, 1.0f, radius_in(e, x, y))));
}

struct patch {
    struct ellipse e;
    const struct colour *c;
};

static struct colour dog(struct colour under, float x, float y)
{
    static const struct colour fur = { 0.72f, 0.49f, 0.28f }, dark = { 0.42f, 0.26f, 0.15f },
                               pale = { 0.90f, 0.80f, 0.66f }, black = { 0.08f, 0.07f, 0.07f },
                               glint = { 0.95f, 0.95f, 0.95f }, collar = { 0.16f, 0.22f, 0.45f };
    static const struct ellipse ground = { 1.45f, 2.46f, 0.85f, 0.13f, 0.0f };
    static const struct patch coat[] = {
        { { 0.66f, 1.62f, 0.10f, 0.34f, -0.7f }, &fur },   { { 0.98f, 2.12f, 0.13f, 0.36f, 0.08f }, &dark },
        { { 1.78f, 2.12f, 0.12f, 0.38f, -0.05f }, &dark }, { { 1.35f, 1.78f, 0.62f, 0.37f, 0.02f }, &fur },
        { { 1.10f, 2.16f, 0.12f, 0.36f, 0.0f }, &fur },    { { 1.90f, 2.14f, 0.12f, 0.38f, 0.0f }, &fur },
        { { 1.88f, 1.62f, 0.28f, 0.36f, 0.5f }, &fur },    { { 2.02f, 1.26f, 0.33f, 0.29f, 0.1f }, &fur },
        { { 2.29f, 1.36f, 0.20f, 0.14f, 0.15f }, &pale },  { { 1.80f, 1.28f, 0.11f, 0.27f, 0.25f }, &dark },
    };
    static const struct patch face[] = {
        { { 2.45f, 1.30f, 0.06f, 0.045f, 0.2f }, &black },
        { { 2.13f, 1.19f, 0.042f, 0.046f, 0.0f }, &black },
        { { 2.143f, 1.176f, 0.012f, 0.012f, 0.0f }, &glint },
        { { 2.02f, 1.56f, 0.17f, 0.035f, -0.35f }, &collar },
    };
    struct colour c = shadow(under, &ground, x, y);

    for (size_t i = 0; i < sizeof coat / sizeof *coat; i++)
        c = furry(c, &coat[i].e, *coat[i].c, x, y);
    for (size_t i = 0; i < sizeof face / sizeof *face; i++)
        c = plain(c, &face[i].e, *face[i].c, x, y);
    return c;
}

static const struct ellipse ball_outline = { 3.10f, 2.20f, 0.27f, 0.27f, 0.0f };

static struct colour ball(struct colour under, float x, float y)
{
    static const struct ellipse ground = { 3.16f, 2.47f, 0.36f, 0.08f, 0.0f };
    static const struct colour red = { 0.80f, 0.13f, 0.12f }, white = { 0.96f, 0.94f, 0.92f };
    float dx = (x - ball_outline.x) / ball_outline.rx, dy = (y - ball_outline.y) / ball_outline.ry;
    float light = clampf(1.05f - 0.35f * dx * 0.6f - 0.45f * dy, 0.4f, 1.25f);
    float band = smooth_step(0.16f, 0.18f, fabsf(dy + 0.35f * dx + 0.1f * dx * dx));
    struct colour c = shade(mix(white, red, band), light);
    float gx = dx + 0.38f, gy = dy + 0.42f;

    c = mix(c, white, 0.8f * expf(-30.0f * (gx * gx + gy * gy)));
    return mix(shadow(under, &ground, x, y), c, coverage(&ball_outline, x, y));
}

/* Distance to the leash, which hangs from the collar to a hand beyond the right edge. */
static float leash_distance(float x, float y)
{
    static const float ends[3][2] = { { 2.17f, 1.60f }, { 3.05f, 2.02f }, { 4.10f, 1.42f } };
    float nearest = 100.0f;

    for (int i = 0; i < LEASH_POINTS; i++) {
        float t = (float)i / (LEASH_POINTS - 1), u = 1.0f - t;
        float dx = u * u * ends[0][0] + 2.0f * u * t * ends[1][0] + t * t * ends[2][0] - x;
        float dy = u * u * ends[0][1] + 2.0f * u * t * ends[1][1] + t * t * ends[2][1] - y;

        nearest = fminf(nearest, sqrtf(dx * dx + dy * dy));
    }
    return nearest;
}

static struct colour leash(struct colour under, float x, float y)
{
    static const struct colour blue = { 0.16f, 0.22f, 0.45f };
    float d = leash_distance(x, y);

    return mix(under, shade(blue, 1.3f - 14.0f * d), 1.0f - smooth_step(0.020f, 0.032f, d));
}

static uint8_t to_u8(float v)
{
    return (uint8_t)lroundf(255.0f * clampf(v, 0.0f, 1.0f));
}

static void draw_photo(struct image *im)
{
    for (int py = 0; py < im->height; py++)
        for (int px = 0; px < im->width; px++) {
            float x = 4.0f * ((float)px + 0.5f) / (float)im->width, y = 3.0f * ((float)py + 0.5f) / (float)im->height;
            struct colour c = leash(ball(dog(meadow(x, y), x, y), x, y), x, y);
            uint8_t *p = im->pixels + 3 * ((size_t)py * (size_t)im->width + (size_t)px);

            p[0] = to_u8(c.r);
            p[1] = to_u8(c.g);
            p[2] = to_u8(c.b);
        }
}

/* The ball with its shadow and the leash, generously: as a person or a segmentation model would mark it. */
static void draw_mask(struct image *im)
{
    static const struct ellipse around[] = { { 3.10f, 2.20f, 0.32f, 0.32f, 0.0f },
                                             { 3.16f, 2.46f, 0.42f, 0.13f, 0.0f } };

    for (int py = 0; py < im->height; py++)
        for (int px = 0; px < im->width; px++) {
            float x = 4.0f * ((float)px + 0.5f) / (float)im->width, y = 3.0f * ((float)py + 0.5f) / (float)im->height;
            bool in = radius_in(&around[0], x, y) < 1.0f || radius_in(&around[1], x, y) < 1.0f ||
                      leash_distance(x, y) < 0.065f;

            im->pixels[(size_t)py * (size_t)im->width + (size_t)px] = in ? 255 : 0;
        }
}

static enum err_code save(const char *dir, const char *name, struct span file, struct err *err)
{
    char path[1024];

    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return err_set(err, ERR_INVALID, "the path %.80s... is too long", dir);
    return file_write(path, file, err);
}

static enum err_code make_demo_inputs(struct arena *a, const char *dir, struct err *err)
{
    const struct jpeg_options camera = { .quality = 95, .chroma = JPEG_CHROMA_HALF };
    struct image photo, mask;
    struct span file;

    TRY(arena_init(a, ARENA_BYTES, err));
    TRY(image_new(a, WIDTH, HEIGHT, 3, &photo, err));
    TRY(image_new(a, WIDTH, HEIGHT, 1, &mask, err));
    draw_photo(&photo);
    draw_mask(&mask);
    TRY(jpeg_write(a, &photo, &camera, &file, err));
    TRY(save(dir, "original.jpg", file, err));
    TRY(png_write(a, &mask, &file, err));
    return save(dir, "mask_auto.png", file, err);
}

int main(int argc, char **argv)
{
    struct err err = { 0 };
    struct arena a = { 0 };
    enum err_code rc;

    if (argc != 2 || argv[1][0] == '-') {
        (void)fprintf(stderr, "usage: demo-inputs DIR\n");
        return 2;
    }
    rc = make_demo_inputs(&a, argv[1], &err);
    if (rc)
        (void)fprintf(stderr, "demo-inputs: %s\n", err.msg);
    arena_done(&a);
    return rc ? 1 : 0;
}
