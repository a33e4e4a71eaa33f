/*
 * Whole requests on a CUDA device, by the function that the service calls: prompt, picture and mask in, picture out.
 * Results are compared with the official pipeline in f32 and with each other, and memory is counted. Prompts are ASCII
 * (unicode.c).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "models/fill/fill.h"
#include "models/fill/fill_model.h"
#include "models/fill/prompt_pack_make.h"
#include "models/fill/self_check.h"
#include "test/gpu/device.h"
#include "test/support/bytes.h"
#include "test/support/golden.h"

/* The limit of one velocity: the error of a step counts times the difference of two sigmas, and those add up to one. */
static const double limit = 2e-2;
static const enum weight_mode modes[] = { WEIGHTS_DEQUANT, WEIGHTS_STREAM };
static const size_t host_bytes = (size_t)1 << 30; /* address space */
enum { N_MODES = 2, N_REQUESTS = 50 /* or GPU_TEST_REPEATS of the environment */, DIR_SIZE = 512 };

/* --- a model with the request of an official case --- */

struct scene {
    struct arena a;
    struct backend *be;
    struct fill_model *model;
    struct tensor_file f, pictures;
    struct image picture, mask;
    struct fill_request r;
    char dir[DIR_SIZE];
};

static const char *setting(struct scene *s, const char *key, const char *otherwise)
{
    const char *value = NULL;

    if (tensor_file_metadata(&s->f, key, &s->a, &value, NULL) && !otherwise)
        test_fail(__FILE__, __LINE__, "%s: nothing says %s", s->f.path, key);
    return value ? value : otherwise;
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

static void take_picture(struct scene *s, const char *name, struct image *ret)
{
    const struct tensor_entry *e = tensor_file_find(&s->pictures, span_of(name));
    struct err err = { 0 };

    CHECK(e && e->dtype == DT_U8 && e->n_dims == 3);
    CHECK_OK(image_new(&s->a, (int)e->dims[1], (int)e->dims[0], (int)e->dims[2], ret, &err), err);
    memcpy(ret->pixels, e->data, e->bytes);
}

static void read_case(struct scene *s, const char *set, int i)
{
    const char *of = golden("%s/cases/fill_%d.safetensors", set, i),
               *pictures = golden("%s/cases/fill_%d.picture.safetensors", set, i);
    struct err err = { 0 };
    size_t n;

    CHECK_OK(tensor_file_open(of, &s->a, &s->f, &err), err);
    CHECK_OK(tensor_file_open(pictures, &s->a, &s->pictures, &err), err);
    take_picture(s, "picture", &s->picture);
    take_picture(s, "mask", &s->mask);
    s->r = (struct fill_request){
        .picture = &s->picture,
        .mask = &s->mask,
        .prompt = setting(s, "prompt", NULL),
        .width = atoi(setting(s, "width", NULL)),
        .height = atoi(setting(s, "height", NULL)),
        .steps = atoi(setting(s, "steps", NULL)),
        .guidance = atof(setting(s, "guidance", NULL)),
        .strength = atof(setting(s, "strength", "1")),
        .seed = strtoull(setting(s, "seed", "0"), NULL, 10),
        .noise = values_of(s, "noise", &n),
        .t5_len = atoi(setting(s, "t5_len", NULL)),
    };
    if (!strcmp(setting(s, "posterior", NULL), "sample"))
        s->r.posterior = FILL_POSTERIOR_SAMPLE;
}

static void open_model(struct scene *s, const char *dir, const char *transformer, enum weight_mode mode)
{
    const struct fill_options o = { .transformer = transformer,
                                    .max_width = s->r.width,
                                    .max_height = s->r.height,
                                    .max_steps = s->r.steps,
                                    .max_t5_len = s->r.t5_len,
                                    .weights = mode };
    struct err err = { 0 };

    CHECK_OK(backend_open(BACKEND_CUDA, PRECISION_DEFAULT, &s->be, &err), err);
    s->be->warn = device_say;
    CHECK_OK(fill_model_open(dir, &o, s->be, &s->model, &err), err);
}

static void close_model(struct scene *s)
{
    fill_model_close(s->model);
    backend_close(s->be);
    s->model = NULL;
    s->be = NULL;
}

static void begin_scene(struct scene *s, const char *set, int i)
{
    struct err err = { 0 };
    const char *vae = golden("%s/models/ae.safetensors", set);

    *s = (struct scene){ 0 };
    CHECK_OK(arena_init(&s->a, host_bytes, &err), err);
    (void)snprintf(s->dir, sizeof s->dir, "%.*s", (int)(strrchr(vae, '/') - vae), vae);
    read_case(s, set, i);
}

static void end_scene(struct scene *s)
{
    close_model(s);
    arena_done(&s->a);
}

static uint64_t digest(const struct image *im)
{
    uint64_t h = 14695981039346656037u;

    for (size_t i = 0; i < image_bytes(im); i++)
        h = (h ^ im->pixels[i]) * 1099511628211u;
    return h;
}

static uint64_t paint(struct scene *s)
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

/* --- the official pictures --- */

struct comparison {
    struct scene *s;
    const char *what;
    int n;
    double worst;
};

/* Compares an intermediate result with the tensor of the same name; the cases have no embeddings. */
static enum err_code compare(void *ctx, const char *name, int n_dims, const int64_t *dims, const float *data,
                             struct err *err)
{
    struct comparison *c = ctx;
    size_t n_want = 0, n = 1;
    const float *want = values_of(c->s, name, &n_want);
    char what[96];
    double rel;

    (void)err;
    for (int i = 0; i < n_dims; i++)
        n *= (size_t)dims[i];
    if (!want)
        return ERR_OK;
    (void)snprintf(what, sizeof what, "%s: %s", c->what, name);
    CHECK_INT(n, n_want);
    if (!strcmp(name, "mask"))
        CHECK(memcmp(data, want, n * sizeof *data) == 0);
    else
        device_check_values(what, data, want, n, limit);
    rel = check_rel(data, want, n);
    c->worst = rel > c->worst ? rel : c->worst;
    c->n++;
    return ERR_OK;
}

/* Runs a case, compares all intermediate results and returns the digest of the picture. */
static uint64_t check_case(const char *set, int i, enum weight_mode mode, enum library_use use)
{
    char what[64];
    struct scene s;
    struct comparison c = { &s, what, 0, 0 };
    struct fill_dump dump = { compare, &c };
    uint64_t first;

    (void)snprintf(what, sizeof what, "%s fill_%d, %s%s", set, i, mode == WEIGHTS_STREAM ? "stream" : "dequant",
                   use == LIBRARY_NEVER ? "" : ", with cuDNN");
    begin_scene(&s, set, i);
    open_model(&s, s.dir, setting(&s, "transformer", NULL), mode);
    backend_use_library(s.be, use);
    s.r.dump = &dump;
    first = paint(&s);
    (void)printf("  %s: at most %.2e\n", what, c.worst);
    CHECK(c.n >= 4); /* masked latents, mask, latents of a step, picture */
    s.r.dump = NULL;
    CHECK(paint(&s) == first);
    end_scene(&s);
    return first;
}

static void check_cases(const char *set, int first, int n)
{
    for (int i = first; i < n; i++)
        CHECK(check_case(set, i, WEIGHTS_DEQUANT, LIBRARY_NEVER) == check_case(set, i, WEIGHTS_STREAM, LIBRARY_NEVER));
}

TEST(gpu_whole__requests_of_the_small_set_give_the_official_pictures_however_weights_are_kept)
{
    check_cases("small", device_is_dry() ? 2 : 0, 3); /* the first has 512 text tokens, the second 128 */
}

TEST(gpu_whole__requests_with_t5_as_gguf_and_less_than_full_strength_give_the_official_pictures)
{
    check_cases("gguf", 0, 2);
}

/* Heads of 128, as in the real model. Where there is no cuDNN, this is the same as the test above. */
TEST(gpu_whole__requests_give_the_official_pictures_with_cudnn_too)
{
    (void)check_case("gguf", 0, WEIGHTS_DEQUANT, LIBRARY_ALWAYS);
}

/* --- memory --- */

static void open_small(struct scene *s, enum weight_mode mode)
{
    begin_scene(s, "gguf", 1);
    s->r.width = s->r.height = 32;
    s->r.steps = 2;
    s->r.t5_len = 16;
    s->r.strength = 1;
    open_model(s, s->dir, NULL, mode);
}

/*
 * Free memory is not compared during the first requests. CUDA loads a kernel at its first launch, and cuDNN its kernels
 * when it first plans and first runs, so that memory is taken once; a leak in every request shows in the later ones.
 * Our own allocations are counted from the start.
 */
enum { N_WARM_UPS = 2 };

static void check_requests(enum weight_mode mode)
{
    const char *wanted = getenv("GPU_TEST_REPEATS");
    int n = wanted ? atoi(wanted) : N_REQUESTS, allocations;
    struct scene s;
    uint64_t first;
    size_t before;

    open_small(&s, mode);
    allocations = device_allocations();
    first = paint(&s);
    for (int i = 1; i < N_WARM_UPS; i++)
        CHECK(paint(&s) == first);
    before = device_free_bytes();
    for (int i = 0; i < n; i++)
        CHECK(paint(&s) == first);
    CHECK_INT(device_allocations(), allocations);
    CHECK_INT(device_free_bytes(), before);
    end_scene(&s);
}

TEST(gpu_whole__requests_allocate_nothing_and_give_the_same_bytes_again_and_again)
{
    CHECK(device_allocations() > 0); /* the counting itself works */
    for (int m = 0; m < N_MODES; m++)
        check_requests(modes[m]);
}

TEST(gpu_whole__a_closed_model_leaves_no_memory_behind)
{
    struct scene s;
    size_t before = 0;

    for (int i = 0; i < N_WARM_UPS + 2; i++) {
        open_small(&s, WEIGHTS_STREAM);
        for (int warm_up = 0; warm_up < N_WARM_UPS; warm_up++)
            (void)paint(&s);
        end_scene(&s);
        if (i >= N_WARM_UPS)
            CHECK_INT(device_free_bytes(), before);
        before = device_free_bytes();
    }
}

/* --- folders of their own --- */

static void link_into(const char *dir, const char *from, const char *name)
{
    char to[DIR_SIZE + 64], *real = realpath(golden("gguf/models/%s", from), NULL);

    (void)snprintf(to, sizeof to, "%s/%s", dir, name);
    CHECK(real && (access(to, F_OK) == 0 || symlink(real, to) == 0));
    free(real);
}

static void write_pack(struct scene *s, const char *dir, int n_sizes)
{
    const struct pack_size size = { s->r.width, s->r.height };
    const struct pack_options o = { .dir = s->dir,
                                    .prompts = &s->r.prompt,
                                    .n_prompts = 1,
                                    .t5_len = s->r.t5_len,
                                    .sizes = &size,
                                    .n_sizes = n_sizes,
                                    .steps = s->r.steps,
                                    .guidance = (float)s->r.guidance };
    struct backend *be = NULL;
    char path[DIR_SIZE + 64];
    struct err err = { 0 };

    (void)snprintf(path, sizeof path, "%s/prompts.safetensors", dir);
    CHECK_OK(backend_open(BACKEND_CUDA, PRECISION_DEFAULT, &be, &err), err);
    CHECK_OK(prompt_pack_make(&o, be, path, &err), err);
    backend_close(be);
}

/* No table covers this schedule: the modulation's weights are read from their file when a request starts, each time
 * into the same memory. */
static void check_uncovered(struct scene *s, uint64_t other)
{
    uint64_t first;
    int allocations;
    size_t before;

    s->r.steps = 1;
    first = paint(s);
    allocations = device_allocations();
    CHECK(first != other);
    for (int i = 1; i < N_WARM_UPS; i++)
        CHECK(paint(s) == first);
    before = device_free_bytes();
    CHECK(paint(s) == first);
    CHECK_INT(device_allocations(), allocations);
    CHECK_INT(device_free_bytes(), before);
}

/* The text encoders are absent. Where the pack has tables, the modulation's weights stay in their file. */
static void check_pack(const char *name, int n_sizes, enum weight_mode mode)
{
    char dir[DIR_SIZE];
    struct scene s;
    uint64_t want;

    temp_folder(name, dir, DIR_SIZE);
    link_into(dir, "ae.safetensors", "ae.safetensors");
    link_into(dir, "flux1-fill-Q8_0.gguf", "flux1-fill-Q8_0.gguf");
    open_small(&s, mode);
    want = paint(&s);
    close_model(&s);
    write_pack(&s, dir, n_sizes);
    open_model(&s, dir, NULL, mode);
    CHECK(s.model->has_pack && !s.model->has_encoders);
    CHECK_INT(s.model->flux.modulation_in_file, n_sizes > 0);
    CHECK(paint(&s) == want);
    check_uncovered(&s, want);
    end_scene(&s);
}

TEST(gpu_whole__a_prompt_pack_gives_the_same_bytes_as_the_text_encoders)
{
    check_pack("pack", 0, WEIGHTS_DEQUANT);
}

TEST(gpu_whole__tables_of_modulations_give_the_same_bytes_as_the_weights)
{
    check_pack("tables", 1, WEIGHTS_DEQUANT);
    check_pack("tables", 1, WEIGHTS_STREAM);
}

/* --- self-check --- */

/* Sets one scale of a matrix in a single block to 16, some 30000 times what it was: the change must exceed the
 * difference in bf16 between two cards, which is large, and be no more than the proof of tensors (models/file/proof.h)
 * lets pass. */
static void damage(const char *path)
{
    struct tensor_file f;
    struct err err = { 0 };
    struct arena a;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    static const unsigned char sixteen[2] = { 0x00, 0x4C }; /* f16 */
    int64_t at;

    CHECK(fd >= 0);
    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    CHECK_OK(tensor_file_open(path, &a, &f, &err), err);
    at = (const char *)tensor_file_find(&f, SPAN("single_blocks.0.linear2.weight"))->data - f.map.ptr;
    CHECK(pwrite(fd, sixteen, sizeof sixteen, at) == sizeof sixteen && close(fd) == 0);
    arena_done(&a);
}

static void copy_transformer(struct scene *s, char path[DIR_SIZE])
{
    struct err err = { 0 };
    struct span bytes;

    CHECK_OK(file_read(golden("gguf/models/flux1-fill-Q8_0.gguf"), 32 << 20, &s->a, &bytes, &err), err);
    (void)snprintf(path, DIR_SIZE, "%s", temp_file("self-check/flux1-fill-Q8_0.gguf", bytes.ptr, bytes.len));
}

TEST(gpu_whole__the_self_check_passes_and_finds_one_damaged_scale)
{
    char dir[DIR_SIZE], weights[DIR_SIZE];
    struct self_check got = { 0 };
    struct err err = { 0 };
    struct scene s;

    begin_scene(&s, "gguf", 1);
    temp_folder("self-check", dir, DIR_SIZE);
    copy_transformer(&s, weights);
    link_into(dir, "ae.safetensors", "ae.safetensors");
    link_into(dir, "../cases/text.safetensors", "prompts.safetensors");
    open_model(&s, dir, NULL, WEIGHTS_DEQUANT);
    CHECK_OK(self_check_run(s.model, &got, &err), err);
    CHECK(!got.stored && got.worst == 0); /* the same bytes twice */
    CHECK_OK(self_check_record(s.model, &err), err);
    close_model(&s);
    open_model(&s, dir, NULL, WEIGHTS_STREAM);
    CHECK_OK(self_check_run(s.model, &got, &err), err);
    CHECK(got.stored && got.worst == 0);
    close_model(&s);
    damage(weights);
    open_model(&s, dir, NULL, WEIGHTS_DEQUANT);
    CHECK_INT(self_check_run(s.model, &got, &err), ERR_NUMERIC);
    CHECK(strstr(err.msg, "self-check: latents_0") && strstr(err.msg, "damaged"));
    end_scene(&s);
}
