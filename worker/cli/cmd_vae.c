/* cmd_vae - one half of the autoencoder: a picture to its latents, or latents to a picture. */
#include "kernels/base/file.h"
#include "kernels/ops.h"
#include "models/fill/model_folder.h"
#include "models/flux/latents.h"
#include "models/codec/png.h"
#include "models/vae/pixels.h"
#include "models/vae/vae.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/cli/input.h"
#include "worker/cli/output.h"
#include "worker/cli/progress.h"

enum { SLAB_BYTES = 16 << 20, ENCODE = 0, DECODE = 1 };
static const size_t arena_bytes = (size_t)16 << 30;   /* address space of each arena */
static const float logvar_min = -30, logvar_max = 20; /* as diffusers clamps it */
static const char *const actions[] = { [ENCODE] = "encode", [DECODE] = "decode", NULL };

struct args {
    const char *models, *in, *out, *f32;
    int action;
    struct cli_backend backend;
};

struct run {
    struct arena arena, scratch; /* host */
    struct backend *be;
    struct devarena weights, ends, step_mem; /* ends: input and output */
    struct vae vae;
    struct progress progress;
};

static enum err_code load(struct run *r, const struct args *a, struct err *err)
{
    const struct model_folder folder = { .dir = a->models };
    struct weight_set set;
    struct weight_loader l = {
        .set = &set, .mem = &r->weights, .scratch = &r->scratch, .made = &r->arena, .prove = true
    };
    struct shards shards;

    progress_show(&r->progress, "load", NULL, 0, 1);
    TRY(cli_backend_open(&a->backend, &r->be, err));
    l.be = r->be;
    TRY(devarena_init(&r->weights, r->be, 0, SLAB_BYTES, err));
    TRY(devarena_init(&r->ends, r->be, 0, SLAB_BYTES, err));
    TRY(model_folder_open(&folder, MODEL_VAE, &r->arena, &shards, err));
    TRY(vae_weight_set(&set, shards.files, shards.n_files, err));
    TRY(vae_load(&r->vae, &l, err));
    progress_show(&r->progress, "load", NULL, 1, 1);
    return ERR_OK;
}

static enum err_code floats(struct run *r, int64_t n, float **ret, struct err *err)
{
    return arena_alloc(&r->arena, (size_t)n, sizeof **ret, ret, err);
}

/* Memory of the backend for a picture of h x w latents: the input, with its values, the output and the scratch of the
 * network. `in` and `out` have their shapes already. */
static enum err_code prepare(struct run *r, int64_t h, int64_t w, struct tensor *in, const float *values,
                             struct tensor *out, struct err *err)
{
    size_t bytes = 0;

    TRY(vae_measure(&r->vae, h * VAE_SCALE, w * VAE_SCALE, &bytes, err));
    TRY(devarena_init(&r->step_mem, r->be, bytes, 0, err));
    TRY(devarena_3d(&r->ends, DT_F32, in->dims[0], in->dims[1], in->dims[2], in, err));
    TRY(devarena_3d(&r->ends, DT_F32, out->dims[0], out->dims[1], out->dims[2], out, err));
    return op_upload(r->be, in, values, err);
}

/* --- encode --- */

static enum err_code read_picture(struct run *r, const struct args *a, struct image *ret, struct err *err)
{
    TRY(input_picture(a->in, &r->arena, ret, NULL, err));
    TRY(image_to_rgb(&r->arena, ret, ret, err));
    if (ret->width % VAE_SCALE || ret->height % VAE_SCALE)
        return err_set(err, ERR_INVALID, "%s: %d x %d pixels, but both sides must be multiples of %d", a->in,
                       ret->width, ret->height, VAE_SCALE);
    return ERR_OK;
}

/* moments [h, w, 32] -> mean, clamped logvar, each [16, h, w] */
static void split_moments(const float *moments, int64_t n, float *mean, float *logvar)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < VAE_LATENT; c++) {
            float v = moments[i * VAE_MOMENTS + VAE_LATENT + c];

            mean[c * n + i] = moments[i * VAE_MOMENTS + c];
            logvar[c * n + i] = v < logvar_min ? logvar_min : v > logvar_max ? logvar_max : v; /* NaN stays */
        }
}

