#include "models/picture/composite.h"

#include <stdlib.h>
#include <string.h>

#include "models/image/mask.h"
#include "models/image/resize.h"
#include "test/support/check.h"
#include "test/support/pictures.h"

/* A blob, a line one pixel wide, a lone pixel, and a corner of the picture. */
static void draw_mask(struct image *mask)
{
    for (int y = 0; y < mask->height; y++)
        for (int x = 0; x < mask->width; x++) {
            int dx = x - 40, dy = y - 30;
            bool set = dx * dx + dy * dy < 400 || (y == 60 && x > 10 && x < 70) || (x == 5 && y == 5) ||
                       (x > 80 && y > 65);
            mask->pixels[y * mask->width + x] = set ? 255 : 0;
        }
}

static const struct image_box whole = { 0, 0, 97, 73 };

struct scene {
    struct arena arena;
    struct image photo, before, painted, mask;
};

static void set_up(struct scene *s)
{
    struct err err = { 0 };

    CHECK_OK(arena_init(&s->arena, 1 << 20, &err), err);
    picture_of_noise(&s->arena, 97, 73, 3, 1, &s->before);
    picture_of_noise(&s->arena, 97, 73, 3, 1, &s->photo);
    picture_of_noise(&s->arena, 97, 73, 3, 2, &s->painted);
    CHECK_OK(image_new(&s->arena, 97, 73, 1, &s->mask, &err), err);
    draw_mask(&s->mask);
}

TEST(composite__leaves_every_byte_outside_the_mask_alone)
{
    struct err err = { 0 };
    struct scene s;

    for (int feather = 0; feather <= COMPOSITE_FEATHER_MAX; feather += 8) {
        set_up(&s);
        CHECK_OK(composite(&s.arena, &s.photo, &s.painted, whole, &s.mask, feather, &err), err);
        for (size_t i = 0; i < image_bytes(&s.photo); i++)
            if (!s.mask.pixels[i / 3])
                CHECK_INT(s.photo.pixels[i], s.before.pixels[i]);
        arena_done(&s.arena);
    }
}

static bool is_painted(const struct scene *s, int x, int y)
{
    size_t at = 3 * ((size_t)y * 97 + (size_t)x);

    return memcmp(s->photo.pixels + at, s->painted.pixels + at, 3) == 0;
}

TEST(composite__repaints_thin_parts_in_full_and_broad_parts_inside_their_edge)
{
    struct err err = { 0 };
    struct scene s;

    set_up(&s);
    CHECK_OK(composite(&s.arena, &s.photo, &s.painted, whole, &s.mask, 4, &err), err);
    for (int x = 11; x < 70; x++)
        CHECK(is_painted(&s, x, 60));
    CHECK(is_painted(&s, 5, 5));
    CHECK(is_painted(&s, 40, 30) && is_painted(&s, 30, 30));
    CHECK(is_painted(&s, 96, 72)); /* the border of the picture is not an edge */
    CHECK(!is_painted(&s, 40 - 19, 30) && !is_painted(&s, 81, 70));
    arena_done(&s.arena);
}

/* White painted over black: each value is the painted picture's share, which grows by equal steps from a straight edge
 * inwards. */
TEST(composite__fades_in_evenly_from_the_edge)
{
    struct err err = { 0 };
    struct scene s;

    set_up(&s);
    memset(s.photo.pixels, 0, image_bytes(&s.photo));
    memset(s.painted.pixels, 255, image_bytes(&s.painted));
    memset(s.mask.pixels, 0, image_bytes(&s.mask));
    for (int y = 0; y < 73; y++)
        memset(s.mask.pixels + y * 97 + 50, 255, 47);
    CHECK_OK(composite(&s.arena, &s.photo, &s.painted, whole, &s.mask, 3, &err), err);
    for (int y = 0; y < 73; y++)
        for (int x = 47; x < 97; x++) {
            int d = x < 50 ? 0 : x - 49 < 4 ? x - 49 : 4;
            CHECK_INT(s.photo.pixels[3 * (y * 97 + x)], (255 * d + 2) / 4);
        }
    arena_done(&s.arena);
}

