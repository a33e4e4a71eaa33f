#include "worker/edit.h"

#include <stdio.h>
#include <string.h>

#include "test/support/check.h"
#include "test/support/fake_device.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"

struct scene {
    struct engine *e;
    struct arena a;
    struct edit_request q;
    struct session_timing timings[SESSION_MAX_TIMINGS];
    int n_timings;
    int64_t wall_ms;
    struct edit_result result;
};

static void open_scene_on(struct scene *s, enum backend_kind backend, enum precision precision)
{
    static char models[512];
    const char *path = golden("small/models/ae.safetensors");
    const struct engine_options options = {
        .model_dir = models, .transformer = "flux1-fill-Q8_0.gguf", .backend = backend, .precision = precision,
        .max_steps = 3
    };
    struct err err = { 0 };

    (void)snprintf(models, sizeof models, "%.*s", (int)(strrchr(path, '/') - path), path);
    *s = (struct scene){ .q = { .steps = 3, .guidance = 30 } };
    fake_device(0);
    CHECK_OK(arena_init(&s->a, EDIT_ARENA_BYTES, &err), err);
    CHECK_OK(engine_new(&options, &s->e, &err), err);
    CHECK_OK(engine_load(s->e, &err), err);
    s->q.original = file_bytes(&s->a, golden("small/cases/fill_0.image.png"));
    s->q.mask = file_bytes(&s->a, golden("small/cases/fill_0.mask.png"));
}

/* On a device that runs behind. */
static void open_scene(struct scene *s)
{
    open_scene_on(s, BACKEND_CUDA, PRECISION_DEFAULT);
}

static void close_scene(struct scene *s)
{
    engine_free(s->e);
    arena_done(&s->a);
    fake_device(-1);
}

static enum err_code run(struct scene *s, const struct edit_watch *watch)
{
    struct err err = { 0 };
    enum err_code rc;

    s->n_timings = 0;
    s->wall_ms = sys_mono_ms(&sys_real);
    rc = edit_run(s->e, &s->q, watch, &sys_real, &s->a, &s->result, s->timings, &s->n_timings, &err);
    s->wall_ms = sys_mono_ms(&sys_real) - s->wall_ms;
    return rc;
}

static void check_stages(const struct scene *s, int n, const char *const *names)
{
    int64_t sum = 0;

    CHECK_INT(s->n_timings, n);
    for (int i = 0; i < n; i++) {
        CHECK_STR(s->timings[i].stage, names[i]);
        CHECK(s->timings[i].ms >= 0);
        sum += s->timings[i].ms;
    }
    CHECK(sum >= s->wall_ms - 2 * n && sum <= s->wall_ms + 2 * n); /* each is rounded */
}

/* Counts the calls during the denoising, and stops at one of them. */
struct stop {
    int n_denoise, at;
};

static void count_denoise(void *ctx, const char *stage, int percent, double eta_seconds)
{
    struct stop *s = ctx;

    (void)percent, (void)eta_seconds;
    s->n_denoise += !strcmp(stage, "denoise");
}

static bool stop_there(void *ctx)
{
    const struct stop *s = ctx;

    return s->n_denoise >= s->at;
}

TEST(edit__times_of_the_stages_add_up_to_the_whole)
{
    static const char *const names[] = { "decode", "encode", "denoise", "compose" };
    struct stop never = { .at = 100 }, soon = { .at = 2 };
    const struct edit_watch watch = { &never, count_denoise, stop_there }, stopping = { &soon, count_denoise, stop_there };
    struct scene s;

    open_scene(&s);
    CHECK_INT(run(&s, &watch), ERR_OK);
    CHECK_INT(never.n_denoise, 4); /* 0 to 3 of 3 */
    check_stages(&s, 4, names);
    CHECK_INT(run(&s, &stopping), ERR_CANCELLED);
    check_stages(&s, 3, names);
    close_scene(&s);
}

/* On CUDA `auto` is bf16; a picture of bf16 is another one than that of f32, so the session says which it was. */
TEST(edit__the_recipe_says_the_precision_that_computed)
{
    static const struct {
        enum backend_kind backend;
        enum precision precision;
        const char *want; /* NULL: as the processor has it */
    } cases[] = {
        { BACKEND_CPU, PRECISION_DEFAULT, "f32" },
        { BACKEND_CPU, PRECISION_AUTO, NULL },
        { BACKEND_CUDA, PRECISION_AUTO, "bf16" },
    };
    const struct edit_watch nobody = { NULL };
    struct scene s;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_scene_on(&s, cases[i].backend, cases[i].precision);
        s.q.steps = 1;
        CHECK_INT(run(&s, &nobody), ERR_OK);
        CHECK(s.result.has_recipe);
        CHECK_STR(s.result.recipe.precision, cases[i].want ? cases[i].want : engine_precision(s.e));
        close_scene(&s);
    }
}
