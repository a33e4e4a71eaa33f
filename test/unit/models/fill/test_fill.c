#include "models/fill/fill.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "models/file/tensor_file.h"
#include "models/fill/fill_model.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/model.h"
#include "test/support/pictures.h"

static const size_t host_bytes = (size_t)1 << 30; /* address space */

/* An official case and a model opened for it. */
struct scene {
    struct arena a;
    struct backend *be;
    struct fill_model *model;
    struct tensor_file f;
    struct image picture, mask, expected;
    struct fill_request r;
    char dir[512];
    double limit; /* relative, of latents and picture */
};

static const char *metadata(struct scene *s, const char *key)
{
    struct err err = { 0 };
    const char *value = NULL;

    CHECK_OK(tensor_file_metadata(&s->f, key, &s->a, &value, &err), err);
    return value;
}

/* A setting of the case as a number; `otherwise` where it is not set. */
static double number(struct scene *s, const char *key, double otherwise)
{
    const char *value = NULL;

    return tensor_file_metadata(&s->f, key, &s->a, &value, NULL) ? otherwise : atof(value);
}

static const float *values_of(struct scene *s, const char *name, size_t *ret_n)
{
    const struct tensor_entry *e = tensor_file_find(&s->f, span_of(name));
    struct err err = { 0 };
    float *p = NULL;

    if (!e)
        return NULL;
    CHECK(e->dtype == DT_F32);
    CHECK_OK(arena_alloc(&s->a, e->bytes, 1, &p, &err), err);
    memcpy(p, e->data, e->bytes);
    *ret_n = e->bytes / sizeof *p;
    return p;
}

static void read_case(struct scene *s, const char *set, int i)
{
    struct err err = { 0 };
    size_t n;

    CHECK_OK(tensor_file_open(golden("%s/cases/fill_%d.safetensors", set, i), &s->a, &s->f, &err), err);
    picture_from_png(&s->a, golden("%s/cases/fill_%d.image.png", set, i), &s->picture);
    picture_from_png(&s->a, golden("%s/cases/fill_%d.mask.png", set, i), &s->mask);
    picture_from_png(&s->a, golden("%s/cases/fill_%d.expected.png", set, i), &s->expected);
    s->r = (struct fill_request){
        .picture = &s->picture,
        .mask = &s->mask,
        .prompt = metadata(s, "prompt"),
        .strength = number(s, "strength", 1),
        .width = atoi(metadata(s, "width")),
        .height = atoi(metadata(s, "height")),
        .steps = atoi(metadata(s, "steps")),
        .guidance = atof(metadata(s, "guidance")),
        .t5_len = atoi(metadata(s, "t5_len")),
        .noise = values_of(s, "noise", &n),
    };
    if (!s->r.noise)
        s->r.seed = strtoull(metadata(s, "seed"), NULL, 10);
    if (!strcmp(metadata(s, "posterior"), "sample"))
        s->r.posterior = FILL_POSTERIOR_SAMPLE;
}

static void open_scene(struct scene *s, const char *set, int i, const struct rig_kind *kind)
{
    struct fill_options o = { 0 };
    struct err err = { 0 };

    *s = (struct scene){ .limit = kind->limit };
    (void)snprintf(s->dir, sizeof s->dir, "%.*s", (int)(strlen(golden("%s/models/ae.safetensors", set)) - 15),
                   golden("%s/models/ae.safetensors", set));
    CHECK_OK(arena_init(&s->a, host_bytes, &err), err);
    CHECK_OK(backend_open(kind->kind, kind->precision, &s->be, &err), err);
    read_case(s, set, i);
    o = (struct fill_options){ .transformer = metadata(s, "transformer"),
                               .max_width = s->r.width,
                               .max_height = s->r.height,
                               .max_steps = s->r.steps,
                               .max_t5_len = s->r.t5_len };
    CHECK_OK(fill_model_open(s->dir, &o, s->be, &s->model, &err), err);
}

static void close_scene(struct scene *s)
{
    fill_model_close(s->model);
    backend_close(s->be);
    arena_done(&s->a);
}

