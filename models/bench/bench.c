#include "models/bench/bench.h"

#include <string.h>

#include "kernels/ops.h"
#include "models/bench/bench_expanding.h"
#include "models/bench/bench_rig.h"
#include "models/vae/vae.h"

/* --- the transformer --- */

struct flux_rig {
    struct bench_rig rig;
    struct flux flux;
    struct flux_prepared job;
    struct tensor cond, prompt_embeds, pooled, latents, velocity;
    struct flux_stream stream;
    struct flux_inputs in;
    size_t before_job; /* of request_mem: the inputs, which a job finds there */
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
    enum err_code rc =
        bench_rig_input(&r->rig, &r->cond, 2, (int64_t[]){ n_img, c->in_channels - c->out_channels }, err);

    if (!rc)
        rc = bench_rig_input(&r->rig, &r->prompt_embeds, 2, (int64_t[]){ n_txt, c->context }, err);
    if (!rc)
        rc = bench_rig_input(&r->rig, &r->pooled, 1, (int64_t[]){ c->pooled }, err);
    if (!rc)
        rc = bench_rig_input(&r->rig, &r->latents, 2, (int64_t[]){ n_img, c->out_channels }, err);
    return rc ? rc : bench_rig_input(&r->rig, &r->velocity, 2, (int64_t[]){ n_img, c->out_channels }, err);
}

/* What a job does once before its steps. */
static enum err_code prepare(struct flux_rig *r, struct err *err)
{
    enum err_code rc;

    devarena_rewind(&r->rig.request_mem, r->before_job);
    rc = flux_prepare(&r->flux, &r->in, &r->rig.request_mem, &r->rig.step_mem, &r->rig.scratch, &r->job, err);
    return rc ? rc : flux_stream_alloc(&r->flux, &r->job, &r->rig.request_mem, &r->stream, err);
}

/* Ready to run a step or a block of a job of so many steps. */
static enum err_code open_flux(struct flux_rig *r, const struct bench_options *o, const struct flux_config *config,
                               int n_steps, bool share, struct err *err)
{
    static const float sigmas[BENCH_STEPS] = { 1.0f }; /* what they are does not matter for the time */
    const struct flux_inputs in = {
        .grid_rows = o->height / 16,
        .grid_cols = o->width / 16,
        .cond = &r->cond,
        .prompt_embeds = &r->prompt_embeds,
        .pooled = &r->pooled,
        .n_steps = n_steps,
        .sigmas = sigmas,
        .guidance = 30,
    };
    int64_t n = (int64_t)in.grid_rows * in.grid_cols + o->n_txt;
    size_t job_bytes = 0, step_bytes = 0, more = (size_t)(n * (2 * config->hidden + config->context)) * sizeof(float);
    enum err_code rc;

    *r = (struct flux_rig){ .in = in };
    rc = bench_rig_open(&r->rig, o, share, err);
    if (!rc)
        rc = load_flux(r, config, err);
    if (!rc)
        rc = flux_measure(&r->flux, in.grid_rows, in.grid_cols, o->n_txt, n_steps, &r->rig.scratch, &job_bytes,
                          &step_bytes, err);
    if (!rc)
        rc = devarena_init(&r->rig.request_mem, o->be, job_bytes + more + (1 << 20), 0, err);
    if (!rc)
        rc = devarena_init(&r->rig.step_mem, o->be, step_bytes, 0, err);
    if (!rc)
        rc = make_flux_inputs(r, err);
    if (rc)
        return rc;
    r->before_job = devarena_mark(&r->rig.request_mem);
    return prepare(r, err);
}

/* Both kinds of block have as many weights: qkv, proj and two of the MLP. */
static double products_flop(const struct flux_config *c, double n)
{
    double d = (double)c->hidden, mlp = (double)c->mlp;

    return 2 * n * (4 * d * d + 2 * d * mlp);
}

static double attention_flop(const struct flux_config *c, double n)
{
    return 4 * n * n * (double)c->hidden;
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
        rc = flux_enter_block(&r->flux, &r->job, 0, block, &r->stream, err);
    if (!rc)
        rc = be->ops->sync(be, err);
    begin = bench_clock();
    if (!rc)
        rc = flux_run_block(&r->flux, &r->job, 0, block, &r->stream, &r->rig.step_mem, err);
    if (!rc)
        rc = be->ops->sync(be, err);
    bench_keep_since(r->rig.o, f, begin);
    return rc;
}

static enum err_code time_product(const struct bench_options *o, struct bench_product *product, struct bench_figure *f,
                                  struct err *err)
{
    double seconds = 0;
    enum err_code rc = bench_product_run(product, &seconds, err);

    if (!rc)
        bench_keep(o, f, seconds);
    return rc;
}

/* Both blocks by turns, which nobody keeps. */
static enum err_code warm_up(struct flux_rig *r, struct err *err)
{
    struct bench_figure nobody = { 0 };
    double begin = bench_clock();
    enum err_code rc = ERR_OK;

