#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/picture/picture.h"
#include "test/support/check.h"
#include "test/support/pictures.h"

static const size_t arena_bytes = (size_t)3 << 30;

struct scene {
    struct arena a;
    struct picture_settings settings;
    struct picture_record record;
    struct picture_input in;
    struct image truth; /* the photo without the object, for a perfect model */
};

static void open_scene(struct scene *s, int width, int height)
{
    struct err err = { 0 };

    *s = (struct scene){ 0 };
    CHECK_OK(arena_init(&s->a, arena_bytes, &err), err);
    CHECK_OK(image_new(&s->a, width, height, 3, &s->in.photo, &err), err);
    CHECK_OK(image_new(&s->a, width, height, 3, &s->truth, &err), err);
    CHECK_OK(image_new(&s->a, width, height, 1, &s->in.mask, &err), err);
    CHECK_OK(arena_alloc(&s->a, 1, sizeof *s->in.colour, &s->in.colour, &err), err);
    CHECK_OK(colour_open(&s->a, (struct span){ NULL, 0 }, s->in.colour, &err), err);
}

static void mark_box(struct scene *s, struct image_box b)
{
    for (int y = b.top; y < b.bottom; y++)
        memset(s->in.mask.pixels + (size_t)y * (size_t)s->in.mask.width + b.left, 255, (size_t)(b.right - b.left));
}

/* The photo is noise, or `rgb` everywhere. */
static void draw_noise(struct scene *s, unsigned seed)
{
    struct image noise;

    picture_of_noise(&s->a, s->in.photo.width, s->in.photo.height, 3, seed, &noise);
    memcpy(s->in.photo.pixels, noise.pixels, image_bytes(&noise));
    memcpy(s->truth.pixels, noise.pixels, image_bytes(&noise));
}

/* Paints all crops with what `source` shows; NULL: with 250 everywhere. */
static void paint_from(struct scene *s, const struct image *source)
{
    struct err err = { 0 };

    CHECK_OK(picture_plan(&s->a, &s->in, &s->settings, &s->record, &err), err);
    for (int i = 0; i < s->record.plan.n; i++) {
        ARENA_SCRATCH(&s->a);
        struct picture_model_input model;
        struct image_f32 painted;

        CHECK_OK(picture_prepare(&s->a, &s->in, &s->record, i, &model, &err), err);
        if (source)
            CHECK_OK(picture_paint_from(&s->a, source, s->in.colour, &s->record, i, &painted, &err), err);
        else
            CHECK_OK(image_f32_new(&s->a, model.picture.width, model.picture.height, &painted, &err), err);
        for (size_t k = 0; !source && k < image_bytes(&model.picture); k++)
            painted.pixels[k] = 250;
        CHECK_OK(picture_paste(&s->a, &s->in, &model, &painted, &s->settings, &s->record, i, &err), err);
    }
}

static void close_scene(struct scene *s)
{
    arena_done(&s->a);
}

/* ---- an object with the soft edge of a lens, and a perfect model ---- */

enum { OBJECT = 30 }; /* level of the object; the ground is around 200 */

/* How much of the object a pixel shows that is `inside` pixels within its edge, through a blur of sigma 1.2 pixels. */
static double cover(double inside)
{
    return 0.5 * erfc(-inside / (1.2 * M_SQRT2));
}

/* A disc of the given radius in the middle, on a ground that changes slowly, and a mask that is `error` pixels larger. */
static void draw_object(struct scene *s, double radius, double error)
{
    int width = s->in.photo.width, height = s->in.photo.height;

#pragma omp parallel for
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            size_t i = (size_t)y * (size_t)width + (size_t)x;
            double inside = radius - hypot(x - width / 2, y - height / 2);
            double share = inside < -9 ? 0 : cover(inside);
            int ground = 190 + 15 * y / height + 10 * x / width;

            for (int c = 0; c < 3; c++) {
                s->truth.pixels[3 * i + (size_t)c] = (uint8_t)ground;
                s->in.photo.pixels[3 * i + (size_t)c] = (uint8_t)lround(ground + share * (OBJECT - ground));
            }
            s->in.mask.pixels[i] = inside + error >= 0 ? 255 : 0;
        }
}

/* The largest difference between the result and the ground alone. */
static int worst(const struct image *got, const struct image *want)
{
    int most = 0;

#pragma omp parallel for reduction(max : most)
    for (int y = 0; y < got->height; y++)
        for (size_t i = (size_t)y * 3 * (size_t)got->width; i < (size_t)(y + 1) * 3 * (size_t)got->width; i++)
            most = abs(got->pixels[i] - want->pixels[i]) > most ? abs(got->pixels[i] - want->pixels[i]) : most;
    return most;
}

/* The most that the model sees of the object outside of its hole. */
static int worst_seen(struct scene *s)
{
    struct err err = { 0 };
    struct picture_model_input model, without;
    struct picture_input clean = s->in;
    int most = 0;

    clean.photo = s->truth;
    CHECK_OK(picture_plan(&s->a, &s->in, &s->settings, &s->record, &err), err);
    CHECK_OK(picture_prepare(&s->a, &s->in, &s->record, 0, &model, &err), err);
    CHECK_OK(picture_prepare(&s->a, &clean, &s->record, 0, &without, &err), err);
    for (size_t i = 0; i < image_bytes(&model.picture); i++)
        if (!model.mask.pixels[i / 3])
            most = abs(model.picture.pixels[i] - without.picture.pixels[i]) > most
                       ? abs(model.picture.pixels[i] - without.picture.pixels[i]) : most;
    return most;
}

