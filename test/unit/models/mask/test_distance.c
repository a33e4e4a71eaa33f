#include "models/mask/distance.h"

#include <string.h>

#include "test/support/check.h"

enum { ARENA = 64 << 20 };

/* Every pixel against every mark. */
static uint16_t by_hand(const struct image *mask, struct image_box box, int x, int y, int most)
{
    int64_t best = (int64_t)most * most + 1;

    for (int j = box.top; j < box.bottom; j++)
        for (int i = box.left; i < box.right; i++) {
            int64_t dx = i - x, dy = j - y;

            if (mask->pixels[(size_t)j * (size_t)mask->width + (size_t)i] && dx * dx + dy * dy < best)
                best = dx * dx + dy * dy;
        }
    return best > (int64_t)most * most ? DISTANCE_FAR : (uint16_t)best;
}

static void check_box(struct arena *a, const struct image *mask, struct image_box box, int most)
{
    ARENA_SCRATCH(a);
    struct err err = { 0 };
    uint16_t *d = NULL;
    int width = box.right - box.left;

    CHECK_OK(distance_squared(a, mask, box, most, &d, &err), err);
    for (int y = box.top; y < box.bottom; y++)
        for (int x = box.left; x < box.right; x++)
            CHECK_INT(d[(y - box.top) * width + x - box.left], by_hand(mask, box, x, y, most));
}

TEST(distance__is_the_exact_one_to_the_nearest_mark)
{
    static const struct { int width, height, one_in, most; } cases[] = {
        { 1, 1, 1, 8 },   { 1, 40, 9, 8 },   { 40, 1, 9, 255 },  { 37, 29, 3, 8 },
        { 61, 53, 200, 40 }, { 70, 66, 2000, 255 }, { 33, 65, 50, 1 }, { 64, 64, 1 << 30, 5 },
    };
    struct arena a;
    struct err err = { 0 };
    unsigned state = 1;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct image mask;
        int w = cases[c].width, h = cases[c].height;

        CHECK_OK(image_new(&a, w, h, 1, &mask, &err), err);
        for (int i = 0; i < w * h; i++) {
            state = state * 1664525u + 1013904223u;
            mask.pixels[i] = (state >> 8) % (unsigned)cases[c].one_in ? 0 : 255;
        }
        check_box(&a, &mask, (struct image_box){ 0, 0, w, h }, cases[c].most);
        check_box(&a, &mask, (struct image_box){ w / 3, h / 4, w - w / 5, h - h / 7 }, cases[c].most);
    }
    arena_done(&a);
}

TEST(distance__refuses_what_it_cannot_measure)
{
    struct arena a;
    struct err err = { 0 };
    struct image mask;
    uint16_t *d = NULL;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    CHECK_OK(image_new(&a, 10, 10, 1, &mask, &err), err);
    CHECK_INT(distance_squared(&a, &mask, (struct image_box){ 0, 0, 11, 10 }, 8, &d, NULL), ERR_INVALID);
    CHECK_INT(distance_squared(&a, &mask, (struct image_box){ 5, 5, 5, 10 }, 8, &d, NULL), ERR_INVALID);
    CHECK_INT(distance_squared(&a, &mask, (struct image_box){ 0, 0, 10, 10 }, 0, &d, NULL), ERR_INVALID);
    CHECK_INT(distance_squared(&a, &mask, (struct image_box){ 0, 0, 10, 10 }, 256, &d, NULL), ERR_INVALID);
    arena_done(&a);
}
