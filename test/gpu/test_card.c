/*
 * A card of 24 GB, of which 21.7 GiB are usable on an L4; on a larger card, ballast takes the rest. The model of 12
 * billion parameters as Q8_0 is opened as in the service, from files of random weights in memory, and must not take
 * more memory than was planned.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "models/bench/bench_text.h"
#include "models/fill/fill.h"
#include "models/fill/fill_model.h"
#include "models/file/gguf.h"
#include "models/bench/random_text.h"
#include "test/gpu/device.h"
#include "test/support/bytes.h"
#include "test/support/golden.h"

enum { SIDE = 1024, STEPS = 28 /* as in the service */, N_TXT = 512, ALIGNMENT = 32, DIR_SIZE = 512 };
static const size_t card = (size_t)(21.7 * 0x1p30), address_space = (size_t)4 << 30;
static const double gib = 0x1p30;

/* --- files in memory, to which links in a folder lead --- */

static const char *in_dir(const char *dir, const char *name)
{
    static char path[DIR_SIZE + 64];

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void link_golden(const char *dir, const char *name)
{
    char *real = realpath(golden("small/models/%s", name), NULL);

    CHECK(real && symlink(real, in_dir(dir, name)) == 0);
    free(real);
}

static size_t padded(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Writes a GGUF without metadata up to the start of its data; returns the size of the data. */
static size_t put_directory(struct bytes *b, const struct random_model *m)
{
    size_t at = 0;

    bytes_text(b, "GGUF");
    bytes_u32(b, 3);
    bytes_u64(b, (uint64_t)m->n_entries);
    bytes_u64(b, 0);
    for (int i = 0; i < m->n_entries; i++) {
        const struct tensor_entry *e = &m->entries[i];

        bytes_u64(b, e->name.len);
        bytes_put(b, e->name.ptr, e->name.len);
        bytes_u32(b, (uint32_t)e->n_dims);
        for (int d = e->n_dims - 1; d >= 0; d--)
            bytes_u64(b, (uint64_t)e->dims[d]);
        bytes_u32(b, gguf_tensor_type(e->dtype));
        bytes_u64(b, at);
        at += padded(e->bytes);
    }
    bytes_pad(b, ALIGNMENT);
    return at;
}

static bool write_at(int fd, const char *p, size_t n, size_t at)
{
    while (n > 0) {
        ssize_t done = pwrite(fd, p, n, (off_t)at);

        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
        at += (size_t)done;
    }
    return true;
}

/* Without `filled` the data is a hole, which takes no memory: enough for planning. The file exists until its descriptor
 * and all its mappings are closed. */
static int make_file(const struct random_model *m, bool filled, const char *dir, const char *name)
{
    struct bytes head = { 0 };
    size_t data_bytes = put_directory(&head, m), *at = malloc((size_t)m->n_entries * sizeof *at), end = head.len;
    int fd = memfd_create(name, MFD_CLOEXEC), n_bad = 0;
    char path[32];

    CHECK(at && fd >= 0 && ftruncate(fd, (off_t)(head.len + data_bytes)) == 0);
    for (int i = 0; i < m->n_entries; i++) {
        at[i] = end;
        end += padded(m->entries[i].bytes);
    }
    n_bad += !write_at(fd, head.ptr, head.len, 0);
#pragma omp parallel for schedule(dynamic) reduction(+ : n_bad)
    for (int i = 0; i < m->n_entries; i++)
        if (filled)
            n_bad += !write_at(fd, m->entries[i].data, m->entries[i].bytes, at[i]);
    CHECK_INT(n_bad, 0);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    CHECK(symlink(path, in_dir(dir, name)) == 0);
    free(at);
    bytes_done(&head);
    return fd;
}

/* The rows of CLIP's table: as many as tokens in the tokenizers, which are those of the golden set. */
static int64_t clip_rows(struct arena *a)
{
    const struct tensor_entry *e;
    struct tensor_file f;
    struct err err = { 0 };

    CHECK_OK(tensor_file_open(golden("small/models/text_encoder/model.safetensors"), a, &f, &err), err);
    e = tensor_file_find(&f, SPAN("embeddings.token_embedding.weight"));
    CHECK(e != NULL);
    return e->dims[0];
}

enum part { TRANSFORMER, VAE, T5, CLIP, N_PARTS };
static const struct {
    const char *name; /* its kind is recognised by its contents */
    enum dtype type;
} parts[N_PARTS] = {
    [TRANSFORMER] = { "flux1-fill-Q8_0.gguf", DT_Q8_0 },
    [VAE] = { "ae.safetensors", DT_BF16 },
    [T5] = { "t5-encoder-Q8_0.gguf", DT_Q8_0 },
    [CLIP] = { "clip_l.safetensors", DT_BF16 },
};

static enum err_code add_part(struct random_model *m, enum part part, int64_t n_clip_rows, struct err *err)
{
    switch (part) {
    case TRANSFORMER:
        return flux_describe(&flux_fill_config, random_model_add, m, err);
    case VAE:
        return random_model_add_vae(m, random_model_vae_widths, err);
    case T5:
        return random_model_add_t5(m, BENCH_T5_LAYERS, err);
    default:
        return random_model_add_clip(m, n_clip_rows, BENCH_CLIP_LAYERS, err);
    }
}

struct model {
    char dir[DIR_SIZE];
    int files[N_PARTS];
    size_t missing; /* bytes by which the real CLIP is larger */
};

static void make_model(struct model *model, const char *name, bool filled)
{
    struct arena a;
    struct err err = { 0 };
    int64_t n_clip_rows;

    temp_folder(name, model->dir, DIR_SIZE);
    CHECK_OK(arena_init(&a, address_space, &err), err);
    n_clip_rows = clip_rows(&a);
    for (int i = 0; i < N_PARTS; i++) {
        struct arena_mark mark = arena_mark(&a);
        struct random_model m;

        CHECK_OK(random_model_init(&m, &a, parts[i].type, RANDOM_WEIGHTS_SHARED, &err), err);
        CHECK_OK(add_part(&m, (enum part)i, n_clip_rows, &err), err);
        model->files[i] = make_file(&m, filled, model->dir, parts[i].name);
        arena_rewind(&a, mark);
    }
    arena_done(&a);
    link_golden(model->dir, "tokenizer");
    link_golden(model->dir, "tokenizer_2");
    model->missing = (size_t)(CLIP_VOCAB - n_clip_rows) * CLIP_WIDTH * 2;
}

static void drop_model(const struct model *model)
{
    for (int i = 0; i < N_PARTS; i++)
        CHECK(close(model->files[i]) == 0);
}

/* --- planning --- */

static struct fill_memory plan(const char *dir, const struct fill_options *o, struct backend *be)
{
    struct fill_memory planned = { 0 };
    struct err err = { 0 };

    CHECK_OK(fill_memory_estimate(dir, o, be, &planned, &err), err);
    (void)printf("  planned: %.2f GiB of weights and %.2f GiB for pictures, %.2f GiB are free for them\n",
                 (double)planned.weights / gib, (double)planned.request / gib, (double)planned.available / gib);
    CHECK(planned.weights + planned.request <= planned.available);
    return planned;
}

static struct backend *open_small_card(size_t bytes)
{
    struct backend *be = NULL;
    struct err err = { 0 };
    size_t left;

    device_close(); /* frees the weights that other tests have loaded */
    device_ballast(bytes);
    left = device_free_bytes();
    CHECK(left < bytes + ((size_t)2 << 20) && left + ((size_t)64 << 20) > bytes);
    CHECK_OK(backend_open(BACKEND_CUDA, PRECISION_DEFAULT, &be, &err), err);
    be->warn = device_say;
    backend_use_library(be, LIBRARY_NEVER); /* as on an L4, which loads no cuDNN */
    return be;
}

static const struct fill_options real_options = {
    .max_width = SIDE, .max_height = SIDE, .max_steps = STEPS, .max_t5_len = N_TXT, .weights = WEIGHTS_STREAM
};

TEST(gpu_card__the_real_model_is_planned_for_21_7_gib)
{
    struct fill_memory planned;
    struct model model;
    struct backend *be;

    make_model(&model, "card-plan", false);
    be = open_small_card(card - model.missing);
    planned = plan(model.dir, &real_options, be);
    CHECK(planned.weights > (int64_t)17e9); /* 11.9, 4.7, 0.12 billion values, and the autoencoder's 0.08 */
    backend_close(be);
    drop_model(&model);
}

/* --- running --- */

static void make_pictures(struct arena *a, struct image *ret_picture, struct image *ret_mask)
{
    struct err err = { 0 };

    CHECK_OK(image_new(a, 64, 64, 3, ret_picture, &err), err);
    CHECK_OK(image_new(a, 64, 64, 1, ret_mask, &err), err);
    for (size_t i = 0; i < image_bytes(ret_picture); i++)
        ret_picture->pixels[i] = (uint8_t)(128 + 127 * sample_uniform());
    memset(ret_mask->pixels, 0, image_bytes(ret_mask));
    memset(ret_mask->pixels, 255, image_bytes(ret_mask) / 2);
}

/* Paints the largest picture for which the model was opened, in one step; a value that is not finite is an error. */
static void paint(struct fill_model *m, const struct fill_options *o)
{
    struct image picture, mask, got;
    struct fill_request r = { FILL_REQUEST_DEFAULTS, .picture = &picture, .mask = &mask, .prompt = "a quiet lawn" };
    struct err err = { 0 };
    struct arena a;
    bool varies = false;

    CHECK_OK(arena_init(&a, address_space, &err), err);
    make_pictures(&a, &picture, &mask);
    r.width = o->max_width;
    r.height = o->max_height;
    r.steps = 1;
    r.t5_len = o->max_t5_len;
    CHECK_OK(fill_run(m, &r, &a, &got, &err), err);
    CHECK(got.width == r.width && got.height == r.height);
    for (size_t i = 1; i < image_bytes(&got); i++)
        varies = varies || got.pixels[i] != got.pixels[0];
    CHECK(varies);
    arena_done(&a);
}

/*
 * Opens a folder on a card with this much free memory, and paints. The plan includes the backend's own needs: the ring,
 * the driver's rounding, and kernels.
 */
static void check_fits(const char *dir, const struct fill_options *o, size_t bytes)
{
    struct backend *be = open_small_card(bytes);
    size_t before = device_free_bytes();
    int64_t own = (int64_t)before - backend_memory(be).available, used;
    struct fill_memory planned = plan(dir, o, be);
    struct fill_model *m = NULL;
    struct err err = { 0 };

    CHECK_OK(fill_model_open(dir, o, be, &m, &err), err);
    (void)printf("  loaded: %.2f GiB are left%s\n", (double)device_free_bytes() / gib,
                 m->flux.modulation_in_file ? ", the modulation stays in its file" : "");
    paint(m, o);
    used = (int64_t)before - (int64_t)device_free_bytes();
    (void)printf("  used after a job: %.2f GiB of %.2f\n", (double)used / gib,
                 (double)(planned.weights + planned.request + own) / gib);
    CHECK(used >= planned.weights && used <= planned.weights + planned.request + own);
    fill_model_close(m);
    backend_close(be);
}

TEST(gpu_card__a_small_model_takes_no_more_than_was_planned)
{
    const struct fill_options o = {
        .max_width = 32, .max_height = 32, .max_steps = 2, .max_t5_len = 16, .weights = WEIGHTS_STREAM
    };
    char dir[DIR_SIZE];
    const char *vae = golden("gguf/models/ae.safetensors");

    (void)snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(vae, '/') - vae), vae);
    check_fits(dir, &o, (size_t)2 << 30);
}

TEST(gpu_card__the_real_model_fits_a_card_of_21_7_gib_in_stream)
{
    struct model model;

    if (device_is_dry())
        SKIP("4608 tokens take hours on a stand-in, and the model 17 GiB");
    device_close();
    device_ballast(card); /* before 17 GiB of files are made */
    make_model(&model, "card", true);
    check_fits(model.dir, &real_options, card - model.missing);
    drop_model(&model);
}