TEST(composite__copies_the_painted_picture_without_a_feather_and_refuses_what_does_not_fit)
{
    struct err err = { 0 };
    struct scene s;
    size_t used;

    set_up(&s);
    used = s.arena.used;
    CHECK_OK(composite(&s.arena, &s.photo, &s.painted, whole, &s.mask, 0, &err), err);
    CHECK_INT(s.arena.used, used);
    for (int i = 0; i < 97 * 73; i++)
        CHECK(!s.mask.pixels[i] || is_painted(&s, i % 97, i / 97));
    CHECK_INT(composite(&s.arena, &s.photo, &s.painted, whole, &s.mask, -1, NULL), ERR_INVALID);
    CHECK_INT(composite(&s.arena, &s.photo, &s.painted, whole, &s.mask, COMPOSITE_FEATHER_MAX + 1, NULL), ERR_INVALID);
    CHECK_INT(composite(&s.arena, &s.photo, &s.painted, whole, &s.painted, 0, NULL), ERR_INVALID);
    s.painted.width--;
    CHECK_INT(composite(&s.arena, &s.photo, &s.painted, whole, &s.mask, 0, NULL), ERR_INVALID);
    s.painted.width++;
    memset(s.mask.pixels, 0, image_bytes(&s.mask)); /* an empty mask changes nothing */
    CHECK_OK(composite(&s.arena, &s.photo, &s.painted, whole, &s.mask, 2, &err), err);
    arena_done(&s.arena);
}

/* The part is the mask's bounding box. */
TEST(composite__takes_a_part_of_the_painted_picture_as_it_takes_the_whole)
{
    struct err err = { 0 };
    struct scene s, t;
    struct image part;
    struct image_box box;

    set_up(&s);
    set_up(&t);
    memset(s.mask.pixels + 60 * 97, 0, 13 * 97);
    memset(t.mask.pixels + 60 * 97, 0, 13 * 97);
    box = mask_extent(&s.mask).box;
    CHECK(box.left > 0 && box.top > 0 && box.right < 97 && box.bottom < 73);
    CHECK_OK(image_resize_box(&t.arena, &t.painted, 97, 73, box, &part, &err), err);
    CHECK_OK(composite(&s.arena, &s.photo, &s.painted, whole, &s.mask, 5, &err), err);
    CHECK_OK(composite(&t.arena, &t.photo, &part, box, &t.mask, 5, &err), err);
    CHECK_SAME_PICTURE(&t.photo, &s.photo);
    CHECK(memcmp(s.photo.pixels, s.before.pixels, image_bytes(&s.photo)) != 0);
    s.mask.pixels[0] = 255;
    CHECK_INT(composite(&s.arena, &s.photo, &part, box, &s.mask, 5, NULL), ERR_INVALID);
    arena_done(&t.arena);
    arena_done(&s.arena);
}

/* The distance to the nearest pixel outside the mask, found by trying all of them: 3 a step to a side, 4 across a
 * corner. */
static int distance_by_search(const struct image *mask, int x, int y, int most)
{
    for (int v = 0; v < mask->height; v++)
        for (int u = 0; u < mask->width; u++) {
            int dx = abs(u - x), dy = abs(v - y), d = 3 * (dx > dy ? dx : dy) + (dx < dy ? dx : dy);

            if (!mask->pixels[v * mask->width + u] && d < most)
                most = d;
        }
    return most;
}

static int thickness_by_search(const struct image *mask, const int *d, int x, int y, int feather)
{
    int most = 0;

    for (int v = y - feather; v <= y + feather; v++)
        for (int u = x - feather; u <= x + feather; u++)
            if (u >= 0 && v >= 0 && u < mask->width && v < mask->height && d[v * mask->width + u] > most)
                most = d[v * mask->width + u];
    return most;
}

TEST(composite__shares_are_distances_over_thickness)
{
    static int d[97 * 73];
    struct err err = { 0 };
    struct scene s;

    for (int feather = 0; feather <= 10; feather += 5) {
        set_up(&s);
        CHECK_OK(composite(&s.arena, &s.photo, &s.painted, whole, &s.mask, feather, &err), err);
        for (int i = 0; i < 97 * 73; i++)
            d[i] = distance_by_search(&s.mask, i % 97, i / 97, 3 * (feather + 1));
        for (int i = 0; i < 97 * 73; i++)
            for (int c = 0; c < 3; c++) {
                int most = thickness_by_search(&s.mask, d, i % 97, i / 97, feather);
                int from = s.before.pixels[3 * i + c], to = s.painted.pixels[3 * i + c];

                CHECK_INT(s.photo.pixels[3 * i + c], d[i] ? (from * (most - d[i]) + to * d[i] + most / 2) / most : from);
            }
        arena_done(&s.arena);
    }
}
