#include "worker/job/edit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "models/fill/prompt_pack_make.h"
#include "models/codec/decode.h"
#include "models/codec/png.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/fake/fake_device.h"
#include "test/support/fake/fake_sys.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"
#include "test/support/profiles.h"

struct scene {
    struct engine *e;
    struct arena a;
    struct edit_request q;
    int64_t wall_ms;
    struct edit_result result; /* of the last run */
};

static const char transformer[] = "flux1-fill-Q8_0.gguf";
enum { STEPS = 3 };

/* The folder that a file is in. */
static void folder_of(const char *path, char ret[512])
{
    (void)snprintf(ret, 512, "%.*s", (int)(strrchr(path, '/') - path), path);
}

/* Opens a folder of models; NULL: that of the small golden set. */
static void open_scene_on(struct scene *s, const char *folder, enum backend_kind backend, enum precision precision)
{
    char small[512];
    const struct engine_options options = {
        .model_dir = folder ? folder : small, .transformer = transformer, .backend = backend, .precision = precision,
        .max_steps = STEPS
    };
    struct err err = { 0 };

    folder_of(golden("small/models/ae.safetensors"), small);
    *s = (struct scene){ .q.fill = { FILL_REQUEST_DEFAULTS } };
    s->q.fill.steps = STEPS;
    fake_device(0);
    CHECK_OK(arena_init(&s->a, EDIT_ARENA_BYTES, &err), err);
    CHECK_OK(engine_new(&options, &s->e, &err), err);
    CHECK_OK(engine_load(s->e, &err), err);
    s->q.original = file_bytes(&s->a, golden("small/cases/fill_0.image.png"));
    s->q.mask = file_bytes(&s->a, golden("small/cases/fill_0.mask.png"));
}

/* Opens the scene on the fake device, which runs behind its caller. */
static void open_scene(struct scene *s, const char *folder)
{
    open_scene_on(s, folder, BACKEND_CUDA, PRECISION_DEFAULT);
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

    s->wall_ms = sys_mono_ms(&sys_real);
    rc = edit_run(s->e, &s->q, watch, &sys_real, &s->a, &s->result, &err);
    s->wall_ms = sys_mono_ms(&sys_real) - s->wall_ms;
    return rc;
}

/* n stages have run, from the decoding on. */
static void check_stages(const struct scene *s, int n)
{
    const struct stage_times *t = &s->result.times;
    int64_t sum = 0;

    for (int i = 0; i < STAGES; i++) {
        CHECK_INT(t->has_run[i], i >= STAGE_DECODE && i < STAGE_DECODE + n);
        CHECK(t->ms[i] >= 0);
        sum += t->ms[i];
    }
    CHECK(sum >= s->wall_ms - 2 * n && sum <= s->wall_ms + 2 * n); /* each is rounded */
}

/* Counts the calls during the denoising, and stops at one of them. */
struct stop {
    int n_denoise, at;
};

static void count_denoise(void *ctx, enum stage stage, int percent, double eta_seconds)
{
    struct stop *s = ctx;

    (void)percent, (void)eta_seconds;
    s->n_denoise += stage == STAGE_DENOISE;
}

static bool stop_there(void *ctx)
{
    const struct stop *s = ctx;

    return s->n_denoise >= s->at;
}

TEST(edit__times_of_the_stages_add_up_to_the_whole)
{
    struct stop never = { .at = 100 }, soon = { .at = 2 };
    const struct edit_watch watch = { .ctx = &never, .stage = count_denoise, .cancelled = stop_there },
                            stopping = { .ctx = &soon, .stage = count_denoise, .cancelled = stop_there };
    struct scene s;

    open_scene(&s, NULL);
    CHECK_INT(run(&s, &watch), ERR_OK);
    CHECK_INT(never.n_denoise, 4); /* after 0, 1, 2 and 3 of 3 steps */
    CHECK(!s.result.rereads_modulation);
    check_stages(&s, 4);
    CHECK_INT(run(&s, &stopping), ERR_CANCELLED);
    check_stages(&s, 3);
    close_scene(&s);
}

/* --- a folder with a prompt pack in the place of the text encoders, and tables for one size --- */

static void link_into(const char *dir, const char *name)
{
    char to[600], *real = realpath(golden("small/models/%s", name), NULL);

    (void)snprintf(to, sizeof to, "%s/%s", dir, name);
    CHECK(real && (access(to, F_OK) == 0 || symlink(real, to) == 0));
    free(real);
}

