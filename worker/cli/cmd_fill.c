/* cmd_fill - the bare pipeline of MODEL.md 1 from a shell: no crop, no blending, no clean-up of the mask. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "kernels/base/file.h"
#include "models/fill/fill.h"
#include "models/image/decode.h"
#include "models/image/mode_resize.h"
#include "models/image/png.h"
#include "models/flux/latents.h"
#include "models/file/tensor_file.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/cli/progress.h"

enum { DUMP_MAX = FILL_MAX_STEPS + 8, LOADING_EVERY_MS = 100 };
static const size_t arena_bytes = (size_t)16 << 30;                 /* address space, of each arena */
static const char *const posteriors[] = { "mean", "sample", NULL }; /* in the order of the enum */

struct args {
    const char *models, *image, *mask, *prompt, *noise, *transformer, *dump, *out;
    int width, height, steps, t5_len, posterior;
    double guidance, strength;
    uint64_t seed;
    bool timings;
    struct cli_backend backend;
};

/* What --dump gathers: copies in an arena of its own, for that of the request is rewound. */
struct gathered {
    struct arena arena;
    struct tensor_write tensors[DUMP_MAX];
    int n;
};

struct run {
    struct arena arena;
    struct backend *be;
    struct fill_model *model;
    struct gathered dump;
    struct fill_timings timings;
    struct progress progress;
};

/* --- loading, watched from a second thread --- */

struct watch {
    struct fill_loading loading;
    struct progress *progress;
    pthread_t thread;
    atomic_bool stop;
    bool started;
};

static void *watch_loading(void *arg)
{
    struct watch *w = arg;

    while (!w->stop) {
        (void)nanosleep(&(struct timespec){ .tv_nsec = LOADING_EVERY_MS * 1000000L }, NULL);
        if (w->loading.loaded_bytes < w->loading.total_bytes) /* the end is told by the thread that knows it */
            progress_show(w->progress, "load", w->loading.loaded_bytes, w->loading.total_bytes);
    }
    return NULL;
}

static enum err_code open_model(struct run *r, const struct args *a, struct err *err)
{
    struct watch w = { .progress = &r->progress };
    struct fill_options o = { .transformer = a->transformer,
                              .max_width = a->width,
                              .max_height = a->height,
                              .max_steps = a->steps,
                              .max_t5_len = a->t5_len,
                              .loading = &w.loading };
    enum err_code rc;

    w.started = pthread_create(&w.thread, NULL, watch_loading, &w) == 0; /* without it, no bar */
    rc = fill_model_open(a->models, &o, r->be, &r->model, err);
    w.stop = true;
    if (w.started)
        (void)pthread_join(w.thread, NULL);
    if (!rc)
        progress_show(&r->progress, "load", 1, 1);
    return rc;
}

/* --- the request --- */

static enum err_code read_image(struct run *r, const char *path, struct image *ret, struct image_notes *ret_notes,
                                struct err *err)
{
    struct span file;
    enum err_code rc = file_read(path, IMAGE_MAX_FILE_BYTES, &r->arena, &file, err);

    if (!rc) {
        rc = image_decode(&r->arena, file, IMAGE_ALPHA_DROP, ret, ret_notes, err);
        if (rc)
            (void)err_prefix(err, "%s", path);
    }
    return rc;
}

/* In the size of the request, by the rules of its own mode, which end with its pixels. */
static enum err_code read_mask(struct run *r, const struct args *a, struct image *ret, struct err *err)
{
    int width = a->width - a->width % TOKEN_SIDE, height = a->height - a->height % TOKEN_SIDE;
    struct image_notes notes = { 0 };
    struct image mask;
    enum err_code rc = read_image(r, a->mask, &mask, &notes, err);

    return rc ? rc : image_resize_in_mode(&r->arena, &mask, &notes, width, height, ret, err);
}

