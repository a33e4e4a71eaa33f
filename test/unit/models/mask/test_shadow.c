#include "models/mask/shadow.h"

#include <string.h>

#include "test/support/check.h"
#include "test/support/pictures.h"
#include "test/support/scenes/scene.h"

enum { ARENA = 64 << 20, HEIGHT = 320 };

struct drawn {
    struct image photo, mask, before, shadow;
    struct shadow got;
};

static void grow(struct arena *a, const struct scene *s, struct drawn *d)
{
    struct err err = { 0 };
    size_t used;

    scene_draw(a, s, &d->photo, &d->mask, &d->shadow);
    CHECK_OK(image_new(a, d->mask.width, d->mask.height, 1, &d->before, &err), err);
    memcpy(d->before.pixels, d->mask.pixels, image_bytes(&d->mask));
    used = a->used;
    CHECK_OK(shadow_grow(a, &d->photo, &d->mask, &d->got, &err), err);
    CHECK_INT(a->used, used);
}

/* Of the pixels of the true shadow; *ret_beyond: of the mask's, those that were added and are no shadow. */
static double recall(const struct drawn *d, double *ret_beyond)
{
    int64_t marked = 0, shadow = 0, found = 0, added = 0;

    for (size_t i = 0; i < image_bytes(&d->mask); i++) {
        bool is_new = d->mask.pixels[i] && !d->before.pixels[i];

        CHECK(d->mask.pixels[i] >= d->before.pixels[i]); /* marks are only added */
        marked += d->before.pixels[i] != 0;
        shadow += d->shadow.pixels[i] != 0;
        found += d->shadow.pixels[i] && d->mask.pixels[i];
        added += is_new;
    }
    CHECK_INT(added, d->got.added);
    *ret_beyond = (double)(added - found) / (double)marked;
    return (double)found / (double)shadow;
}

TEST(shadow__a_soft_shadow_on_even_ground_is_marked_whole)
{
    static const enum scene_ground grounds[] = { SCENE_SAND, SCENE_TILES, SCENE_CONCRETE };
    struct arena a;
    struct err err = { 0 };
    struct drawn d;
    double beyond;

    for (size_t i = 0; i < sizeof grounds / sizeof *grounds; i++) {
        CHECK_OK(arena_init(&a, ARENA, &err), err);
        grow(&a, &(struct scene){ .ground = grounds[i], .light = 0.45, .direction = 0.1, .penumbra = 0.08, .height = 640, .seed = 2 }, &d);
        CHECK_STR(shadow_result_names[d.got.result], "added");
        CHECK(recall(&d, &beyond) >= 0.95);
        CHECK(beyond <= 0.3);
        CHECK(d.got.light > 0.35 && d.got.light < 0.6);
        arena_done(&a);
    }
}

TEST(shadow__without_one_nothing_is_marked_whatever_is_dark_beside_the_figure)
{
    static const enum scene_ground grounds[] = { SCENE_CONCRETE, SCENE_GRASS };
    struct arena a;
    struct err err = { 0 };
    struct drawn d;

    for (int dark = 0; dark < SCENE_DARKS; dark++)
        for (int g = 0; g < 2; g++) {
            if (dark == SCENE_MARKINGS)
                continue; /* soft, of one hue and even: it is what a shadow is */
            CHECK_OK(arena_init(&a, ARENA, &err), err);
            grow(&a, &(struct scene){ .ground = grounds[g], .dark = (enum scene_dark)dark, .light = 1, .height = HEIGHT, .seed = 3 }, &d);
            if (d.got.added)
                test_fail(__FILE__, __LINE__, "%s on %s: %lld pixels were added", scene_dark_names[dark],
                          scene_ground_names[grounds[g]], (long long)d.got.added);
            CHECK_SAME_PICTURE(&d.mask, &d.before);
            CHECK(d.got.result != SHADOW_ADDED && d.got.light == 1.0);
            arena_done(&a);
        }
}

/* At this size the sun's penumbra is as narrow as the edge of a thing. */
static void check_hard_shadow_stays(enum scene_ground ground)
{
    struct arena a;
    struct err err = { 0 };
    struct drawn d;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    grow(&a, &(struct scene){ .ground = ground, .light = 0.3, .direction = 0.5, .penumbra = 0.002, .height = HEIGHT, .seed = 4 }, &d);
    CHECK_STR(shadow_result_names[d.got.result], "too-sharp");
    CHECK_INT(d.got.added, 0);
    arena_done(&a);
}

TEST(shadow__a_hard_one_is_left_because_it_could_be_a_thing)
{
    check_hard_shadow_stays(SCENE_SAND);
    check_hard_shadow_stays(SCENE_CONCRETE);
}

TEST(shadow__odd_masks_and_sizes_are_answered)
{
    static const int sizes[][2] = { { 1, 1 }, { 3, 200 }, { 200, 3 }, { 17, 19 } };
    struct arena a;
    struct err err = { 0 };
    struct image photo, mask, other;
    struct shadow got;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int kind = 0; kind < 4; kind++) {
            picture_of_noise(&a, sizes[i][0], sizes[i][1], 3, (unsigned)i, &photo);
            CHECK_OK(image_new(&a, sizes[i][0], sizes[i][1], 1, &mask, &err), err);
            if (kind == 1)
                memset(mask.pixels, 255, image_bytes(&mask)); /* all */
            else if (kind)
                mask.pixels[kind == 2 ? 0 : image_bytes(&mask) - 1] = 255; /* a corner */
            CHECK_OK(shadow_grow(&a, &photo, &mask, &got, &err), err);
            CHECK_INT(got.added, 0);
        }
    CHECK_OK(image_new(&a, 5, 5, 1, &other, &err), err);
    CHECK_INT(shadow_grow(&a, &photo, &other, &got, NULL), ERR_INVALID);
    arena_done(&a);
}

/* A figure that stands at the photo's lower edge, and one whose shadow the edge cuts off. */
TEST(shadow__the_edge_of_the_photo_may_cut_it_off)
{
    struct scene s = { .ground = SCENE_SAND, .light = 0.45, .direction = 0.1, .penumbra = 0.08, .height = 640, .seed = 5 };
    struct arena a;
    struct err err = { 0 };
    struct drawn d;
    double beyond;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    scene_draw(&a, &s, &d.photo, &d.mask, &d.shadow);
    d.photo.height = d.mask.height = d.shadow.height = 500;
    CHECK_OK(image_new(&a, d.mask.width, d.mask.height, 1, &d.before, &err), err);
    memcpy(d.before.pixels, d.mask.pixels, image_bytes(&d.mask));
    CHECK_OK(shadow_grow(&a, &d.photo, &d.mask, &d.got, &err), err);
    CHECK_STR(shadow_result_names[d.got.result], "added");
    CHECK(recall(&d, &beyond) >= 0.95);
    memcpy(d.mask.pixels, d.before.pixels, image_bytes(&d.mask));
    d.photo.height = d.mask.height = 390;
    CHECK_OK(shadow_grow(&a, &d.photo, &d.mask, &d.got, &err), err);
    CHECK_INT(d.got.result, SHADOW_NO_GROUND);
    arena_done(&a);
}