static void make_packed(char dir[512], const struct pack_size *size)
{
    const char *pack = temp_path("edit-pack/prompts.safetensors"), *prompt = "grass";
    const struct pack_options o = { .dir = golden("small/models"), .transformer = transformer, .prompts = &prompt,
                                    .n_prompts = 1, .t5_len = 16, .sizes = size, .n_sizes = 1, .steps = STEPS,
                                    .guidance = 30 };
    struct backend *be = NULL;
    struct err err = { 0 };

    folder_of(pack, dir);
    link_into(dir, transformer);
    link_into(dir, "ae.safetensors");
    CHECK_OK(backend_open(BACKEND_CPU, PRECISION_DEFAULT, &be, &err), err);
    CHECK_OK(prompt_pack_make(&o, be, pack, &err), err);
    backend_close(be);
}

/* The size at which the worker paints the case fill_0. */
static struct pack_size size_of_scene(void)
{
    const struct picture_settings settings = { 0 };
    struct picture_record record = { 0 };
    struct picture_input in = { 0 };
    struct err err = { 0 };
    struct arena a;

    CHECK_OK(arena_init(&a, EDIT_ARENA_BYTES, &err), err);
    CHECK_OK(picture_read(&a, &(struct picture_source){ file_bytes(&a, golden("small/cases/fill_0.image.png")),
                                                        file_bytes(&a, golden("small/cases/fill_0.mask.png")), { 0 } }, &settings, &in, &record, &err), err);
    CHECK_OK(picture_plan(&a, &in, &settings, &record, &err), err);
    arena_done(&a);
    return (struct pack_size){ record.plan.crops[0].fill_width, record.plan.crops[0].fill_height };
}

TEST(edit__reports_when_no_table_covers_the_job)
{
    struct pack_size size = size_of_scene();
    const struct edit_watch watch = { 0 };
    char dir[512];
    struct scene s;

    make_packed(dir, &size);
    open_scene(&s, dir);
    CHECK_INT(run(&s, &watch), ERR_OK);
    CHECK(!s.result.rereads_modulation);
    CHECK(s.result.recipe.fill_width == size.width && s.result.recipe.fill_height == size.height);
    s.q.fill.steps = STEPS - 1;
    CHECK_INT(run(&s, &watch), ERR_OK);
    CHECK(s.result.rereads_modulation);
    CHECK_INT(s.result.recipe.steps, STEPS - 1);
    close_scene(&s);
}

/* The photo's sides are no multiples of 16: one of them is needed in full, of the other a part is enough. */
TEST(edit__the_recipe_says_what_was_cut_out_and_the_size_that_was_painted)
{
    const struct edit_watch nobody = { NULL };
    struct image photo, mask;
    struct err err = { 0 };
    struct scene s;

    open_scene(&s, NULL);
    picture_of_noise(&s.a, 100, 70, 3, 1, &photo);
    picture_of_noise(&s.a, 100, 70, 1, 2, &mask);
    for (int i = 0; i < 100 * 70; i++)
        mask.pixels[i] = i < 3000 ? 255 : 0;
    CHECK_OK(png_write(&s.a, &photo, &s.q.original, &err), err);
    CHECK_OK(png_write(&s.a, &mask, &s.q.mask, &err), err);
    s.q.fill.steps = 1;
    s.q.fill.seed = UINT64_MAX;
    CHECK_INT(run(&s, &nobody), ERR_OK);
    CHECK_INT(s.result.recipe.crop_width, 100);
    CHECK_INT(s.result.recipe.crop_height, 64);
    CHECK_INT(s.result.recipe.fill_width, 112);
    CHECK_INT(s.result.recipe.fill_height, 64);
    CHECK(s.result.recipe.seed == INT64_MAX); /* documents have signed numbers */
    close_scene(&s);
}

/*
 * On CUDA `auto` is bf16; a picture painted in bf16 differs from one painted in f32, so the session records the type.
 */
TEST(edit__the_recipe_says_the_precision_that_computed)
{
    static const struct {
        enum backend_kind backend;
        enum precision precision;
        const char *want; /* NULL: what the backend reports */
    } cases[] = {
        { BACKEND_CPU, PRECISION_DEFAULT, "f32" },
        { BACKEND_CPU, PRECISION_AUTO, NULL },
        { BACKEND_CUDA, PRECISION_AUTO, "bf16" },
    };
    const struct edit_watch nobody = { NULL };
    struct scene s;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_scene_on(&s, NULL, cases[i].backend, cases[i].precision);
        s.q.fill.steps = 1;
        CHECK_INT(run(&s, &nobody), ERR_OK);
        CHECK(s.result.has_recipe);
        CHECK_STR(s.result.recipe.precision, cases[i].want                                        ? cases[i].want
                                             : strstr(engine_kernels(s.e), "products in bf16") ? "bf16"
                                                                                               : "f32");
        close_scene(&s);
    }
}