static void check_removal(int width, int height, double radius)
{
    static const int errors[] = { -4, -2, 0, 3, 8 };

    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        struct scene s;
        int left;

        open_scene(&s, width, height);
        draw_object(&s, radius, errors[i]);
        CHECK(worst_seen(&s) <= 3);
        paint_from(&s, &s.truth);
        left = worst(&s.in.photo, &s.truth);
        CHECK(left <= (errors[i] >= 0 ? 3 : 10));
        close_scene(&s);
    }
}

TEST(picture_paint__nothing_of_an_object_is_left_at_1_megapixel)
{
    check_removal(1152, 864, 80);
    check_removal(640, 480, 40.5);
}

TEST(picture_paint__nothing_of_an_object_is_left_at_12_megapixels)
{
    check_removal(4000, 3000, 276.4);
}

/* Painted at a scale of less than 1. */
TEST(picture_paint__nothing_of_an_object_is_left_at_48_megapixels)
{
    struct scene s;

    open_scene(&s, 8000, 6000);
    draw_object(&s, 552.8, -4);
    CHECK(worst_seen(&s) <= 3);
    paint_from(&s, &s.truth);
    CHECK(s.record.plan.crops[0].scale < 1);
    CHECK(worst(&s.in.photo, &s.truth) <= 10);
    close_scene(&s);
}

/* ---- the photo itself in the place of what a model paints ---- */

TEST(picture_paint__at_scale_1_not_one_pixel_changes)
{
    static const struct { int size[2]; struct image_box marked; } cases[] = {
        { { 1000, 750 }, { 300, 200, 420, 300 } }, /* in the middle */
        { { 1000, 750 }, { 0, 0, 60, 60 } },       /* in a corner */
        { { 777, 1003 }, { 300, 0, 340, 1003 } },  /* from edge to edge, and no side is a multiple of 16 */
        { { 1003, 501 }, { 5, 5, 1000, 499 } },    { { 40, 30 }, { 8, 8, 30, 20 } }, /* smaller than a token's row */
        { { 3, 1030 }, { 0, 100, 3, 140 } },       { { 1, 1 }, { 0, 0, 1, 1 } },
    };

    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const int *size = cases[i / 2].size;
        struct scene s;

        open_scene(&s, size[0], size[1]);
        s.settings.geometry = i % 2 && size[0] <= 1024 && size[1] <= 1024 ? PICTURE_FULL : PICTURE_CROP;
        draw_noise(&s, (unsigned)i + 1);
        mark_box(&s, cases[i / 2].marked);
        paint_from(&s, &s.truth);
        CHECK(crop_is_native(&s.record.plan.crops[0]));
        CHECK_SAME_PICTURE(&s.in.photo, &s.truth);
        close_scene(&s);
    }
}

/* Every marked pixel is what was painted, at the edges of the photo, too, at its own scale and below it. */
TEST(picture_paint__leaves_no_marked_pixel_unpainted)
{
    static const struct { int size[2]; struct image_box marked; } cases[] = {
        { { 777, 1003 }, { 300, 0, 340, 1003 } },   { { 1003, 777 }, { 0, 0, 1003, 60 } },
        { { 2222, 1777 }, { 30, 0, 2200, 1777 } },  { { 4001, 333 }, { 0, 100, 4001, 101 } },
        { { 2500, 2500 }, { 0, 1200, 2500, 1201 } }, { { 30, 20 }, { 0, 0, 29, 20 } },
    };

    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const struct image_box m = cases[i / 2].marked;
        struct scene s;

        open_scene(&s, cases[i / 2].size[0], cases[i / 2].size[1]);
        s.settings.geometry = i % 2 ? PICTURE_FULL : PICTURE_CROP;
        mark_box(&s, m);
        paint_from(&s, NULL);
        for (int y = m.top; y < m.bottom; y++)
            for (int x = 3 * m.left; x < 3 * m.right; x++)
                CHECK_INT(s.in.photo.pixels[(size_t)y * 3 * (size_t)s.in.photo.width + (size_t)x], 250);
        close_scene(&s);
    }
}

/* A sky from 180 to 190 levels over 900 rows, painted at a quarter of its scale: each level is one band, as before. */
TEST(picture_paint__a_smooth_sky_keeps_its_bands)
{
    struct scene s;

    open_scene(&s, 2600, 2600);
    for (int y = 0; y < 2600; y++)
        memset(s.truth.pixels + (size_t)y * 3 * 2600, 150 + y / 90, 3 * 2600);
    memcpy(s.in.photo.pixels, s.truth.pixels, image_bytes(&s.truth));
    mark_box(&s, (struct image_box){ 200, 200, 2400, 2400 });
    paint_from(&s, &s.truth);
    CHECK(s.record.plan.crops[0].scale < 0.5);
    CHECK(worst(&s.in.photo, &s.truth) <= 1);
    close_scene(&s);
}
