#include "models/bench.h"

#include <math.h>
#include <string.h>

#include "kernels/bench_product.h"
#include "kernels/devarena.h"
#include "kernels/ops.h"
#include "models/flux.h"
#include "models/random_model.h"
#include "models/vae.h"

enum { SLAB_BYTES = 64 << 20, SCRATCH_BYTES = 256 << 20 };
static const size_t address_space = (size_t)64 << 30; /* for host memory; only what is touched is taken */

static const struct flux_config flux_fill = {
    .in_channels = 384,
    .out_channels = 64,
    .hidden = 3072,
    .mlp = 12288,
    .context = 4096,
    .pooled = 768,
    .head_dim = 128,
    .n_heads = 24,
    .n_double = 19,
    .n_single = 38,
    .guidance = true,
};
static const int64_t vae_widths[4] = { 128, 256, 512, 512 };

/* A model of random weights and the arenas it runs in. */
struct rig {
    const struct bench_options *o;
    struct arena arena, scratch;
    struct devarena weights, job_mem, step_mem;
    struct random_model made_up;
    struct tensor_file file;
    struct weight_set set;
    struct weight_loader loader;
};

static enum err_code rig_open(struct rig *r, const struct bench_options *o, bool share, struct err *err)
{
    enum err_code rc;

    *r = (struct rig){ .o = o };
    r->loader = (struct weight_loader){ .set = &r->set, .be = o->be, .mem = &r->weights, .scratch = &r->scratch };
    rc = arena_init(&r->arena, address_space, err);
    if (!rc)
        rc = arena_init(&r->scratch, SCRATCH_BYTES, err);
    if (!rc)
        rc = devarena_init(&r->weights, o->be, 0, SLAB_BYTES, err);
    return rc ? rc : random_model_init(&r->made_up, &r->arena, o->quant, share, err);
}

static void rig_close(struct rig *r)
{
    devarena_done(&r->step_mem);
    devarena_done(&r->job_mem);
    devarena_done(&r->weights);
    arena_done(&r->scratch);
    arena_done(&r->arena);
}

/* A tensor of the job with some values in it. */
static enum err_code make_input(struct rig *r, struct tensor *t, int n_dims, const int64_t *dims, struct err *err)
{
    int64_t count = 1;
    float *values = NULL;
    struct arena_mark mark = arena_mark(&r->arena);
    void *data = NULL;
    enum err_code rc;

    for (int i = 0; i < n_dims; i++)
        count *= dims[i];
    rc = devarena_alloc(&r->job_mem, (size_t)count * sizeof(float), &data, err);
    if (!rc)
        rc = arena_alloc(&r->arena, (size_t)count, sizeof *values, &values, err);
    for (int64_t i = 0; i < count && !rc; i++)
        values[i] = sinf((float)(i % 10007));
    if (!rc) {
        *t = tensor_make(DT_F32, n_dims, dims, data);
        rc = op_upload(r->o->be, t, values, err);
    }
    arena_rewind(&r->arena, mark);
    return rc;
}

static void keep_best(struct bench_figure *f, double start)
{
    double seconds = bench_clock() - start;

    if (f->seconds == 0 || seconds < f->seconds)
        f->seconds = seconds;
}

/* --- the transformer --- */

struct flux_rig {
    struct rig rig;
    struct flux flux;
    struct flux_job job;
    struct tensor cond, prompt_embeds, pooled, latents, velocity;
    struct flux_stream stream;
    double load_seconds;
};

static enum err_code load_flux(struct flux_rig *r, const struct flux_config *config, struct err *err)
{
    struct backend *be = r->rig.o->be;
    enum err_code rc = flux_describe(config, random_model_add, &r->rig.made_up, err);
    double begin;

    if (!rc)
        rc = random_model_finish(&r->rig.made_up, &r->rig.file, err);
    if (!rc)
        rc = flux_weight_set(&r->rig.set, &r->rig.file, 1, err);
    if (rc)
        return rc;
    backend_expect_weights(be, r->rig.o->weights, tensor_file_expanded_bytes(&r->rig.file));
    begin = bench_clock();
    rc = flux_load(&r->flux, &r->rig.loader, &r->rig.arena, err);
    if (!rc)
        rc = be->ops->sync(be, err);
    r->load_seconds = bench_clock() - begin;
    return rc;
}

static enum err_code make_flux_inputs(struct flux_rig *r, struct err *err)
{
    const struct flux_config *c = &r->flux.config;
    int64_t n_img = (int64_t)(r->rig.o->width / 16) * (r->rig.o->height / 16), n_txt = r->rig.o->n_txt;
    enum err_code rc = make_input(&r->rig, &r->cond, 2, (int64_t[]){ n_img, c->in_channels - c->out_channels }, err);

    if (!rc)
        rc = make_input(&r->rig, &r->prompt_embeds, 2, (int64_t[]){ n_txt, c->context }, err);
    if (!rc)
        rc = make_input(&r->rig, &r->pooled, 1, (int64_t[]){ c->pooled }, err);
    if (!rc)
        rc = make_input(&r->rig, &r->latents, 2, (int64_t[]){ n_img, c->out_channels }, err);
    return rc ? rc : make_input(&r->rig, &r->velocity, 2, (int64_t[]){ n_img, c->out_channels }, err);
}