/* Compares an intermediate result with the case's tensor of the same name. */
static enum err_code compare(void *ctx, const char *name, int n_dims, const int64_t *dims, const float *data,
                             struct err *err)
{
    struct scene *s = ctx;
    size_t n_want = 0, n = 1;
    const float *want = values_of(s, name, &n_want);
    double rel;

    for (int i = 0; i < n_dims; i++)
        n *= (size_t)dims[i];
    if (!want)
        return ERR_OK; /* the cases keep no embeddings */
    if (n != n_want)
        return err_set(err, ERR_INTERNAL, "%s has %zu values, want %zu", name, n, n_want);
    if (!strcmp(name, "mask"))
        return memcmp(data, want, n * sizeof *data) ? err_set(err, ERR_INTERNAL, "the mask differs") : ERR_OK;
    rel = check_rel(data, want, n);
    /* torch convolves these pictures channels-last, 4e-6 to 2e-5 away from float64 itself */
    if (!(rel <= (strcmp(name, "masked_latents") ? s->limit : fmax(s->limit, 1e-4))))
        return err_set(err, ERR_INTERNAL, "%s: relative error %.3g, limit %.3g", name, rel, s->limit);
    return ERR_OK;
}

/* All values are within `levels` of the expected, except for a `share` of them. */
static void check_picture(const struct image *got, const struct image *want, int levels, double share)
{
    size_t n = image_bytes(want), off = 0;

    CHECK(got->width == want->width && got->height == want->height && got->channels == want->channels);
    for (size_t i = 0; i < n; i++)
        off += (size_t)(abs(got->pixels[i] - want->pixels[i]) > levels);
    if (!((double)off <= share * (double)n))
        test_fail(__FILE__, __LINE__, "%zu of %zu values are more than %d levels off", off, n, levels);
}

static void check_case(const char *set, int i, const struct rig_kind *kind)
{
    struct scene s;
    struct fill_dump dump = { compare, &s };
    struct err err = { 0 };
    struct image got;

    open_scene(&s, set, i, kind);
    s.r.dump = &dump;
    CHECK_OK(fill_run(s.model, &s.r, &s.a, &got, &err), err);
    if (kind->precision == PRECISION_F32)
        check_picture(&got, &s.expected, 1, 0);
    else
        check_picture(&got, &s.expected, 6, 1e-3);
    close_scene(&s);
}

TEST(fill__official_picture_of_given_noise)
{
    check_case("small", 0, &rig_kinds[0]);
    check_case("small", 0, &rig_kinds[1]);
    check_case("small", 0, &rig_kinds[3]);
}

TEST(fill__official_picture_of_a_resized_photo)
{
    check_case("small", 1, &rig_kinds[1]);
}

TEST(fill__official_picture_of_a_seed_with_sampled_posteriors)
{
    check_case("small", 2, &rig_kinds[1]);
}

TEST(fill__official_picture_of_another_layout_of_files)
{
    check_case("gguf", 0, &rig_kinds[1]);
    check_case("gguf", 0, &rig_kinds[3]);
    check_case("comfy", 0, &rig_kinds[1]);
    check_case("comfy", 0, &rig_kinds[3]);
}

TEST(fill__official_picture_of_a_strength_below_one)
{
    check_case("gguf", 1, &rig_kinds[1]);
    check_case("gguf", 1, &rig_kinds[3]);
}

/* --- requests of 32 x 32 pixels and two steps, where no official numbers are needed --- */

static void open_small(struct scene *s)
{
    open_scene(s, "small", 2, &rig_kinds[1]);
    s->r.width = s->r.height = 32;
    s->r.steps = 2;
    s->r.t5_len = 16;
}

static uint64_t digest(const struct image *im)
{
    uint64_t h = 14695981039346656037u;

    for (size_t i = 0; i < image_bytes(im); i++)
        h = (h ^ im->pixels[i]) * 1099511628211u;
    return h;
}

static uint64_t run_digest(struct scene *s)
{
    struct arena_mark mark = arena_mark(&s->a);
    struct err err = { 0 };
    struct image got;
    uint64_t h;

    CHECK_OK(fill_run(s->model, &s->r, &s->a, &got, &err), err);
    h = digest(&got);
    arena_rewind(&s->a, mark);
    return h;
}

