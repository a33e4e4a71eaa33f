/* cmd_vae - one half of the autoencoder: a picture to its latents, or latents to a picture. */
#include <string.h>

#include "kernels/base/file.h"
#include "kernels/ops.h"
#include "models/image/decode.h"
#include "models/image/png.h"
#include "models/flux/latents.h"
#include "models/fill/model_folder.h"
#include "models/vae/pixels.h"
#include "models/vae/vae.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"

enum { SLAB_BYTES = 16 << 20, ENCODE = 0, DECODE = 1 };
static const size_t arena_bytes = (size_t)16 << 30; /* address space */
static const float logvar_min = -30, logvar_max = 20;
static const char *const actions[] = { "encode", "decode", NULL };

struct args {
    const char *models, *in, *out, *f32;
    int action;
    struct cli_backend backend;
};

struct run {
    struct arena arena, scratch; /* host */
    struct backend *be;
    struct devarena weights, ends, mem; /* ends: input and output */
    struct vae vae;
};

static enum err_code load(struct run *r, const struct args *a, struct err *err)
{
    const struct model_folder folder = { .dir = a->models };
    struct weight_set set;
    struct weight_loader l = { .set = &set, .mem = &r->weights, .scratch = &r->scratch };
    struct shards shards;
    enum err_code rc = cli_backend_open(&a->backend, &r->be, err);

    l.be = r->be;
    if (!rc)
        rc = devarena_init(&r->weights, r->be, 0, SLAB_BYTES, err);
    if (!rc)
        rc = devarena_init(&r->ends, r->be, 0, SLAB_BYTES, err);
    if (!rc)
        rc = model_folder_open(&folder, MODEL_VAE, &r->arena, &shards, err);
    if (!rc)
        rc = vae_weight_set(&set, shards.files, shards.n_files, err);
    return rc ? rc : vae_load(&r->vae, &l, err);
}

static enum err_code floats(struct run *r, int64_t n, float **ret, struct err *err)
{
    return arena_alloc(&r->arena, (size_t)n, sizeof **ret, ret, err);
}

/* Backend memory for a picture of h x w latents: the input with its values, the output, and what the network takes. */
static enum err_code prepare(struct run *r, int64_t h, int64_t w, struct tensor *in, const float *values,
                             struct tensor *out, struct err *err)
{
    size_t bytes = 0;
    enum err_code rc = vae_measure(&r->vae, h * VAE_SCALE, w * VAE_SCALE, &bytes, err);

    if (!rc)
        rc = devarena_init(&r->mem, r->be, bytes, 0, err);
    if (!rc)
        rc = devarena_3d(&r->ends, DT_F32, in->dims[0], in->dims[1], in->dims[2], in, err);
    if (!rc)
        rc = devarena_3d(&r->ends, DT_F32, out->dims[0], out->dims[1], out->dims[2], out, err);
    return rc ? rc : op_upload(r->be, in, values, err);
}

/* --- encode --- */

static enum err_code read_picture(struct run *r, const struct args *a, struct image *ret, struct err *err)
{
    struct span file;
    enum err_code rc = file_read(a->in, IMAGE_MAX_FILE_BYTES, &r->arena, &file, err);

    if (!rc) {
        rc = image_decode(&r->arena, file, IMAGE_ALPHA_DROP, ret, NULL, err);
        if (rc)
            (void)err_prefix(err, "%s", a->in);
    }
    if (!rc)
        rc = image_to_rgb(&r->arena, ret, ret, err);
    if (!rc && (ret->width % VAE_SCALE || ret->height % VAE_SCALE))
        rc = err_set(err, ERR_INVALID, "%s: %d x %d pixels, both must be multiples of %d", a->in, ret->width,
                     ret->height, VAE_SCALE);
    return rc;
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
    enum err_code rc = floats(r, VAE_LATENT * h * w, &mean, err);

    if (!rc)
        rc = floats(r, VAE_LATENT * h * w, &logvar, err);
    if (rc)
        return rc;
    split_moments(moments, h * w, mean, logvar);
    return safetensors_write(a->out,
                             (struct tensor_write[]){ { "mean", DT_F32, 3, { VAE_LATENT, h, w }, mean },
                                                      { "logvar", DT_F32, 3, { VAE_LATENT, h, w }, logvar } },
                             2, NULL, 0, err);
}

static enum err_code encode(struct run *r, const struct args *a, struct err *err)
{
    struct tensor rgb, moments;
    struct image picture;
    float *values = NULL, *host = NULL;
    int64_t h = 0, w = 0;
    enum err_code rc = read_picture(r, a, &picture, err);

    if (!rc) {
        h = picture.height / VAE_SCALE;
        w = picture.width / VAE_SCALE;
        rc = floats(r, (int64_t)image_bytes(&picture), &values, err);
    }
    if (!rc)
        rc = floats(r, h * w * VAE_MOMENTS, &host, err);
    if (!rc)
        rc = load(r, a, err);
    if (rc)
        return rc;
    pixels_to_vae(&picture, values);
    rgb = tensor_3d(DT_F32, picture.height, picture.width, 3, NULL);
    moments = tensor_3d(DT_F32, h, w, VAE_MOMENTS, NULL);
    rc = prepare(r, h, w, &rgb, values, &moments, err);
    if (!rc)
        rc = vae_encode(&r->vae, &rgb, &moments, &r->mem, err);
    if (!rc)
        rc = op_download(r->be, host, &moments, err);
    return rc ? rc : write_moments(r, a, host, h, w, err);
}

/* --- decode --- */

