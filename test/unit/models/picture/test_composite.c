#include "models/picture/composite.h"

#include <math.h>
#include <string.h>

#include "test/support/check.h"
#include "test/support/pictures.h"

enum { ARENA = 64 << 20 };

/* What the header promises of every edge, whatever is wished for. */
TEST(composite__an_edge_has_room_for_its_parts)
{
    static const int long_sides[] = { 1, 300, 1024, 4032, 8192, 16384 }, grows[] = { 0, 8, 20, 255 },
                     feathers[] = { 0, 1, 6, 64 };
    static const double scales[] = { 1, 0.9, 0.7, 0.5, 0.25, 0.125, 0.0625 };

    for (size_t i = 0; i < 6 * 7 * 4 * 4; i++) {
        int long_side = long_sides[i % 6], grow = grows[i / 42 % 4], feather = feathers[i / 168];
        double scale = scales[i / 6 % 7], painted_pixel = 1 / scale;
        struct paste_edge e = paste_edge_choose(long_side, scale, grow, feather);

        CHECK(e.grow <= DISTANCE_MOST && e.grow >= 8 && (grow || e.grow >= 0.004 * long_side - 0.5));
        CHECK(e.paste <= e.grow - painted_pixel + 1e-9);
        CHECK(e.paste >= e.feather + 4 - 1e-9);
        CHECK(feather ? e.feather == feather : e.feather >= 2 && fabs(e.feather - fmax(2, 2 / scale)) < 1e-9);
        if (grow)
            CHECK(e.grow >= grow);
    }
    CHECK_INT(paste_edge_choose(1024, 1, 0, 0).grow, 8);
    CHECK_INT(paste_edge_choose(4000, 1, 0, 0).grow, 16);
}

TEST(composite__the_share_is_whole_on_the_mask_and_falls_smoothly_to_nothing)
{
    const struct paste_edge e = { .grow = 16, .paste = 15, .feather = 4 };
    float last = 1;

    CHECK(paste_share(&e, 0) == 1 && paste_share(&e, 11 * 11) == 1);
    CHECK(paste_share(&e, 16 * 16) == 0 && paste_share(&e, DISTANCE_FAR) == 0);
    CHECK(fabsf(paste_share(&e, 182) - 0.5f) < 0.01f); /* 13.49 pixels, 12.99 from the edge */
    for (int d = 0; d <= 16 * 16; d++) {
        float share = paste_share(&e, (uint16_t)d);

        CHECK(share <= last && last - share < 0.06f);
        last = share;
    }
}

/* 0.5 and -3 and 300 levels: rounded once, and cut off. */
TEST(composite__rounds_once_and_leaves_the_rest_alone)
{
    static const float levels[4] = { 100.4f, 100.6f, -3, 300 };
    static const uint8_t want[4] = { 100, 101, 0, 255 };
    const struct paste_edge e = { .grow = 8, .paste = 7, .feather = 2 };
    const struct image_box box = { 3, 2, 7, 3 };
    const uint16_t distance[4] = { 0, 1, 25, 0 }, far[4] = { 64, 65, DISTANCE_FAR, DISTANCE_FAR };
    struct arena a;
    struct err err = { 0 };
    struct image photo, before;
    struct image_f32 painted;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    picture_of_noise(&a, 10, 6, 3, 1, &photo);
    picture_of_noise(&a, 10, 6, 3, 1, &before);
    CHECK_OK(image_f32_new(&a, 4, 1, &painted, &err), err);
    for (int i = 0; i < 12; i++)
        painted.pixels[i] = levels[i / 3];
    CHECK_OK(composite(&a, &photo, box, &painted, far, &e, &err), err);
    CHECK_SAME_PICTURE(&photo, &before);
    CHECK_OK(composite(&a, &photo, box, &painted, distance, &e, &err), err);
    for (int i = 0; i < 12; i++) {
        CHECK_INT(photo.pixels[3 * (2 * 10 + 3) + i], want[i / 3]);
        before.pixels[3 * (2 * 10 + 3) + i] = want[i / 3];
    }
    CHECK_SAME_PICTURE(&photo, &before);
    CHECK_INT(composite(&a, &photo, (struct image_box){ 8, 2, 12, 3 }, &painted, distance, &e, NULL), ERR_INVALID);
    CHECK_INT(composite(&a, &photo, box, &painted, distance, &(struct paste_edge){ 8, 1, 2 }, NULL), ERR_INVALID);
    arena_done(&a);
}