TEST(fill__the_same_request_gives_the_same_bytes_and_takes_the_same_memory)
{
    struct scene s;
    size_t host_peak = 0, memory;
    uint64_t first = 0;

    open_small(&s);
    memory = s.model->mem.total;
    for (int i = 0; i < 3; i++) {
        size_t used = s.a.used;
        uint64_t h = run_digest(&s);

        CHECK_INT(s.a.used, used);
        CHECK(i == 0 || (h == first && s.a.peak == host_peak));
        first = h;
        host_peak = s.a.peak;
    }
    CHECK_INT(s.model->mem.total, memory);
    close_scene(&s);
}

TEST(fill__sizes_are_floored_to_multiples_of_sixteen)
{
    struct scene s;
    uint64_t whole;

    open_small(&s);
    whole = run_digest(&s);
    s.r.width = 47;
    s.r.height = 33;
    CHECK(run_digest(&s) == whole);
    close_scene(&s);
}

TEST(fill__a_mask_over_everything_hides_the_picture)
{
    struct scene s;
    struct image other;
    uint64_t first;

    open_small(&s);
    s.r.posterior = FILL_POSTERIOR_MEAN;
    memset(s.mask.pixels, 255, image_bytes(&s.mask));
    first = run_digest(&s);
    picture_of_noise(&s.a, 50, 40, 3, 1, &other);
    s.r.picture = &other;
    CHECK(run_digest(&s) == first);
    memset(s.mask.pixels, 0, image_bytes(&s.mask));
    CHECK(run_digest(&s) != first);
    close_scene(&s);
}

TEST(fill__seed_posterior_and_strength_change_the_picture)
{
    struct scene s;
    uint64_t h[5];

    open_small(&s);
    h[0] = run_digest(&s);
    s.r.seed++;
    h[1] = run_digest(&s);
    s.r.posterior = FILL_POSTERIOR_MEAN;
    h[2] = run_digest(&s);
    s.r.strength = 0.5;
    h[3] = run_digest(&s);
    s.r.posterior = FILL_POSTERIOR_SAMPLE;
    h[4] = run_digest(&s);
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < i; k++)
            CHECK(h[i] != h[k]);
    close_scene(&s);
}

/* Keeps two intermediate results of 64 tokens at most. */
struct keep {
    float masked[64 * 64], last[64 * 64];
    size_t n;
};

static enum err_code keep_latents(void *ctx, const char *name, int n_dims, const int64_t *dims, const float *data,
                                  struct err *err)
{
    struct keep *k = ctx;

    (void)n_dims, (void)err;
    if (!strcmp(name, "masked_latents"))
        memcpy(k->masked, data, (k->n = (size_t)(dims[0] * dims[1])) * sizeof *data);
    if (!strcmp(name, "latents_0"))
        memcpy(k->last, data, k->n * sizeof *data);
    return ERR_OK;
}

/* Root mean square of the difference. */
static double distance(const float *a, const float *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sqrt(sum / (double)n);
}

/* Nothing is masked, and only the last of 50 steps is run. It begins at sigma 0.03, so three hundredths of noise and
 * velocity, which are about 1 in size, are added to the picture. */
TEST(fill__a_small_strength_keeps_the_picture)
{
    struct fill_options o = { .max_width = 32, .max_height = 32, .max_steps = 50, .max_t5_len = 16 };
    struct keep *k = calloc(1, sizeof *k);
    struct fill_dump dump = { keep_latents, k };
    struct scene s;
    struct err err = { 0 };

    open_small(&s);
    fill_model_close(s.model);
    s.model = NULL;
    CHECK_OK(fill_model_open(s.dir, &o, s.be, &s.model, &err), err);
    memset(s.mask.pixels, 0, image_bytes(&s.mask));
    s.r.posterior = FILL_POSTERIOR_MEAN;
    s.r.steps = 50;
    s.r.strength = 0.02;
    s.r.dump = &dump;
    (void)run_digest(&s);
    CHECK(distance(k->last, k->masked, k->n) <= 0.1);
    s.r.strength = 1;
    (void)run_digest(&s);
    CHECK(distance(k->last, k->masked, k->n) > 0.5);
    free(k);
    close_scene(&s);
}