/* `z` f32 [1, 16, h, w] as [h, w, 16] */
static enum err_code read_latents(struct run *r, const struct args *a, float **ret, int64_t *h, int64_t *w,
                                  struct err *err)
{
    const struct tensor_entry *e;
    struct tensor_file f;
    float *chw = NULL;
    enum err_code rc = tensor_file_open(a->in, &r->arena, &f, err);

    if (rc)
        return rc;
    e = tensor_file_find(&f, SPAN("z"));
    if (!e)
        return err_set(err, ERR_NOT_FOUND, "%s: there is no tensor 'z'", a->in);
    if (e->dtype != DT_F32 || e->n_dims != 4 || e->dims[0] != 1 || e->dims[1] != VAE_LATENT || e->dims[2] < 1 ||
        e->dims[3] < 1 || e->dims[2] > IMAGE_MAX_SIDE / VAE_SCALE || e->dims[3] > IMAGE_MAX_SIDE / VAE_SCALE)
        return err_set(err, ERR_INVALID, "%s: 'z' is not F32 [1, %d, h, w] with sides of up to %d", a->in, VAE_LATENT,
                       IMAGE_MAX_SIDE / VAE_SCALE);
    *h = e->dims[2];
    *w = e->dims[3];
    rc = floats(r, VAE_LATENT * *h * *w, &chw, err);
    if (!rc)
        rc = floats(r, VAE_LATENT * *h * *w, ret, err);
    if (rc)
        return rc;
    memcpy(chw, e->data, e->bytes); /* the file promises no alignment */
    latents_from_chw(chw, *h, *w, *ret);
    return ERR_OK;
}

static enum err_code write_f32(struct run *r, const struct args *a, const float *rgb, int64_t height, int64_t width,
                               struct err *err)
{
    float *chw = NULL;
    enum err_code rc = floats(r, 3 * height * width, &chw, err);

    if (rc)
        return rc;
    for (int64_t i = 0; i < height * width; i++)
        for (int64_t c = 0; c < 3; c++)
            chw[c * height * width + i] = rgb[3 * i + c];
    return safetensors_write(a->f32, &(struct tensor_write){ "decoded", DT_F32, 3, { 3, height, width }, chw }, 1, NULL,
                             0, err);
}

static enum err_code write_picture(struct run *r, const struct args *a, float *rgb, int64_t height, int64_t width,
                                   struct err *err)
{
    struct image picture;
    struct span png;
    enum err_code rc = image_new(&r->arena, (int)width, (int)height, 3, &picture, err);

    if (rc)
        return rc;
    pixels_from_vae(rgb, height * width * 3);
    pixels_to_bytes(rgb, height * width * 3, picture.pixels);
    rc = png_write(&r->arena, &picture, &png, err);
    return rc ? rc : file_write(a->out, png, err);
}

static enum err_code decode(struct run *r, const struct args *a, struct err *err)
{
    float *values = NULL, *host = NULL;
    int64_t h = 0, w = 0, height, width;
    struct tensor z, rgb;
    enum err_code rc = read_latents(r, a, &values, &h, &w, err);

    height = h * VAE_SCALE;
    width = w * VAE_SCALE;
    if (!rc)
        rc = floats(r, height * width * 3, &host, err);
    if (!rc)
        rc = load(r, a, err);
    if (rc)
        return rc;
    z = tensor_3d(DT_F32, h, w, VAE_LATENT, NULL);
    rgb = tensor_3d(DT_F32, height, width, 3, NULL);
    rc = prepare(r, h, w, &z, values, &rgb, err);
    if (!rc)
        rc = vae_decode(&r->vae, &z, &rgb, &r->mem, err);
    if (!rc)
        rc = op_download(r->be, host, &rgb, err);
    if (!rc && a->f32)
        rc = write_f32(r, a, host, height, width, err);
    return rc ? rc : write_picture(r, a, host, height, width, err);
}

int cmd_vae(int argc, char **argv)
{
    struct args a = { 0 };
    const struct cli_option options[] = {
        { "encode|decode", CLI_CHOICE, &a.action, .choices = actions, .required = true,
          .help = "a picture to mean and logvar [16,h,w]; or z [1,16,h,w] to a picture" },
        { "FILE", CLI_TEXT, &a.in, .help = "PNG or JPEG to encode; safetensors to decode", .required = true },
        { "--models", CLI_TEXT, &a.models, "DIR", .help = "folder with the model files", .required = true },
        { "--out", CLI_OUT, &a.out, "F", .help = "safetensors; or the PNG of a decoded picture", .required = true },
        { "--f32", CLI_OUT, &a.f32, "F", .help = "with decode: safetensors with decoded f32 [3,H,W]" },
        CLI_BACKEND_OPTIONS(a.backend),
    };
    const struct cli_command command = { "vae", "one half of the autoencoder", options,
                                         .n_options = CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);
    struct run r = { 0 };
    struct err err = { 0 };
    enum err_code rc;

    if (status != CLI_RUN)
        return status;
    rc = arena_init(&r.arena, arena_bytes, &err);
    if (!rc)
        rc = arena_init(&r.scratch, arena_bytes, &err);
    if (!rc)
        rc = a.action == ENCODE ? encode(&r, &a, &err) : decode(&r, &a, &err);
    status = rc ? cli_fail("vae", &err) : CLI_DONE;
    devarena_done(&r.mem);
    devarena_done(&r.ends);
    devarena_done(&r.weights);
    backend_close(r.be);
    arena_done(&r.scratch);
    arena_done(&r.arena);
    return status;
}
