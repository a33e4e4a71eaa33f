/* cmd_fill - the bare pipeline of models/fill/fill.h: no crop, no blending, no clean-up of the mask. */
#include <string.h>

#include "kernels/base/file.h"
#include "models/file/tensor_file.h"
#include "models/fill/fill.h"
#include "models/flux/latents.h"
#include "models/image/mode_resize.h"
#include "models/codec/png.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/cli/input.h"
#include "worker/cli/output.h"
#include "worker/cli/progress.h"

enum { DUMP_MAX = FILL_MAX_STEPS + 8 /* tensors */ };
static const size_t arena_bytes = (size_t)16 << 30;                 /* address space of each arena */
static const char *const posteriors[] = { "mean", "sample", NULL }; /* in the order of the enum */

struct args {
    const char *models, *image, *mask, *prompt, *noise, *transformer, *dump, *out;
    struct cli_texts lora_texts;
    int width, height, steps, t5_len, posterior;
    double guidance, strength;
    uint64_t seed;
    bool timings;
    struct cli_backend backend;
};

/* The tensors of --dump: copies in an arena of their own, because the arena of the request is rewound. */
struct gathered {
    struct arena arena;
    struct tensor_write tensors[DUMP_MAX];
    int n;
};

struct run {
    struct arena arena;
    struct backend *be;
    struct fill_model *model;
    struct fill_loras loras;
    struct gathered dump;
    struct fill_timings timings;
    struct progress progress;
};

static void ask_loading(void *ctx, int64_t *done, int64_t *total)
{
    struct fill_loading *loading = ctx;

    *done = loading->loaded_bytes;
    *total = loading->total_bytes;
}

static enum err_code open_model(struct run *r, const struct args *a, struct err *err)
{
    struct fill_loading loading = { 0 };
    struct fill_notes notes = { 0 };
    struct progress_watch w = { .progress = &r->progress, .what = "load", .ask = ask_loading, .ctx = &loading };
    const struct fill_options o = { .transformer = a->transformer,
                                    .loras = r->loras.items,
                                    .n_loras = r->loras.n,
                                    .max_width = a->width,
                                    .max_height = a->height,
                                    .max_steps = a->steps,
                                    .max_t5_len = a->t5_len,
                                    .loading = &loading,
                                    .notes = &notes };
    enum err_code rc;

    progress_watch_begin(&w);
    rc = fill_model_open(a->models, &o, r->be, &r->model, err);
    progress_watch_end(&w, rc == ERR_OK);
    for (int i = 0; !rc && i < notes.n; i++)
        cli_warn(notes.text[i]);
    return rc;
}

/* --- the request --- */

/* The mask in the size of the request. It is resized in the mode of its file, as Pillow does, and only then becomes
 * plain pixels. */
static enum err_code read_mask(struct run *r, const struct args *a, struct image *ret, struct err *err)
{
    int width = a->width - a->width % TOKEN_SIDE, height = a->height - a->height % TOKEN_SIDE;
    struct image_notes notes = { 0 };
    struct image mask;

    TRY(input_picture(a->mask, &r->arena, &mask, &notes, err));
    return image_resize_in_mode(&r->arena, &mask, &notes, width, height, ret, err);
}

/* The tensor `noise`, f32 [1, 16, h, w], in torch's layout. */
static enum err_code read_noise(struct run *r, const struct args *a, const float **ret, struct err *err)
{
    int64_t h = a->height / TOKEN_SIDE * 2, w = a->width / TOKEN_SIDE * 2;
    const struct tensor_entry *e;
    struct tensor_file f;
    float *values = NULL;

    TRY(tensor_file_open(a->noise, &r->arena, &f, err));
    e = tensor_file_find(&f, SPAN("noise"));
    if (!e)
        return err_set(err, ERR_NOT_FOUND, "%s: there is no tensor 'noise'", a->noise);
    if (e->dtype != DT_F32 || e->n_dims != 4 || e->dims[0] != 1 || e->dims[1] != VAE_LATENT || e->dims[2] != h ||
        e->dims[3] != w)
        return err_set(err, ERR_INVALID, "%s: 'noise' is not F32 [1, %d, %lld, %lld], which --width and --height need",
                       a->noise, VAE_LATENT, (long long)h, (long long)w);
    TRY(input_floats(e, &r->arena, &values, err));
    *ret = values;
    return ERR_OK;
}

static void show_progress(void *ctx, enum fill_phase phase, int done, int total)
{
    progress_show(ctx, fill_phase_name(phase), phase == FILL_PHASE_DENOISE ? "steps" : NULL, done, total);
}

static enum err_code gather(void *ctx, const char *name, int n_dims, const int64_t *dims, const float *data,
                            struct err *err)
{
    struct gathered *g = ctx;
    struct tensor_write *t = &g->tensors[g->n];
    size_t n = 1;
    char *own_name = NULL;
    float *own = NULL;

    if (g->n == DUMP_MAX)
        return err_set(err, ERR_INTERNAL, "--dump: more than %d tensors", DUMP_MAX);
    for (int i = 0; i < n_dims; i++)
        n *= (size_t)dims[i];
    TRY(arena_alloc(&g->arena, n, sizeof *own, &own, err));
    TRY(arena_printf(&g->arena, &own_name, err, "%s", name));
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