    for (int i = 0; !rc && bench_clock() - begin < r->rig.o->warm_up_s; i++)
        rc = time_block(r, i % 2, &nobody, err);
    return rc;
}

enum err_code bench_blocks(const struct bench_options *o, struct bench_blocks *ret, struct err *err)
{
    struct flux_config config = random_model_flux_fill;
    struct bench_blocks b = { 0 };
    struct bench_product *product = NULL;
    struct flux_rig r;
    int64_t n_columns = 4 * config.hidden + 2 * config.mlp;
    enum err_code rc;
    double n;

    config.n_double = config.n_single = 1;
    rc = open_flux(&r, o, &config, 1, false, err);
    if (rc)
        goto out;
    n = (double)(r.job.n_txt + r.job.n_img);
    b.double_block.flop = b.single_block.flop = products_flop(&config, n) + attention_flop(&config, n);
    b.product.flop = 2 * n * (double)n_columns * (double)config.hidden;
    if (strcmp(o->be->name, "cpu") == 0)
        rc = bench_product_open(o->be, r.job.n_txt + r.job.n_img, n_columns, config.hidden, &product, err);
    if (!rc)
        rc = warm_up(&r, err);
    for (int i = 0; i < o->repeats && !rc; i++) {
        if (product)
            rc = time_product(o, product, &b.product, err);
        if (!rc)
            rc = time_block(&r, 0, &b.double_block, err);
        if (!rc)
            rc = time_block(&r, 1, &b.single_block, err);
    }
    if (!rc)
        *ret = b;
out:
    bench_product_close(product);
    bench_rig_close(&r.rig);
    return rc;
}

/* A step as the pipeline queues it. */
static enum err_code run_step(void *ctx, struct err *err)
{
    struct flux_rig *r = ctx;

    return flux_step(&r->flux, &r->job, 0, &r->latents, &r->velocity, NULL, &r->rig.step_mem, err);
}

static enum err_code time_prepare(struct flux_rig *r, struct bench_step *b, struct err *err)
{
    double begin = bench_clock();
    enum err_code rc = prepare(r, err);

    if (!rc)
        rc = r->rig.o->be->ops->sync(r->rig.o->be, err);
    bench_keep_since(r->rig.o, &b->prepare, begin);
    return rc;
}

/* The host's time between the ends of blocks, each of which it waits for. */
struct queueing {
    struct backend *be;
    double begin, seconds;
};

static enum err_code after_block(void *ctx, const char *kind, int index, const struct flux_stream *s, struct err *err)
{
    struct queueing *q = ctx;
    enum err_code rc;

    (void)kind, (void)index, (void)s;
    q->seconds += bench_clock() - q->begin;
    rc = q->be->ops->sync(q->be, err);
    q->begin = bench_clock();
    return rc;
}

/* Block by block: a driver whose queue is full makes the host wait, and a step may be more than it takes. */
static enum err_code time_queueing(struct flux_rig *r, struct bench_step *b, struct err *err)
{
    struct queueing q = { .be = r->rig.o->be };
    const struct flux_tap tap = { after_block, &q };
    enum err_code rc;

    if (!q.be->runs_behind)
        return ERR_OK;
    q.begin = bench_clock();
    rc = flux_step(&r->flux, &r->job, 0, &r->latents, &r->velocity, &tap, &r->rig.step_mem, err);
    q.seconds += bench_clock() - q.begin;
    bench_keep(r->rig.o, &b->queueing, q.seconds);
    return rc ? rc : q.be->ops->sync(q.be, err);
}

static enum err_code time_kinds(struct flux_rig *r, struct bench_step *b, struct err *err)
{
    struct backend *be = r->rig.o->be;
    struct bench_kinds k;
    enum err_code rc;

    bench_kinds_watch(&k, be);
    rc = run_step(r, err);
    bench_kinds_leave(&k, be);
    for (int i = 0; i < BENCH_KINDS; i++)
        bench_keep(r->rig.o, &b->kinds[i], k.ms[i] * 1e-3);
    return rc ? rc : be->ops->sync(be, err);
}

static struct flux_config config_of(const struct bench_options *o)
{
    struct flux_config c = o->config ? *o->config : random_model_flux_fill;

    if (o->max_layers && o->max_layers < c.n_double)
        c.n_double = o->max_layers;
    if (o->max_layers && o->max_layers < c.n_single)
        c.n_single = o->max_layers;
    return c;
}