/* `noise` f32 [1, 16, h, w], as torch has it. */
static enum err_code read_noise(struct run *r, const struct args *a, const float **ret, struct err *err)
{
    int64_t h = a->height / TOKEN_SIDE * 2, w = a->width / TOKEN_SIDE * 2;
    const struct tensor_entry *e;
    struct tensor_file f;
    float *values = NULL;
    enum err_code rc = tensor_file_open(a->noise, &r->arena, &f, err);

    if (rc)
        return rc;
    e = tensor_file_find(&f, SPAN("noise"));
    if (!e)
        return err_set(err, ERR_NOT_FOUND, "%s: there is no tensor 'noise'", a->noise);
    if (e->dtype != DT_F32 || e->n_dims != 4 || e->dims[0] != 1 || e->dims[1] != LATENT_CHANNELS || e->dims[2] != h ||
        e->dims[3] != w)
        return err_set(err, ERR_INVALID, "%s: 'noise' is not F32 [1, %d, %lld, %lld]", a->noise, LATENT_CHANNELS,
                       (long long)h, (long long)w);
    rc = arena_alloc(&r->arena, e->bytes, 1, &values, err);
    if (!rc)
        *ret = memcpy(values, e->data, e->bytes); /* the file promises no alignment */
    return rc;
}

static void show_progress(void *ctx, enum fill_phase phase, int done, int total)
{
    progress_show(ctx, fill_phase_name(phase), done, total);
}

static enum err_code gather(void *ctx, const char *name, int n_dims, const int64_t *dims, const float *data,
                            struct err *err)
{
    struct gathered *g = ctx;
    struct tensor_write *t = &g->tensors[g->n];
    size_t n = 1;
    char *own_name = NULL;
    float *own = NULL;
    enum err_code rc;

    if (g->n == DUMP_MAX)
        return err_set(err, ERR_INTERNAL, "dump: more than %d tensors", DUMP_MAX);
    for (int i = 0; i < n_dims; i++)
        n *= (size_t)dims[i];
    rc = arena_alloc(&g->arena, n, sizeof *own, &own, err);
    if (!rc)
        rc = arena_printf(&g->arena, &own_name, err, "%s", name);
    if (rc)
        return rc;
    *t = (struct tensor_write){
        .name = own_name, .dtype = DT_F32, .n_dims = n_dims, .data = memcpy(own, data, n * sizeof *own)
    };
    memcpy(t->dims, dims, (size_t)n_dims * sizeof *dims);
    g->n++;
    return ERR_OK;
}

static enum err_code write_results(struct run *r, const struct args *a, const struct image *painted, struct err *err)
{
    struct span png;
    enum err_code rc = png_write(&r->arena, painted, &png, err);

    if (!rc)
        rc = file_write(a->out, png, err);
    if (!rc && a->dump)
        rc = safetensors_write(a->dump, r->dump.tensors, r->dump.n, NULL, 0, err);
    return rc;
}

static enum err_code fill(struct run *r, const struct args *a, struct err *err)
{
    const struct fill_dump dump = { gather, &r->dump };
    struct image picture, mask, painted;
    struct fill_request request = {
        .picture = &picture,
        .mask = &mask,
        .prompt = a->prompt,
        .width = a->width,
        .height = a->height,
        .steps = a->steps,
        .guidance = a->guidance,
        .strength = a->strength,
        .seed = a->seed,
        .posterior = (enum fill_posterior)a->posterior,
        .t5_len = a->t5_len,
        .progress = show_progress,
        .ctx = &r->progress,
        .dump = a->dump ? &dump : NULL,
        .timings = &r->timings,
    };
    enum err_code rc = arena_init(&r->arena, arena_bytes, err);

    if (!rc)
        rc = arena_init(&r->dump.arena, arena_bytes, err);
    if (!rc) /* the inputs first: a wrong one is told before minutes of loading */
        rc = read_image(r, a->image, &picture, NULL, err);
    if (!rc)
        rc = read_mask(r, a, &mask, err);
    if (!rc && a->noise)
        rc = read_noise(r, a, &request.noise, err);
    if (!rc)
        rc = cli_backend_open(&a->backend, &r->be, err);
    if (!rc)
        rc = open_model(r, a, err);
    if (!rc)
        rc = fill_run(r->model, &request, &r->arena, &painted, err);
    return rc ? rc : write_results(r, a, &painted, err);
}

