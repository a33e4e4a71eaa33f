#include "test/support/scenes/score_latents.h"

#include <string.h>

#include "kernels/ops.h"
#include "models/file/tensor_file.h"
#include "models/vae/pixels.h"

enum { SLAB_BYTES = 16 << 20 };
static const size_t host_bytes = (size_t)256 << 20, device_bytes = (size_t)1 << 30;

enum err_code score_encoder_open(struct score_encoder *e, const char *path, struct err *err)
{
    struct weight_set set = { 0 };
    struct weight_loader loader = { .set = &set, .mem = &e->weights };
    struct tensor_file file;
    struct arena scratch;
    enum err_code rc;

    *e = (struct score_encoder){ 0 };
    TRY(backend_open(BACKEND_CPU, PRECISION_F32, &e->be, err));
    TRY(arena_init(&e->arena, host_bytes, err));
    TRY(devarena_init(&e->weights, e->be, 0, SLAB_BYTES, err));
    TRY(devarena_init(&e->memory, e->be, device_bytes, 0, err));
    TRY(tensor_file_open(path, &e->arena, &file, err));
    TRY(vae_weight_set(&set, &file, 1, err));
    TRY(arena_init(&scratch, host_bytes, err));
    loader.be = e->be;
    loader.scratch = &scratch;
    rc = vae_load(&e->vae, &loader, err);
    arena_done(&scratch);
    return rc;
}

void score_encoder_close(struct score_encoder *e)
{
    devarena_done(&e->memory);
    devarena_done(&e->weights);
    arena_done(&e->arena);
    backend_close(e->be);
}

static enum err_code encode(struct score_encoder *e, const struct image *rgb, float *pixels, float *moments,
                            struct err *err)
{
    int64_t h = rgb->height, w = rgb->width;
    struct tensor in, out;

    pixels_to_vae(rgb, pixels);
    TRY(devarena_3d(&e->memory, DT_F32, h, w, 3, &in, err));
    TRY(devarena_3d(&e->memory, DT_F32, h / VAE_SCALE, w / VAE_SCALE, VAE_MOMENTS, &out, err));
    TRY(op_upload(e->be, &in, pixels, err));
    TRY(vae_encode(&e->vae, &in, &out, &e->memory, err));
    return op_download(e->be, moments, &out, err);
}

enum err_code score_encode(struct score_encoder *e, struct arena *a, const struct image *rgb,
                           struct score_features *ret, struct err *err)
{
    size_t n = (size_t)(rgb->height / VAE_SCALE) * (size_t)(rgb->width / VAE_SCALE), mark = devarena_mark(&e->memory);
    float *pixels, *moments, *values;
    enum err_code rc;

    TRY(arena_alloc(a, image_bytes(rgb), sizeof *pixels, &pixels, err));
    TRY(arena_alloc(a, n * VAE_MOMENTS, sizeof *moments, &moments, err));
    TRY(arena_alloc(a, n * VAE_LATENT, sizeof *values, &values, err));
    rc = encode(e, rgb, pixels, moments, err);
    devarena_rewind(&e->memory, mark);
    for (size_t i = 0; i < n && !rc; i++)
        memcpy(values + i * VAE_LATENT, moments + i * VAE_MOMENTS, VAE_LATENT * sizeof *values);
    *ret = (struct score_features){ .columns = rgb->width / VAE_SCALE,
                                    .rows = rgb->height / VAE_SCALE,
                                    .dims = VAE_LATENT,
                                    .values = values,
                                    .cell = VAE_SCALE };
    return rc;
}
