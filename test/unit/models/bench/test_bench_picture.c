#include "models/bench/bench_picture.h"

#include "test/support/check.h"

TEST(bench_picture__measures_every_line_of_a_job)
{
    for (int turned = 0; turned < 2; turned++) {
        const struct bench_picture_options o = { .width = 200, .height = 120, .turned = turned, .repeats = 2 };
        struct bench_picture b = { 0 };
        struct err err = { 0 };
        double sum = 0;

        CHECK_OK(bench_picture(&o, &b, &err), err);
        for (int i = 0; i < b.n_lines; i++) {
            CHECK(b.lines[i].seconds > 0);
            sum += b.lines[i].depth == 0 ? b.lines[i].seconds : 0;
        }
        CHECK(b.n_lines > 0 && sum <= 1.001 * b.whole);
        CHECK_INT(b.plan.crops[0].fill_width, turned ? 112 : 192);
        CHECK_INT(b.plan.crops[0].fill_height, turned ? 192 : 112);
        CHECK(b.original_bytes > 1000 && b.mask_bytes > 0 && b.edited_bytes > b.preview_bytes / 2);
        CHECK(b.arena_bytes > 200 * 120 * 4);
    }
}
