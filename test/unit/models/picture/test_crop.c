#include "models/picture/crop.h"

#include <string.h>

#include "models/image/mask.h"
#include "test/support/check.h"

enum { ARENA = 256 << 20 };

static void mark(const struct image *mask, struct image_box b)
{
    for (int y = b.top; y < b.bottom; y++)
        memset(mask->pixels + (size_t)y * (size_t)mask->width + b.left, 255, (size_t)(b.right - b.left));
}

static struct crop_plan plan_of(struct arena *a, int width, int height, const struct image_box *marks, int n, int grow)
{
    ARENA_SCRATCH(a);
    struct err err = { 0 };
    struct crop_plan plan;
    struct image mask;

    CHECK_OK(image_new(a, width, height, 1, &mask, &err), err);
    for (int i = 0; i < n; i++)
        mark(&mask, marks[i]);
    CHECK_OK(crop_plan(a, &mask, grow, PICTURE_CROP, &plan, &err), err);
    return plan;
}

static int at_most(int a, int b)
{
    return a < b ? a : b;
}

static int at_least(int a, int b)
{
    return a > b ? a : b;
}

/* One direction of a crop: from begin to end of a photo's side, around a hole. */
static void check_side(int begin, int end, int hole_begin, int hole_end, int photo, bool native, int fill)
{
    int most = photo / 16 * 16, context = native && end - begin < photo ? 16 : 0;

    CHECK(0 <= begin && end <= photo && begin <= hole_begin && hole_end <= end);
    CHECK((end - begin) % 16 == 0 || end - begin == photo);
    CHECK(fill % 16 == 0 && fill >= 64 && fill <= PAINT_MOST_SIDE);
    if (native)
        CHECK(fill == at_least((end - begin + 15) / 16 * 16, 64));
    if (end - begin < most) { /* it could have been larger, so it is large enough */
        CHECK(begin <= at_least(hole_begin - 64, 0) && end >= at_most(hole_end + 64, photo));
        CHECK(2 * (end - begin) >= 3 * (hole_end - hole_begin) - 1 && end - begin >= CROP_LEAST_SIDE);
    }
    CHECK(begin <= at_least(hole_begin - context, 0) && end >= at_most(hole_end + context, photo));
}

static void check_crop(const struct crop *c, int width, int height)
{
    bool native = crop_is_native(c);

    check_side(c->box.left, c->box.right, c->hole.left, c->hole.right, width, native, c->fill_width);
    check_side(c->box.top, c->box.bottom, c->hole.top, c->hole.bottom, height, native, c->fill_height);
    CHECK(crop_tokens(c) <= CROP_MAX_TOKENS && c->scale > 0 && c->scale <= 1);
    if (!native) { /* because the tokens, or a side, would not do */
        int across = (c->box.right - c->box.left + 15) / 16, down = (c->box.bottom - c->box.top + 15) / 16;

        CHECK(across * down > CROP_MAX_TOKENS || across > PAINT_MOST_SIDE / 16 || down > PAINT_MOST_SIDE / 16);
    }
}

TEST(crop__is_large_enough_whole_tokens_and_inside_the_photo)
{
    struct arena a;
    struct err err = { 0 };
    unsigned state = 7;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    for (int i = 0; i < 400; i++) {
        int v[6], width, height;
        struct image_box b;
        struct crop_plan plan;

        for (int k = 0; k < 6; k++) {
            state = state * 1664525u + 1013904223u;
            v[k] = (int)(state >> 8 & 0xffff);
        }
        width = 1 + v[0] % (i % 3 ? 2200 : 90);
        height = 1 + v[1] % (i % 3 ? 1700 : 90);
        b.left = v[2] % width;
        b.top = v[3] % height;
        b.right = b.left + 1 + v[4] % (width - b.left);
        b.bottom = b.top + 1 + v[5] % (height - b.top);
        plan = plan_of(&a, width, height, &b, 1, 8 + i % 9);
        CHECK_INT(plan.n, 1);
        check_crop(&plan.crops[0], width, height);
    }
    arena_done(&a);
}