/* Ready to run a step or a block. */
static enum err_code open_flux(struct flux_rig *r, const struct bench_options *o, const struct flux_config *config,
                               bool share, struct err *err)
{
    static const float sigmas[] = { 1.0f };
    struct flux_inputs in = {
        .grid_rows = o->height / 16,
        .grid_cols = o->width / 16,
        .cond = &r->cond,
        .prompt_embeds = &r->prompt_embeds,
        .pooled = &r->pooled,
        .n_steps = 1,
        .sigmas = sigmas,
        .guidance = 30,
    };
    int64_t n = (int64_t)in.grid_rows * in.grid_cols + o->n_txt;
    size_t job_bytes = 0, step_bytes = 0, more = (size_t)(n * (2 * config->hidden + config->context)) * sizeof(float);
    enum err_code rc;

    memset(r, 0, sizeof *r);
    rc = rig_open(&r->rig, o, share, err);
    if (!rc)
        rc = load_flux(r, config, err);
    if (!rc)
        rc = flux_measure(&r->flux, in.grid_rows, in.grid_cols, o->n_txt, 1, &r->rig.scratch, &job_bytes, &step_bytes,
                          err);
    if (!rc)
        rc = devarena_init(&r->rig.job_mem, o->be, job_bytes + more + (1 << 20), 0, err);
    if (!rc)
        rc = devarena_init(&r->rig.step_mem, o->be, step_bytes, 0, err);
    if (!rc)
        rc = make_flux_inputs(r, err);
    if (!rc)
        rc = flux_prepare(&r->flux, &in, &r->rig.job_mem, &r->rig.step_mem, &r->rig.scratch, &r->job, err);
    return rc ? rc : flux_stream_alloc(&r->flux, &r->job, &r->rig.job_mem, &r->stream, err);
}

/* Both kinds of block have as many weights: qkv, proj and two of the MLP. */
static double block_flop(const struct flux_config *c, double n)
{
    double d = (double)c->hidden, mlp = (double)c->mlp;

    return 2 * n * (4 * d * d + 2 * d * mlp) + 4 * n * n * d;
}

/* The stream's values do not matter for the time, but must stay finite: they begin anew. */
static enum err_code time_block(struct flux_rig *r, int block, struct bench_figure *f, struct err *err)
{
    struct backend *be = r->rig.o->be;
    struct tensor first = tensor_row_view(&r->stream.img, 0, r->job.n_img);
    struct tensor start = tensor_col_view(&first, 0, r->flux.config.out_channels);
    enum err_code rc = op_copy(be, &start, &r->latents, err);
    double begin;

    if (!rc)
        rc = be->ops->sync(be, err);
    begin = bench_clock();
    if (!rc)
        rc = flux_run_block(&r->flux, &r->job, 0, block, &r->stream, &r->rig.step_mem, err);
    if (!rc)
        rc = be->ops->sync(be, err);
    keep_best(f, begin);
    return rc;
}

enum err_code bench_blocks(const struct bench_options *o, struct bench_blocks *ret, struct err *err)
{
    struct flux_config config = flux_fill;
    struct bench_blocks b = { 0 };
    struct bench_product *product = NULL;
    struct flux_rig r;
    int64_t n_columns = 4 * config.hidden + 2 * config.mlp;
    enum err_code rc;

    config.n_double = config.n_single = 1;
    rc = open_flux(&r, o, &config, false, err);
    if (rc)
        goto out;
    b.double_block.flop = b.single_block.flop = block_flop(&config, (double)(r.job.n_txt + r.job.n_img));
    b.product.flop = 2.0 * (double)(r.job.n_txt + r.job.n_img) * (double)n_columns * (double)config.hidden;
    if (strcmp(o->be->name, "cpu") == 0)
        rc = bench_product_open(o->be->act, r.job.n_txt + r.job.n_img, n_columns, config.hidden, &product, err);
    b.product.seconds = product ? INFINITY : 0;
    for (int i = 0; i < o->repeats && !rc; i++) {
        if (product)
            rc = bench_product_run(product, &b.product.seconds, err);
        if (!rc)
            rc = time_block(&r, 0, &b.double_block, err);
        if (!rc)
            rc = time_block(&r, 1, &b.single_block, err);
    }
    if (!rc)
        *ret = b;
out:
    bench_product_close(product);
    rig_close(&r.rig);
    return rc;
}

/* A product large enough to reach the backend's best, with weights that need no expanding. */
static enum err_code time_product(struct flux_rig *r, struct bench_figure *f, struct err *err)
{
    struct backend *be = r->rig.o->be;
    bool on_device = !be->in_place;
    int64_t rows = on_device ? 8192 : 2048, width = on_device ? 8192 : 4096;
    struct random_model made_up;
    struct tensor_file file;
    struct tensor_entry *e;
    struct devarena mem = { 0 };
    struct tensor x, y;
    struct weight host, w;
    enum err_code rc = random_model_init(&made_up, &r->rig.arena, be->act, false, err);