/* --- the second pass --- */

/* Follows the progress, tells how much time there is, and is cancelled (or late) at some step of the denoising. */
struct second_watch {
    double left_s;
    int n_steps, cancelled_at; /* 0: never */
    bool late;                 /* cancelled because the time is up */
    int percent;
    bool went_back;
};

static void follow(void *ctx, enum stage stage, int percent, double eta_seconds)
{
    struct second_watch *w = ctx;

    (void)stage, (void)eta_seconds;
    w->went_back |= percent < w->percent;
    w->percent = percent;
}

static void count_steps(void *ctx, enum fill_phase phase, int done, int total)
{
    struct second_watch *w = ctx;

    (void)total;
    w->n_steps += phase == FILL_PHASE_DENOISE && done > 0;
}

static bool is_over(void *ctx)
{
    const struct second_watch *w = ctx;

    return w->cancelled_at && w->n_steps >= w->cancelled_at;
}

static double left_s(void *ctx)
{
    const struct second_watch *w = ctx;

    return w->late && is_over(ctx) ? 0 : w->left_s;
}

static enum err_code run_watched(struct scene *s, struct second_watch *w)
{
    const struct edit_watch watch = {
        .ctx = w, .stage = follow, .paint = count_steps, .cancelled = is_over, .seconds_left = left_s
    };
    enum err_code rc = run(s, &watch);

    CHECK(!w->went_back);
    return rc;
}

static bool same_file(struct span a, struct span b)
{
    return a.len == b.len && !memcmp(a.ptr, b.ptr, a.len);
}

TEST(edit__a_second_pass_keeps_the_better_result_and_is_off_by_default)
{
    struct second_watch off = { .left_s = 1e6 }, both = off, short_of_time = { .left_s = 5 };
    struct picture_second second;
    struct span first;
    struct scene s;
    int kept[2] = { 0 };

    open_scene(&s, NULL);
    s.q.fill.steps = 1;
    for (uint64_t seed = 0; seed < 4; seed++) {
        s.q.fill.seed = seed;
        s.q.pictures.second_pass = PICTURE_SECOND_OFF;
        off = both = (struct second_watch){ .left_s = 1e6 };
        CHECK_INT(run_watched(&s, &off), ERR_OK);
        CHECK(off.n_steps == 1 && !s.result.picture.second[0].ran);
        first = s.result.files.edited;
        s.q.pictures.second_pass = PICTURE_SECOND_BOTH;
        CHECK_INT(run_watched(&s, &both), ERR_OK);
        second = s.result.picture.second[0];
        CHECK(both.n_steps == 2 && second.ran);
        CHECK(second.kept ? second.total > second.other_total : second.total >= second.other_total);
        CHECK(second.total == s.result.picture.scores[0].total);
        CHECK_INT(same_file(first, s.result.files.edited), !second.kept);
        kept[second.kept]++;
    }
    CHECK(kept[0] > 0 && kept[1] > 0);
    CHECK_INT(run_watched(&s, &short_of_time), ERR_OK);
    CHECK(short_of_time.n_steps == 1 && !s.result.picture.second[0].ran);
    close_scene(&s);
}

TEST(edit__a_second_pass_that_does_not_end_in_time_leaves_the_first_result)
{
    struct second_watch once = { .left_s = 1e6 }, late = { .left_s = 1e6, .cancelled_at = STEPS + 1, .late = true },
                        cancelled = { .left_s = 1e6, .cancelled_at = STEPS + 1 };
    struct picture_scores scores;
    struct span first;
    struct scene s;

    open_scene(&s, NULL);
    CHECK_INT(run_watched(&s, &once), ERR_OK);
    first = s.result.files.edited;
    scores = s.result.picture.scores[0];
    s.q.pictures.second_pass = PICTURE_SECOND_BOTH;
    CHECK_INT(run_watched(&s, &late), ERR_OK);
    CHECK(late.n_steps == STEPS + 1 && !s.result.picture.second[0].ran);
    CHECK(same_file(first, s.result.files.edited) && s.result.picture.scores[0].total == scores.total);
    CHECK_INT(run_watched(&s, &cancelled), ERR_CANCELLED);
    CHECK_INT(cancelled.n_steps, STEPS + 1);
    close_scene(&s);
}

/* --- a clock on which each step of the denoising takes ten seconds --- */

struct slow_steps {
    struct fake_sys clock;
    int64_t end_ms;
};