/* Counts what is reported, and asks to stop after `stop_after` steps. */
struct watch {
    int steps, total, phases, stop_after, n_latents;
};

static void note_progress(void *ctx, enum fill_phase phase, int done, int total)
{
    struct watch *w = ctx;

    w->phases |= 1 << phase;
    if (phase == FILL_PHASE_DENOISE) {
        w->steps = done;
        w->total = total;
    }
}

static bool ask_to_stop(void *ctx)
{
    struct watch *w = ctx;

    return w->steps >= w->stop_after;
}

static enum err_code count_latents(void *ctx, const char *name, int n_dims, const int64_t *dims, const float *data,
                                   struct err *err)
{
    struct watch *w = ctx;

    (void)n_dims, (void)dims, (void)data, (void)err;
    w->n_latents += !strncmp(name, "latents_", 8);
    return ERR_OK;
}

TEST(fill__reports_how_far_it_is_and_stops_before_the_next_step)
{
    struct watch w = { .stop_after = 100 };
    struct fill_dump dump = { count_latents, &w };
    struct scene s;
    struct image got;

    open_small(&s);
    s.r.steps = 3;
    s.r.progress = note_progress;
    s.r.cancelled = ask_to_stop;
    s.r.ctx = &w;
    s.r.dump = &dump;
    (void)run_digest(&s);
    CHECK_INT(w.steps, 3);
    CHECK_INT(w.total, 3);
    CHECK_INT(w.phases, 7);
    CHECK_INT(w.n_latents, 3);
    w = (struct watch){ .stop_after = 2 };
    CHECK(fill_run(s.model, &s.r, &s.a, &got, NULL) == ERR_CANCELLED);
    CHECK_INT(w.n_latents, 2);
    w = (struct watch){ .stop_after = 0 };
    CHECK(fill_run(s.model, &s.r, &s.a, &got, NULL) == ERR_CANCELLED);
    CHECK_INT(w.n_latents, 0);
    s.r.cancelled = NULL;
    s.r.strength = 0.5;
    s.r.steps = 2;
    w = (struct watch){ 0 };
    (void)run_digest(&s); /* a cancelled request leaves the model usable */
    CHECK_INT(w.total, 1);
    CHECK_INT(w.n_latents, 1);
    close_scene(&s);
}

/* --- a device that runs behind: the CPU, which claims to, and counts the steps that are queued --- */

static struct behind {
    struct backend_ops ops;
    const struct backend_ops *own;
    int n_started, n_ended, most_ahead; /* steps; nothing but a step calls axpy */
    int end_of[BACKEND_MARKS];          /* steps that were started before the mark */
} behind;

static enum err_code note_axpy(struct backend *be, struct tensor *x, float a, const struct tensor *v, struct err *err)
{
    int ahead = ++behind.n_started - behind.n_ended;

    behind.most_ahead = ahead > behind.most_ahead ? ahead : behind.most_ahead;
    return behind.own->axpy(be, x, a, v, err);
}

static enum err_code note_mark(struct backend *be, int slot, struct err *err)
{
    behind.end_of[slot] = behind.n_started;
    return behind.own->mark(be, slot, err);
}

static enum err_code note_elapsed(struct backend *be, int from, int to, double *ret_ms, struct err *err)
{
    if (behind.end_of[to] > behind.n_ended)
        behind.n_ended = behind.end_of[to];
    return behind.own->elapsed(be, from, to, ret_ms, err);
}

static void run_behind(struct scene *s)
{
    behind = (struct behind){ .ops = *s->be->ops, .own = s->be->ops };
    behind.ops.axpy = note_axpy;
    behind.ops.mark = note_mark;
    behind.ops.elapsed = note_elapsed;
    s->be->ops = &behind.ops;
    s->be->runs_behind = true;
}

static void run_normally(struct scene *s)
{
    s->be->ops = behind.own;
    s->be->runs_behind = false;
}