    if (!rc)
        rc = random_model_add(&made_up, "product", 2, (int64_t[]){ width, width }, err);
    if (!rc)
        rc = random_model_finish(&made_up, &file, err);
    if (!rc)
        rc = devarena_init(&mem, be, (size_t)(rows * width) * 8, 0, err);
    if (!rc)
        rc = devarena_2d(&mem, be->act, rows, width, &x, err);
    if (!rc)
        rc = devarena_2d(&mem, be->act, rows, width, &y, err);
    if (rc)
        goto out;
    e = &made_up.entries[0];
    host = (struct weight){ .dtype = e->dtype, .rows = width, .cols = width, .data = e->data };
    rc = be->ops->weight_load(be, &host, &w, err);
    f->flop = 2.0 * (double)rows * (double)width * (double)width;
    for (int i = 0; i < 2 * r->rig.o->repeats && !rc; i++) {
        double begin;

        rc = be->ops->sync(be, err);
        begin = bench_clock();
        if (!rc)
            rc = op_linear(be, &y, &x, &w, NULL, ACT_NONE, err);
        if (!rc)
            rc = be->ops->sync(be, err);
        keep_best(f, begin);
    }
out:
    devarena_done(&mem);
    return rc;
}

enum err_code bench_step(const struct bench_options *o, struct bench_step *ret, struct err *err)
{
    const struct flux_config *c = &flux_fill;
    struct bench_step b = { 0 };
    struct flux_rig r;
    enum err_code rc = open_flux(&r, o, c, true, err);

    if (!rc)
        rc = time_product(&r, &b.product, err);
    if (rc)
        goto out;
    b.step.flop = (c->n_double + c->n_single) * block_flop(c, (double)(r.job.n_txt + r.job.n_img)) +
                  2.0 * (double)r.job.n_img * (double)(c->hidden * (c->in_channels + c->out_channels));
    for (int i = 0; i < o->repeats && !rc; i++) {
        double begin = bench_clock();

        rc = flux_step(&r.flux, &r.job, 0, &r.latents, &r.velocity, NULL, &r.rig.step_mem, err);
        if (!rc)
            rc = o->be->ops->sync(o->be, err);
        keep_best(&b.step, begin);
    }
    for (int i = 0; i < r.rig.file.n_entries; i++)
        b.weight_bytes += r.rig.file.entries[i].bytes;
    b.load.seconds = r.load_seconds;
    b.device_bytes = (size_t)backend_memory(o->be).used;
    b.job_bytes = r.rig.job_mem.peak;
    b.step_bytes = r.rig.step_mem.peak;
    if (!rc)
        *ret = b;
out:
    rig_close(&r.rig);
    return rc;
}

/* --- the autoencoder --- */

enum err_code bench_vae(const struct bench_options *o, struct bench_vae *ret, struct err *err)
{
    int64_t height = o->height, width = o->width, h = height / VAE_SCALE, w = width / VAE_SCALE;
    struct bench_vae b = { 0 };
    struct tensor rgb, z, moments;
    struct vae vae;
    struct rig r;
    enum err_code rc = rig_open(&r, o, false, err);

    if (!rc)
        rc = random_model_add_vae(&r.made_up, vae_widths, err);
    if (!rc)
        rc = random_model_finish(&r.made_up, &r.file, err);
    if (!rc)
        rc = vae_weight_set(&r.set, &r.file, 1, err);
    if (!rc)
        rc = vae_load(&vae, &r.loader, err);
    if (!rc)
        rc = vae_measure(&vae, height, width, &b.step_bytes, err);
    if (!rc)
        rc = devarena_init(&r.step_mem, o->be, b.step_bytes, 0, err);
    if (!rc)
        rc = devarena_init(&r.job_mem, o->be, (size_t)(4 * height * width + 64 * h * w) * sizeof(float) + 4096, 0, err);
    if (!rc)
        rc = make_input(&r, &rgb, 3, (int64_t[]){ height, width, 3 }, err);
    if (!rc)
        rc = make_input(&r, &z, 3, (int64_t[]){ h, w, VAE_LATENT }, err);
    if (!rc)
        rc = make_input(&r, &moments, 3, (int64_t[]){ h, w, VAE_MOMENTS }, err);
    for (int i = 0; i < o->repeats && !rc; i++) {
        double begin = bench_clock();

        rc = vae_encode(&vae, &rgb, &moments, &r.step_mem, err);
        if (!rc)
            rc = o->be->ops->sync(o->be, err);
        keep_best(&b.encode, begin);
        begin = bench_clock();
        if (!rc)
            rc = vae_decode(&vae, &z, &rgb, &r.step_mem, err);
        if (!rc)
            rc = o->be->ops->sync(o->be, err);
        keep_best(&b.decode, begin);
    }
    if (!rc)
        *ret = b;
    rig_close(&r);
    return rc;
}