static void pass_ten_seconds(void *ctx, enum fill_phase phase, int done, int total)
{
    struct slow_steps *t = ctx;

    (void)total;
    if (phase == FILL_PHASE_DENOISE && done > 0)
        fake_sys_pass(&t->clock, 10000);
}

static double slow_left_s(void *ctx)
{
    const struct slow_steps *t = ctx;

    return 1e-3 * (double)(t->end_ms - t->clock.mono_ms);
}

/* Two crops of one step each: which of them were painted twice? */
static void check_second_passes(struct scene *s, int total_s, bool want_first, bool want_second)
{
    struct slow_steps t;
    const struct edit_watch watch = { .ctx = &t, .paint = pass_ten_seconds, .seconds_left = slow_left_s };
    struct err err = { 0 };

    fake_sys_init(&t.clock, 1764000000, 1);
    t.end_ms = t.clock.mono_ms + total_s * 1000;
    CHECK_OK(edit_run(s->e, &s->q, &watch, &t.clock.sys, &s->a, &s->result, &err), err);
    CHECK_INT(s->result.picture.plan.n, 2);
    CHECK_INT(s->result.picture.second[0].ran, want_first);
    CHECK_INT(s->result.picture.second[1].ran, want_second);
}

/* A crop that is painted again must not take the time of one that has not been painted at all. */
TEST(edit__a_second_pass_leaves_time_for_the_crops_to_come)
{
    enum { WIDTH = 5200, HEIGHT = 64 };
    struct image photo, mask;
    struct err err = { 0 };
    struct scene s;

    open_scene_on(&s, NULL, BACKEND_CPU, PRECISION_DEFAULT);
    picture_of_noise(&s.a, WIDTH, HEIGHT, 3, 1, &photo);
    picture_of_noise(&s.a, WIDTH, HEIGHT, 1, 2, &mask);
    for (int i = 0; i < WIDTH * HEIGHT; i++)
        mask.pixels[i] = i / WIDTH / 16 == 1 && (i % WIDTH / 16 == 4 || i % WIDTH / 16 == 320) ? 255 : 0;
    CHECK_OK(png_write(&s.a, &photo, &s.q.original, &err), err);
    CHECK_OK(png_write(&s.a, &mask, &s.q.mask, &err), err);
    s.q.fill.steps = 1;
    s.q.pictures.second_pass = PICTURE_SECOND_BOTH;
    check_second_passes(&s, 45, false, true);
    check_second_passes(&s, 60, true, true);
    close_scene(&s);
}

/* A photo in Display P3 with a file in the place of the paint: without a profile the file has the photo's colours, as one
 * that was made of its pixels has; with one, what the profile says. Nothing is rounded on the way at scale 1. */
TEST(edit__a_file_that_is_painted_has_the_photos_colours_unless_it_says_otherwise)
{
    const struct edit_watch nobody = { NULL };
    struct edit_request q = { .fill = { FILL_REQUEST_DEFAULTS }, .paint = { .kind = EDIT_PAINT_FILE, .name = "paint" },
                              .wants_png = true };
    struct image photo, mask, got;
    struct edit_result result;
    struct err err = { 0 };
    struct span p3, srgb;
    struct arena a;

    CHECK_OK(arena_init(&a, EDIT_ARENA_BYTES, &err), err);
    p3 = profile_of_rgb(&a, &profile_p3);
    srgb = profile_of_rgb(&a, &profile_srgb);
    picture_of_noise(&a, 160, 128, 3, 1, &photo);
    CHECK_OK(image_new(&a, 160, 128, 1, &mask, &err), err);
    for (int y = 40; y < 80; y++)
        memset(mask.pixels + y * 160 + 50, 255, 60);
    CHECK_OK(png_write_with_profile(&a, &photo, p3, &q.original, &err), err);
    CHECK_OK(png_write(&a, &mask, &q.mask, &err), err);
    for (int tagged = 0; tagged < 3; tagged++) {
        const struct span profiles[] = { { NULL, 0 }, p3, srgb };

        CHECK_OK(png_write_with_profile(&a, &photo, profiles[tagged], &q.paint.file, &err), err);
        CHECK_OK(edit_run(NULL, &q, &nobody, &sys_real, &a, &result, &err), err);
        CHECK_OK(image_decode(&a, result.png, &(struct decode_options){ .alpha = IMAGE_ALPHA_DROP }, &got, NULL, &err),
                 err);
        if (tagged < 2)
            CHECK_SAME_PICTURE(&got, &photo);
        else
            CHECK(memcmp(got.pixels, photo.pixels, image_bytes(&photo)) != 0);
    }
    arena_done(&a);
}