static enum err_code write_moments(struct run *r, const struct args *a, const float *moments, int64_t h, int64_t w,
                                   struct err *err)
{
    float *mean = NULL, *logvar = NULL;

    TRY(floats(r, VAE_LATENT * h * w, &mean, err));
    TRY(floats(r, VAE_LATENT * h * w, &logvar, err));
    split_moments(moments, h * w, mean, logvar);
    TRY(safetensors_write(a->out,
                          (struct tensor_write[]){ { "mean", DT_F32, 3, { VAE_LATENT, h, w }, mean },
                                                   { "logvar", DT_F32, 3, { VAE_LATENT, h, w }, logvar } },
                          2, NULL, 0, err));
    output_wrote(a->out, 0, 0);
    return ERR_OK;
}

static enum err_code encode(struct run *r, const struct args *a, struct err *err)
{
    struct tensor rgb, moments;
    struct image picture;
    float *values = NULL, *host = NULL;
    int64_t h, w;

    TRY(read_picture(r, a, &picture, err));
    h = picture.height / VAE_SCALE;
    w = picture.width / VAE_SCALE;
    TRY(floats(r, (int64_t)image_bytes(&picture), &values, err));
    TRY(floats(r, h * w * VAE_MOMENTS, &host, err));
    TRY(load(r, a, err));
    pixels_to_vae(&picture, values);
    rgb = tensor_3d(DT_F32, picture.height, picture.width, 3, NULL);
    moments = tensor_3d(DT_F32, h, w, VAE_MOMENTS, NULL);
    TRY(prepare(r, h, w, &rgb, values, &moments, err));
    progress_show(&r->progress, "encode", NULL, 0, 1);
    TRY(vae_encode(&r->vae, &rgb, &moments, &r->step_mem, err));
    TRY(op_download(r->be, host, &moments, err));
    progress_show(&r->progress, "encode", NULL, 1, 1);
    return write_moments(r, a, host, h, w, err);
}

/* --- decode --- */

/* The tensor `z`, f32 [1, 16, h, w], rearranged to [h, w, 16]. */
static enum err_code read_latents(struct run *r, const struct args *a, float **ret, int64_t *h, int64_t *w,
                                  struct err *err)
{
    const struct tensor_entry *e;
    struct tensor_file f;
    float *chw = NULL;

    TRY(tensor_file_open(a->in, &r->arena, &f, err));
    e = tensor_file_find(&f, SPAN("z"));
    if (!e)
        return err_set(err, ERR_NOT_FOUND, "%s: there is no tensor 'z'", a->in);
    if (e->dtype != DT_F32 || e->n_dims != 4 || e->dims[0] != 1 || e->dims[1] != VAE_LATENT || e->dims[2] < 1 ||
        e->dims[3] < 1 || e->dims[2] > IMAGE_MAX_SIDE / VAE_SCALE || e->dims[3] > IMAGE_MAX_SIDE / VAE_SCALE)
        return err_set(err, ERR_INVALID, "%s: 'z' is not F32 [1, %d, h, w] with sides of up to %d", a->in, VAE_LATENT,
                       IMAGE_MAX_SIDE / VAE_SCALE);
    *h = e->dims[2];
    *w = e->dims[3];
    TRY(input_floats(e, &r->arena, &chw, err));
    TRY(floats(r, VAE_LATENT * *h * *w, ret, err));
    latents_from_chw(chw, *h, *w, *ret);
    return ERR_OK;
}

static enum err_code write_f32(struct run *r, const struct args *a, const float *rgb, int64_t height, int64_t width,
                               struct err *err)
{
    float *chw = NULL;