TEST(fill__has_the_next_step_queued_when_one_ends_on_a_device_that_runs_behind)
{
    struct watch w = { .stop_after = 100 };
    struct scene s;
    struct image got;
    uint64_t want;

    open_small(&s);
    s.r.steps = 3;
    want = run_digest(&s);
    s.r.progress = note_progress;
    s.r.cancelled = ask_to_stop;
    s.r.ctx = &w;
    run_behind(&s);
    CHECK(run_digest(&s) == want);
    CHECK_INT(behind.n_ended, 3);
    CHECK_INT(behind.most_ahead, 2);
    CHECK_INT(w.steps, 3);
    CHECK_INT(w.phases, 7);
    w = (struct watch){ .stop_after = 1 };
    behind.n_started = behind.n_ended = 0;
    CHECK(fill_run(s.model, &s.r, &s.a, &got, NULL) == ERR_CANCELLED);
    CHECK_INT(behind.n_started, 2); /* one step too many was queued */
    CHECK_INT(w.steps, 1);
    run_normally(&s);
    close_scene(&s);
}

static enum err_code slow_attention(struct backend *be, struct tensor *out, const struct tensor *q,
                                    const struct tensor *k, const struct tensor *v, const struct attention_args *args,
                                    struct err *err)
{
    (void)usleep(200);
    return behind.own->attention(be, out, q, k, v, args, err);
}

TEST(fill__times_its_parts_one_after_the_other)
{
    struct fill_timings t = { 0 };
    struct timespec from, to;
    struct scene s;
    struct image got;
    double wall, sum;
    struct err err = { 0 };

    open_small(&s);
    run_behind(&s);
    behind.ops.attention = slow_attention; /* in every part but `prepare` */
    s.r.timings = &t;
    (void)clock_gettime(CLOCK_MONOTONIC, &from);
    CHECK_OK(fill_run(s.model, &s.r, &s.a, &got, &err), err);
    (void)clock_gettime(CLOCK_MONOTONIC, &to);
    wall = 1e3 * (double)(to.tv_sec - from.tv_sec) + 1e-6 * (double)(to.tv_nsec - from.tv_nsec);
    sum = t.text + t.encode + t.prepare + t.steps + t.decode;
    CHECK_INT(t.n_steps, 2);
    CHECK(t.text >= 0.2 && t.encode >= 0.2 && t.prepare > 0 && t.steps >= 0.8 && t.decode >= 0.2);
    CHECK(t.slowest_step >= t.steps / 2 && t.slowest_step < t.steps);
    CHECK(sum <= wall && sum > 0.5 * wall);
    s.r.steps = 4; /* refused: nothing was done */
    CHECK(fill_run(s.model, &s.r, &s.a, &got, NULL) == ERR_TOO_LARGE);
    CHECK_INT(t.n_steps, 2);
    run_normally(&s);
    close_scene(&s);
}

TEST(fill__refuses_requests_that_cannot_be)
{
    struct scene s;
    struct fill_request good;
    struct image got;

    open_small(&s);
    good = s.r;
#define REFUSED(code, ...)                                          \
    do {                                                            \
        s.r = good;                                                 \
        __VA_ARGS__;                                                \
        CHECK(fill_run(s.model, &s.r, &s.a, &got, NULL) == (code)); \
    } while (0)
    REFUSED(ERR_INVALID, s.r.width = 15);
    REFUSED(ERR_INVALID, s.r.height = FILL_MAX_SIDE + 1);
    REFUSED(ERR_INVALID, s.r.steps = 0);
    REFUSED(ERR_INVALID, s.r.t5_len = 0);
    REFUSED(ERR_INVALID, s.r.guidance = NAN);
    REFUSED(ERR_INVALID, s.r.guidance = -1);
    REFUSED(ERR_INVALID, s.r.strength = 0);
    REFUSED(ERR_INVALID, s.r.strength = 1.5);
    REFUSED(ERR_PROMPT, s.r.prompt = "\xff");
    REFUSED(ERR_TOO_LARGE, s.r.width = 80, s.r.height = 80);
    REFUSED(ERR_TOO_LARGE, s.r.steps = 4);
    REFUSED(ERR_TOO_LARGE, s.r.t5_len = 65);
#undef REFUSED
    close_scene(&s);
}