/* A square of 2 % of a photo of 12 MP, as it comes from a phone. */
TEST(crop__two_percent_of_twelve_megapixels_are_painted_at_their_own_scale)
{
    const struct image_box square = { 1700, 1300, 2194, 1794 };
    struct arena a;
    struct err err = { 0 };
    struct crop_plan plan;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    plan = plan_of(&a, 4032, 3024, &square, 1, 16);
    CHECK_INT(plan.n, 1);
    CHECK(crop_is_native(&plan.crops[0]));
    CHECK(crop_tokens(&plan.crops[0]) <= 2500);
    arena_done(&a);
}

/* Two small things in opposite corners and one in a third; four, of which two are neighbours; and so many that they are
 * painted together. */
TEST(crop__parts_that_are_far_apart_are_painted_alone)
{
    static const struct image_box apart[4] = {
        { 100, 100, 200, 200 }, { 3800, 2800, 3900, 2900 }, { 3800, 100, 3900, 200 }, { 320, 260, 420, 330 }
    };
    struct image_box many[48];
    struct arena a;
    struct err err = { 0 };
    struct crop_plan plan;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    for (int n = 2; n <= 4; n++) {
        int total = 0;

        plan = plan_of(&a, 4000, 3000, apart, n, 16);
        CHECK_INT(plan.n, at_most(n, 3));
        for (int i = 0; i < plan.n; i++) {
            check_crop(&plan.crops[i], 4000, 3000);
            CHECK(crop_is_native(&plan.crops[i]));
            total += crop_tokens(&plan.crops[i]);
        }
        CHECK(total < CROP_MAX_TOKENS);
        for (int k = 0; k < n; k++) { /* every mark is in one hole, and in no other crop */
            int holes = 0, crops = 0;

            for (int i = 0; i < plan.n; i++) {
                const struct image_box h = plan.crops[i].hole, b = plan.crops[i].box;

                holes += h.left <= apart[k].left && h.top <= apart[k].top && h.right >= apart[k].right &&
                         h.bottom >= apart[k].bottom;
                crops += b.left < apart[k].right && apart[k].left < b.right && b.top < apart[k].bottom &&
                         apart[k].top < b.bottom;
            }
            CHECK(holes == 1 && crops == 1);
        }
    }
    for (int i = 0; i < 48; i++)
        many[i] = (struct image_box){ 100 + i % 8 * 500, 100 + i / 8 * 500, 150 + i % 8 * 500, 150 + i / 8 * 500 };
    plan = plan_of(&a, 4000, 3000, many, 48, 16);
    CHECK_INT(plan.n, 1);
    check_crop(&plan.crops[0], 4000, 3000);
    arena_done(&a);
}

TEST(crop__full_is_the_whole_photo_at_the_size_that_the_model_knows)
{
    static const struct { int photo[2], want[2]; } cases[] = {
        { { 4032, 3024 }, { 1024, 768 } },  { { 3024, 4032 }, { 768, 1024 } },  { { 1024, 1024 }, { 1024, 1024 } },
        { { 1025, 1025 }, { 1024, 1024 } }, { { 4000, 3001 }, { 1024, 784 } },  { { 500, 375 }, { 512, 384 } },
        { { 512, 512 }, { 512, 512 } },     { { 1, 1 }, { 64, 64 } },           { { 16384, 100 }, { 1024, 64 } },
        { { 100, 16384 }, { 64, 1024 } },   { { 3051, 16384 }, { 192, 1024 } }, { { 1020, 40 }, { 1024, 64 } },
    };
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ARENA_SCRATCH(&a);
        struct image mask;
        struct crop_plan plan;

        CHECK_OK(image_new(&a, cases[i].photo[0], cases[i].photo[1], 1, &mask, &err), err);
        mask.pixels[0] = 255;
        CHECK_OK(crop_plan(&a, &mask, 8, PICTURE_FULL, &plan, &err), err);
        CHECK_INT(plan.n, 1);
        CHECK_INT(plan.crops[0].box.right, cases[i].photo[0]);
        CHECK_INT(plan.crops[0].fill_width, cases[i].want[0]);
        CHECK_INT(plan.crops[0].fill_height, cases[i].want[1]);
        mask.pixels[0] = 0;
        CHECK_INT(crop_plan(&a, &mask, 8, PICTURE_FULL, &plan, NULL), ERR_INVALID);
    }
    arena_done(&a);
}