    TRY(floats(r, 3 * height * width, &chw, err));
    for (int64_t i = 0; i < height * width; i++)
        for (int64_t c = 0; c < 3; c++)
            chw[c * height * width + i] = rgb[3 * i + c];
    TRY(safetensors_write(a->f32, &(struct tensor_write){ "decoded", DT_F32, 3, { 3, height, width }, chw }, 1, NULL, 0,
                          err));
    output_wrote(a->f32, 0, 0);
    return ERR_OK;
}

static enum err_code write_picture(struct run *r, const struct args *a, float *rgb, int64_t height, int64_t width,
                                   struct err *err)
{
    struct image picture;
    struct span png;

    TRY(image_new(&r->arena, (int)width, (int)height, 3, &picture, err));
    pixels_from_vae(rgb, height * width * 3);
    pixels_to_bytes(rgb, height * width * 3, picture.pixels);
    TRY(png_write(&r->arena, &picture, &png, err));
    TRY(file_write(a->out, png, err));
    output_wrote(a->out, (int)width, (int)height);
    return ERR_OK;
}

static enum err_code decode(struct run *r, const struct args *a, struct err *err)
{
    float *values = NULL, *host = NULL;
    int64_t h = 0, w = 0, height, width;
    struct tensor z, rgb;

    TRY(read_latents(r, a, &values, &h, &w, err));
    height = h * VAE_SCALE;
    width = w * VAE_SCALE;
    TRY(floats(r, height * width * 3, &host, err));
    TRY(load(r, a, err));
    z = tensor_3d(DT_F32, h, w, VAE_LATENT, NULL);
    rgb = tensor_3d(DT_F32, height, width, 3, NULL);
    TRY(prepare(r, h, w, &z, values, &rgb, err));
    progress_show(&r->progress, "decode", NULL, 0, 1);
    TRY(vae_decode(&r->vae, &z, &rgb, &r->step_mem, err));
    TRY(op_download(r->be, host, &rgb, err));
    progress_show(&r->progress, "decode", NULL, 1, 1);
    if (a->f32)
        TRY(write_f32(r, a, host, height, width, err));
    return write_picture(r, a, host, height, width, err);
}

static enum err_code vae(struct run *r, const struct args *a, struct err *err)
{
    TRY(arena_init(&r->arena, arena_bytes, err));
    TRY(arena_init(&r->scratch, arena_bytes, err));
    return a->action == ENCODE ? encode(r, a, err) : decode(r, a, err);
}

static void close_run(struct run *r)
{
    progress_done(&r->progress);
    devarena_done(&r->step_mem);
    devarena_done(&r->ends);
    devarena_done(&r->weights);
    backend_close(r->be);
    arena_done(&r->scratch);
    arena_done(&r->arena);
}

int cmd_vae(int argc, char **argv)
{
    struct args a = { 0 };
    const struct cli_option options[] = {
        { "encode|decode", CLI_CHOICE, &a.action, .choices = actions, .required = true,
          .help = "encode: a picture to mean and logvar [16, h, w]; decode: z [1, 16, h, w] to a picture" },
        { "FILE", CLI_TEXT, &a.in, .help = "encode: the picture, PNG, JPEG or WebP; decode: a safetensors file with z",
          .required = true },
        { "--models", CLI_TEXT, &a.models, "DIR", .help = "folder with the model files", .required = true },
        { "--out", CLI_OUT, &a.out, "FILE",
          .help = "encode: a safetensors file for mean and logvar; decode: a PNG for the picture", .required = true },
        { "--f32", CLI_OUT, &a.f32, "FILE",
          .help = "with decode: also a safetensors file for the picture before rounding, f32 [3, H, W]" },
        CLI_BACKEND_OPTIONS(a.backend),
    };
    const struct cli_command command = { "vae", "encodes a picture to latents, or decodes latents to a picture",
                                         options, .n_options = CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);
    struct run r = { 0 };
    struct err err = { 0 };

    if (status != CLI_RUN)
        return status;
    progress_init_stderr(&r.progress);
    status = vae(&r, &a, &err) ? cli_fail(&command, &err) : CLI_DONE;
    close_run(&r);
    return status;
}
