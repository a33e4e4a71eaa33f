/*
 * The demo's trained model (models/demo): that it is the model its README describes, and that it removes things.
 * The cases in test/golden/demo are held-out scenes that show nothing but their ground, so they are the truth under
 * their masks; `scripts/train_demo.py golden` wrote them, and painted.png with them.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "models/fill/fill.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"

enum { N_CASES = 5, SIDE = 256, SMALL_SIDE = 64, STEPS = 4 };
static const size_t host_bytes = (size_t)1 << 30;
/* Mean PSNR inside the masks in dB: half a dB below what models/demo/README.md gives for these cases. */
static const double floor_db = 29.9;

struct demo {
    struct arena a;
    struct backend *be;
    struct fill_model *model;
};

static void open_demo(struct demo *d, enum backend_kind kind)
{
    const struct fill_options o = { .max_width = SIDE, .max_height = SIDE, .max_steps = STEPS, .max_t5_len = 1 };
    struct err err = { 0 };

    if (access("models/demo/ae.safetensors", R_OK) != 0)
        SKIP("models/demo is not here");
    *d = (struct demo){ 0 };
    CHECK_OK(arena_init(&d->a, host_bytes, &err), err);
    CHECK_OK(backend_open(kind, PRECISION_F32, &d->be, &err), err);
    CHECK_OK(fill_model_open("models/demo", &o, d->be, &d->model, &err), err);
}

static void close_demo(struct demo *d)
{
    fill_model_close(d->model);
    backend_close(d->be);
    arena_done(&d->a);
}

static void run_case(struct demo *d, int i, int side, struct image *truth, struct image *mask, struct image *painted)
{
    struct image photo;
    struct err err = { 0 };
    struct fill_request r = { FILL_REQUEST_DEFAULTS, .picture = &photo, .mask = mask, .width = side, .height = side };

    r.steps = STEPS;
    r.t5_len = 1;
    r.seed = (uint64_t)i;
    r.prompt = fill_model_prompt(d->model, "");
    picture_from_png(&d->a, golden("demo/%d.truth.png", i), truth);
    picture_from_png(&d->a, golden("demo/%d.truth.png", i), &photo);
    picture_from_png(&d->a, golden("demo/%d.mask.png", i), mask);
    for (size_t p = 0; p < (size_t)SIDE * SIDE; p++) /* what the mask covers must not matter, unless it is resized */
        if (mask->pixels[p] && side == SIDE)
            memcpy(photo.pixels + 3 * p, (uint8_t[]){ 255, 0, 255 }, 3);
    CHECK_OK(fill_run(d->model, &r, &d->a, painted, &err), err);
}

static double psnr_in_mask(const struct image *got, const struct image *want, const struct image *mask)
{
    double sum = 0, n = 0;

    for (size_t p = 0; p < (size_t)SIDE * SIDE; p++)
        for (size_t c = 3 * p; mask->pixels[p] && c < 3 * p + 3; c++, n++)
            sum += pow((double)got->pixels[c] - want->pixels[c], 2);
    return 10.0 * log10(255.0 * 255.0 / fmax(sum / n, 0.01));
}

/* Pictures, not their digest: processors and C libraries may round exp() differently in the last bit. */
TEST(demo_model__seed_gives_the_stored_picture_on_the_plain_path)
{
    struct image truth, mask, painted, want;
    struct demo d;

    open_demo(&d, BACKEND_PLAIN);
    run_case(&d, 0, SMALL_SIDE, &truth, &mask, &painted);
    picture_from_png(&d.a, golden("demo/painted.png"), &want);
    CHECK(painted.width == want.width && painted.height == want.height);
    for (size_t i = 0; i < image_bytes(&want); i++)
        CHECK(abs(painted.pixels[i] - want.pixels[i]) <= 1);
    close_demo(&d);
}

TEST(demo_model__grounds_go_on_in_held_out_scenes)
{
    struct image truth, mask, painted;
    double sum = 0;
    struct demo d;

#ifndef HAVE_ONEDNN
    SKIP("built without oneDNN: this would take minutes");
#endif
    open_demo(&d, BACKEND_CPU);
    for (int i = 0; i < N_CASES; i++) {
        run_case(&d, i, SIDE, &truth, &mask, &painted);
        sum += psnr_in_mask(&painted, &truth, &mask);
    }
    if (!(sum / N_CASES >= floor_db))
        test_fail(__FILE__, __LINE__, "PSNR in the masks is %.2f dB, want at least %.2f", sum / N_CASES, floor_db);
    close_demo(&d);
}
