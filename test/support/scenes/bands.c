#include "test/support/scenes/bands.h"

#include <math.h>

#include "test/support/check.h"

void bands_sky(int x, int y, int height, float ret[3])
{
    static const float top[3] = { 121.3F, 168.8F, 222.6F }, fall[3] = { 31.7F, 27.4F, 19.9F };
    float down = (float)y / (float)height + 1e-5F * (float)x;

    for (int c = 0; c < 3; c++)
        ret[c] = top[c] - fall[c] * (0.6F * down + 0.4F * down * down);
}

void bands_sky_picture(struct arena *a, int width, int height, struct image *ret)
{
    struct err err = { 0 };
    uint8_t *p;
    float sky[3];

    CHECK_OK(image_new(a, width, height, 3, ret, &err), err);
    p = ret->pixels;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            bands_sky(x, y, height, sky);
            for (int c = 0; c < 3; c++)
                *p++ = (uint8_t)lroundf(sky[c]);
        }
}

static void measure_column(const struct image *im, int at, struct image_box box, struct bands *b)
{
    const uint8_t *p = im->pixels + (size_t)box.top * (size_t)im->width * 3 + at;
    int run = 1;

    for (int y = box.top + 1; y < box.bottom; y++) {
        const uint8_t *next = p + (size_t)im->width * 3;
        int step = *next - *p;

        run = step ? 1 : run + 1;
        b->longest_run = run > b->longest_run ? run : b->longest_run;
        b->largest_step = step > b->largest_step ? step : -step > b->largest_step ? -step : b->largest_step;
        b->reversals += step > 0;
        p = next;
    }
}

struct bands bands_measure(const struct image *im, struct image_box box)
{
    struct bands b = { .longest_run = 1 };

    for (int at = box.left * 3; at < box.right * 3; at++)
        measure_column(im, at, box, &b);
    return b;
}

void check_no_bands(const char *file, int line, const struct image *got, const struct image *original,
                    struct image_box box)
{
    struct bands g = bands_measure(got, box), o = bands_measure(original, box);

    /* A value that is close to the middle between two levels may fall to either side: one pixel of a run. */
    if (g.longest_run > o.longest_run + 2 || g.largest_step > o.largest_step || g.reversals > o.reversals)
        test_fail(file, line, "bands: runs of %d pixels, steps of %d levels, %d reversals; the original has %d, %d, %d",
                  g.longest_run, g.largest_step, g.reversals, o.longest_run, o.largest_step, o.reversals);
}
