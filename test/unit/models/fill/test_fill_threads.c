/* The same request gives the same bytes with any number of threads, and again. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "models/fill/fill.h"
#include "test/support/check.h"
#include "test/support/golden.h"

struct job {
    const char *dir, *transformer, *prompt;
    enum precision precision;
    int width, height;
};

static struct image paint(const struct job *j, int n_threads, struct arena *a)
{
    const struct fill_options o = {
        .transformer = j->transformer, .max_width = 256, .max_height = 256, .max_steps = 2, .max_t5_len = 32
    };
    struct fill_request r = { FILL_REQUEST_DEFAULTS };
    struct image picture, mask, painted = { 0 };
    struct fill_model *m = NULL;
    struct backend *be = NULL;
    struct err err = { 0 };

    omp_set_num_threads(n_threads);
    CHECK_OK(backend_open(BACKEND_CPU, j->precision, &be, &err), err);
    CHECK_OK(fill_model_open(j->dir, &o, be, &m, &err), err);
    CHECK_OK(image_new(a, j->width, j->height, 3, &picture, &err), err);
    CHECK_OK(image_new(a, j->width, j->height, 1, &mask, &err), err);
    for (size_t i = 0; i < image_bytes(&picture); i++)
        picture.pixels[i] = (uint8_t)(i * i >> 3);
    memset(mask.pixels, 255, image_bytes(&mask) / 2);
    r.picture = &picture;
    r.mask = &mask;
    r.width = j->width;
    r.height = j->height;
    r.steps = 2;
    r.seed = 7;
    r.t5_len = 32;
    r.prompt = fill_model_prompt(m, j->prompt);
    CHECK_OK(fill_run(m, &r, a, &painted, &err), err);
    fill_model_close(m);
    backend_close(be);
    return painted;
}

static void check_job(const struct job *j, const char *what)
{
    static const int counts[] = { 1, 3, 8 };
    struct image first = { 0 };
    struct err err = { 0 };
    struct arena a;

    CHECK_OK(arena_init(&a, (size_t)1 << 30, &err), err);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct image painted = paint(j, counts[i], &a);

        if (i == 0)
            first = painted;
        else if (memcmp(painted.pixels, first.pixels, image_bytes(&first)) != 0)
            test_fail(__FILE__, __LINE__, "%s, %d x %d: other bytes with %d threads than with one", what, j->width,
                      j->height, counts[i]);
    }
    arena_done(&a);
}

TEST(fill__the_bytes_do_not_depend_on_the_number_of_threads)
{
    const char *small = golden("small/models");

    for (int bf16 = 0; bf16 < 2; bf16++) {
        enum precision precision = bf16 ? PRECISION_BF16 : PRECISION_F32;

        check_job(&(struct job){ small, "flux1-fill-Q8_0.gguf", "grass", precision, 112, 208 },
                  bf16 ? "small model in bf16" : "small model in f32");
        check_job(&(struct job){ "models/demo", NULL, "", precision, 256, 192 },
                  bf16 ? "demo model in bf16" : "demo model in f32");
    }
}