static void count_flop(const struct flux_rig *r, struct bench_step *b)
{
    const struct flux_config *c = &r->flux.config;
    double n = (double)(r->job.n_txt + r->job.n_img), n_blocks = c->n_double + c->n_single;

    b->kinds[BENCH_ATTENTION].flop = n_blocks * attention_flop(c, n);
    b->kinds[BENCH_PRODUCTS].flop =
        n_blocks * products_flop(c, n) +
        2.0 * (double)r->job.n_img * (double)(c->hidden * (c->in_channels + c->out_channels));
    b->step.flop = b->kinds[BENCH_PRODUCTS].flop + b->kinds[BENCH_ATTENTION].flop;
    b->without_expanding.flop = b->step.flop;
}

static void count_bytes(const struct flux_rig *r, struct bench_step *b)
{
    for (int i = 0; i < r->rig.file.n_entries; i++)
        b->weight_bytes += r->rig.file.entries[i].bytes;
    b->device_bytes = (size_t)backend_memory(r->rig.o->be).used;
    b->job_bytes = r->rig.request_mem.peak;
    b->step_bytes = r->rig.step_mem.peak;
}

enum err_code bench_step(const struct bench_options *o, struct bench_step *ret, struct err *err)
{
    const struct flux_config c = config_of(o);
    struct bench_step b = { 0 };
    struct flux_rig r;
    enum err_code rc = open_flux(&r, o, &c, BENCH_STEPS, true, err);

    if (!rc)
        rc = bench_rig_product(&r.rig, &b.product, err);
    if (rc)
        goto out;
    bench_keep(o, &b.load, r.load_seconds);
    count_flop(&r, &b);
    rc = bench_sustain(o, &b.step, run_step, &r, err);
    count_bytes(&r, &b);
    for (int i = 0; i < o->repeats && !rc; i++) {
        rc = time_prepare(&r, &b, err);
        if (!rc)
            rc = time_queueing(&r, &b, err);
        if (!rc)
            rc = time_kinds(&r, &b, err);
    }
    if (!rc && bench_expands(&r.flux))
        rc = bench_expanding(o, &r.flux, run_step, &r, &r.rig.arena, &b, err);
    if (!rc)
        *ret = b;
out:
    bench_rig_close(&r.rig);
    return rc;
}

/* --- the autoencoder --- */

struct vae_rig {
    struct bench_rig rig;
    struct vae vae;
    struct tensor rgb, z, moments;
};

static enum err_code load_vae(struct vae_rig *r, struct err *err)
{
    enum err_code rc = random_model_add_vae(&r->rig.made_up, random_model_vae_widths, err);

    if (!rc)
        rc = random_model_finish(&r->rig.made_up, &r->rig.file, err);
    if (!rc)
        rc = vae_weight_set(&r->rig.set, &r->rig.file, 1, err);
    return rc ? rc : vae_load(&r->vae, &r->rig.loader, err);
}

static enum err_code open_vae(struct vae_rig *r, const struct bench_options *o, size_t *ret_step_bytes, struct err *err)
{
    int64_t height = o->height, width = o->width, h = height / VAE_SCALE, w = width / VAE_SCALE;
    size_t job_bytes = (size_t)(height * width * 3 + h * w * (VAE_LATENT + VAE_MOMENTS)) * sizeof(float) + 4096;
    enum err_code rc = bench_rig_open(&r->rig, o, false, err);

    if (!rc)
        rc = load_vae(r, err);
    if (!rc)
        rc = vae_measure(&r->vae, height, width, ret_step_bytes, err);
    if (!rc)
        rc = devarena_init(&r->rig.step_mem, o->be, *ret_step_bytes, 0, err);
    if (!rc)
        rc = devarena_init(&r->rig.request_mem, o->be, job_bytes, 0, err);
    if (!rc)
        rc = bench_rig_input(&r->rig, &r->rgb, 3, (int64_t[]){ height, width, 3 }, err);
    if (!rc)
        rc = bench_rig_input(&r->rig, &r->z, 3, (int64_t[]){ h, w, VAE_LATENT }, err);
    return rc ? rc : bench_rig_input(&r->rig, &r->moments, 3, (int64_t[]){ h, w, VAE_MOMENTS }, err);
}

static enum err_code run_encode(void *ctx, struct err *err)
{
    struct vae_rig *r = ctx;

    return vae_encode(&r->vae, &r->rgb, &r->moments, &r->rig.step_mem, err);
}

static enum err_code run_decode(void *ctx, struct err *err)
{
    struct vae_rig *r = ctx;

    return vae_decode(&r->vae, &r->z, &r->rgb, &r->rig.step_mem, err);
}

enum err_code bench_vae(const struct bench_options *o, struct bench_vae *ret, struct err *err)
{
    struct bench_vae b = { 0 };
    struct vae_rig r = { 0 };
    enum err_code rc = open_vae(&r, o, &b.step_bytes, err);

    if (!rc)
        rc = bench_sustain(o, &b.encode, run_encode, &r, err);
    if (!rc)
        rc = bench_sustain(o, &b.decode, run_decode, &r, err);
    if (!rc)
        *ret = b;
    bench_rig_close(&r.rig);
    return rc;
}