TEST(fill__nan_is_an_error_not_a_picture)
{
    static float noise[16 * 4 * 4];
    struct scene s;
    struct image got;

    open_small(&s);
    noise[7] = NAN;
    s.r.noise = noise;
    CHECK(fill_run(s.model, &s.r, &s.a, &got, NULL) == ERR_NUMERIC);
    noise[7] = 3e38f; /* overflows on its way */
    noise[8] = -3e38f;
    CHECK(fill_run(s.model, &s.r, &s.a, &got, NULL) == ERR_NUMERIC);
    s.be->runs_behind = true;
    CHECK(fill_run(s.model, &s.r, &s.a, &got, NULL) == ERR_NUMERIC);
    close_scene(&s);
}

/* A folder with the set's transformer and VAE, and its golden embeddings for a prompt pack. */
static void make_pack_folder(char *dir, size_t size)
{
    static const char *const files[][2] = {
        { "small/models/flux1-fill-F32.gguf", "pack/flux1-fill-F32.gguf" },
        { "small/models/ae.safetensors", "pack/ae.safetensors" },
        { "small/cases/text.safetensors", "pack/prompts.safetensors" },
    };

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *from = realpath(golden("%s", files[i][0]), NULL);
        const char *to = temp_path(files[i][1]);

        CHECK(from && symlink(from, to) == 0);
        (void)snprintf(dir, size, "%.*s", (int)(strrchr(to, '/') - to), to);
        free(from);
    }
}

TEST(fill__a_prompt_pack_stands_in_for_the_text_encoders)
{
    struct fill_options o = { .max_width = 64, .max_height = 64, .max_steps = 4, .max_t5_len = 16 };
    struct fill_dump dump;
    struct image got;
    struct scene s;
    struct err err = { 0 };
    char dir[512];

    open_scene(&s, "small", 0, &rig_kinds[1]);
    CHECK_STR(fill_model_prompt(s.model, "anything"), "anything");
    fill_model_close(s.model);
    s.model = NULL;
    make_pack_folder(dir, sizeof dir);
    CHECK_OK(fill_model_open(dir, &o, s.be, &s.model, &err), err);
    CHECK_STR(fill_model_prompt(s.model, s.r.prompt), s.r.prompt);
    CHECK(fill_model_prompt(s.model, "something else") != NULL && strcmp(fill_model_prompt(s.model, "something else"), "something else") != 0);
    dump = (struct fill_dump){ compare, &s };
    s.r.dump = &dump;
    CHECK_OK(fill_run(s.model, &s.r, &s.a, &got, &err), err);
    check_picture(&got, &s.expected, 1, 0);
    s.r.prompt = ""; /* another prompt of the pack */
    s.r.dump = NULL;
    CHECK_OK(fill_run(s.model, &s.r, &s.a, &got, &err), err);
    s.r.prompt = "something else";
    CHECK(fill_run(s.model, &s.r, &s.a, &got, NULL) == ERR_PROMPT);
    close_scene(&s);
}

TEST(fill__a_folder_without_a_model_is_reported)
{
    const struct fill_options good = { .max_width = 32, .max_height = 32, .max_steps = 2, .max_t5_len = 16 };
    struct fill_options o = good;
    struct fill_model *m = NULL;
    struct backend *be = NULL;
    struct err err = { 0 };

    CHECK_OK(backend_open(BACKEND_PLAIN, PRECISION_F32, &be, &err), err);
    CHECK(fill_model_open("/tmp/there-is-no-such-folder", &o, be, &m, &err) == ERR_NOT_FOUND);
    o.max_steps = 0;
    CHECK(fill_model_open("/tmp", &o, be, &m, NULL) == ERR_INVALID);
    o = good;
    o.max_width = 15;
    CHECK(fill_model_open("/tmp", &o, be, &m, NULL) == ERR_INVALID);
    CHECK(m == NULL);
    backend_close(be);
}