    TRY(png_write(&r->arena, painted, &png, err));
    TRY(file_write(a->out, png, err));
    output_wrote(a->out, painted->width, painted->height);
    if (!a->dump)
        return ERR_OK;
    TRY(safetensors_write(a->dump, r->dump.tensors, r->dump.n, NULL, 0, err));
    output_wrote(a->dump, 0, 0);
    return ERR_OK;
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

    TRY(arena_init(&r->arena, arena_bytes, err));
    TRY(arena_init(&r->dump.arena, arena_bytes, err));
    /* the inputs first: a wrong one is reported before minutes of loading */
    TRY(input_picture(a->image, &r->arena, &picture, NULL, err));
    TRY(read_mask(r, a, &mask, err));
    if (a->noise)
        TRY(read_noise(r, a, &request.noise, err));
    TRY(fill_loras_choose(&r->loras, a->lora_texts.items, a->lora_texts.n, NULL, err));
    TRY(cli_backend_open(&a->backend, &r->be, err));
    TRY(open_model(r, a, err));
    TRY(fill_run(r->model, &request, &r->arena, &painted, err));
    return write_results(r, a, &painted, err);
}

static void print_timings(const struct fill_timings *t)
{
    (void)fprintf(stderr,
                  "text %.1f ms, encode %.1f ms, prepare %.1f ms, %d steps %.1f ms (slowest %.1f ms), decode %.1f ms\n",
                  t->text, t->encode, t->prepare, t->n_steps, t->steps, t->slowest_step, t->decode);
}

static void close_run(struct run *r)
{
    fill_model_close(r->model);
    backend_close(r->be);
    arena_done(&r->dump.arena);
    arena_done(&r->arena);
}

int cmd_fill(int argc, char **argv)
{
    static struct run r; /* large: the table of tensors for --dump */
    struct args a = {
        .width = 1024, .height = 1024, .steps = 50, .guidance = 30, .strength = 1, .t5_len = T5_MAX_TOKENS
    };
    const struct cli_option options[] = {
        { "--models", CLI_TEXT, &a.models, "DIR", .help = "folder with the model files", .required = true },
        { "--transformer", CLI_TEXT, &a.transformer, "FILE",
          .help = "which transformer of the folder; default: the largest that fits into memory" },
        { "--lora", CLI_TEXTS, &a.lora_texts, "FILE[:SCALE]", .help = CLI_LORA_HELP },
        { "--image", CLI_TEXT, &a.image, "FILE", .help = "the picture: PNG, JPEG or WebP of any size",
          .required = true },
        { "--mask", CLI_TEXT, &a.mask, "FILE",
          .help = "the mask: PNG, JPEG or WebP of any size; what is white is painted anew", .required = true },
        { "--prompt", CLI_TEXT, &a.prompt, "TEXT", .help = "what the painted area shall show", .required = true },
        { "--out", CLI_OUT, &a.out, "FILE", .help = "the result, a PNG", .required = true },
        { "--width", CLI_INT, &a.width, "W",
          .help = "width of the result in pixels, rounded down to a multiple of 16; default 1024", .min = FILL_MIN_SIDE,
          .max = FILL_MAX_SIDE },
        { "--height", CLI_INT, &a.height, "H",
          .help = "height of the result in pixels, rounded down to a multiple of 16; default 1024",
          .min = FILL_MIN_SIDE, .max = FILL_MAX_SIDE },
        { "--steps", CLI_INT, &a.steps, "N", .help = "denoising steps; default 50", .min = 1, .max = FILL_MAX_STEPS },
        { "--guidance", CLI_NUMBER, &a.guidance, "G", .help = "guidance scale; default 30", .min = 0,
          .max = FILL_MAX_GUIDANCE },
        { "--strength", CLI_NUMBER, &a.strength, "S",
          .help = "1: start from noise alone (default); below 1: from a mixture with the picture", .min = 0, .max = 1 },
        { "--seed", CLI_SEED, &a.seed, "S", .help = "seed of the noise, as for torch's CPU generator; default 0" },
        { "--noise", CLI_TEXT, &a.noise, "FILE",
          .help = "a safetensors file with the noise, f32 [1, 16, h, w], to use instead of drawing it" },
        { "--posterior", CLI_CHOICE, &a.posterior, .choices = posteriors,
          .help = "which latents to take from the VAE; default mean; sample draws in the order of diffusers" },
        { "--t5-len", CLI_INT, &a.t5_len, "N", .help = "text tokens of T5, padding included; default 512", .min = 1,
          .max = T5_MAX_TOKENS },
        { "--dump", CLI_OUT, &a.dump, "FILE", .help = "a safetensors file for the intermediate results" },
        { "--timings", CLI_FLAG, &a.timings, .help = "print how long each part took, by the device's clock" },
        CLI_BACKEND_OPTIONS(a.backend),
    };
    const struct cli_command command = { "fill",
                                         "runs the bare FLUX.1-Fill pipeline: picture, mask and prompt to a picture",
                                         options, .n_options = CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);
    struct err err = { 0 };
    enum err_code rc;

    if (status != CLI_RUN)
        return status;
    r = (struct run){ 0 };
    progress_init_stderr(&r.progress);
    rc = fill(&r, &a, &err);
    progress_done(&r.progress);
    status = rc ? cli_fail(&command, &err) : CLI_DONE;
    if (!rc && a.timings)
        print_timings(&r.timings);
    close_run(&r);
    return status;
}