static void print_timings(const struct fill_timings *t)
{
    (void)fprintf(stderr,
                  "text %.1f ms, encode %.1f ms, prepare %.1f ms, %d steps %.1f ms (slowest %.1f ms), decode %.1f ms\n",
                  t->text, t->encode, t->prepare, t->n_steps, t->steps, t->slowest_step, t->decode);
}

int cmd_fill(int argc, char **argv)
{
    static struct run r;
    struct args a = { .width = 1024, .height = 1024, .steps = 50, .guidance = 30, .strength = 1, .t5_len = 512 };
    const struct cli_option options[] = {
        { "--models", CLI_TEXT, &a.models, "DIR", .help = "folder with the model files", .required = true },
        { "--image", CLI_TEXT, &a.image, "F", .help = "PNG or JPEG, any size", .required = true },
        { "--mask", CLI_TEXT, &a.mask, "F", .help = "PNG or JPEG, any size; white = repaint", .required = true },
        { "--prompt", CLI_TEXT, &a.prompt, "TEXT", .help = "what shall be seen", .required = true },
        { "--width", CLI_INT, &a.width, "W", .help = "pixels, floored to a multiple of 16 (1024)", .min = FILL_MIN_SIDE,
          .max = FILL_MAX_SIDE },
        { "--height", CLI_INT, &a.height, "H", .help = "likewise", .min = FILL_MIN_SIDE, .max = FILL_MAX_SIDE },
        { "--steps", CLI_INT, &a.steps, "N", .help = "denoising steps (50)", .min = 1, .max = FILL_MAX_STEPS },
        { "--guidance", CLI_NUMBER, &a.guidance, "G", .help = "distilled guidance (30)", .min = 0, .max = 1000 },
        { "--strength", CLI_NUMBER, &a.strength, "S", .help = "1: from noise; less: keep some of the picture (1)",
          .min = 0, .max = 1 },
        { "--seed", CLI_SEED, &a.seed, "S", .help = "of torch's CPU generator (0)" },
        { "--noise", CLI_TEXT, &a.noise, "F", .help = "safetensors with noise f32 [1,16,h,w], instead of drawing it" },
        { "--posterior", CLI_CHOICE, &a.posterior, .choices = posteriors,
          .help = "of the VAE (mean); sample draws in diffusers' order" },
        { "--t5-len", CLI_INT, &a.t5_len, "N", .help = "text tokens, padding included (512)", .min = 1,
          .max = FILL_MAX_T5_LEN },
        { "--transformer", CLI_TEXT, &a.transformer, "F", .help = "one file of the folder" },
        { "--dump", CLI_OUT, &a.dump, "F", .help = "safetensors with what was computed on the way" },
        { "--out", CLI_OUT, &a.out, "F.png", .help = "the picture", .required = true },
        { "--timings", CLI_FLAG, &a.timings, .help = "print how long each part took, by the device's clock" },
        CLI_BACKEND_OPTIONS(a.backend),
    };
    const struct cli_command command = { "fill", "the bare FLUX.1-Fill pipeline", options,
                                         .n_options = CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);
    struct err err = { 0 };

    if (status != CLI_RUN)
        return status;
    r = (struct run){ 0 };
    progress_init_stderr(&r.progress);
    status = fill(&r, &a, &err) ? CLI_FAILED : CLI_DONE;
    progress_done(&r.progress);
    if (status == CLI_FAILED)
        (void)cli_fail("fill", &err);
    else if (a.timings)
        print_timings(&r.timings);
    fill_model_close(r.model);
    backend_close(r.be);
    arena_done(&r.dump.arena);
    arena_done(&r.arena);
    return status;
}
