#include "models/bench/bench.h"

#include <string.h>

#include "kernels/bench_product.h"
#include "kernels/ops.h"
#include "models/bench/bench_expanding.h"
#include "models/bench/bench_rig.h"
#include "models/bench/bench_sustain.h"
#include "models/flux/flux_flop.h"
#include "models/vae/vae.h"

/* --- the transformer --- */

struct flux_rig {
    struct bench_rig rig;
    struct flux flux;
    struct flux_prepared prepared;
    struct tensor cond, prompt_embeds, pooled, latents, velocity;
    struct flux_stream stream;
    struct flux_inputs in;
    size_t inputs_end; /* mark of request_mem after the inputs, from which flux_prepare starts */
    double load_seconds;
};

static enum err_code load_flux(struct flux_rig *r, const struct flux_config *config, struct err *err)
{
    struct backend *be = r->rig.o->be;
    double begin;

    TRY(flux_describe(config, random_model_add, &r->rig.made_up, err));
    TRY(random_model_finish(&r->rig.made_up, &r->rig.file, err));
    TRY(flux_weight_set(&r->rig.set, &r->rig.file, 1, err));
    backend_expect_weights(be, r->rig.o->weights, tensor_file_expanded_bytes(&r->rig.file));
    begin = bench_clock();
    TRY(flux_load(&r->flux, &r->rig.loader, &r->rig.arena, err));
    TRY(be->ops->sync(be, err));
    r->load_seconds = bench_clock() - begin;
    return ERR_OK;
}

static enum err_code make_flux_inputs(struct flux_rig *r, struct err *err)
{
    const struct flux_config *c = &r->flux.config;
    int64_t n_img = (int64_t)r->in.grid_rows * r->in.grid_cols, n_txt = r->rig.o->n_txt;

    TRY(bench_rig_input(&r->rig, &r->cond, 2, (int64_t[]){ n_img, c->in_channels - c->out_channels }, err));
    TRY(bench_rig_input(&r->rig, &r->prompt_embeds, 2, (int64_t[]){ n_txt, c->context }, err));
    TRY(bench_rig_input(&r->rig, &r->pooled, 1, (int64_t[]){ c->pooled }, err));
    TRY(bench_rig_input(&r->rig, &r->latents, 2, (int64_t[]){ n_img, c->out_channels }, err));
    return bench_rig_input(&r->rig, &r->velocity, 2, (int64_t[]){ n_img, c->out_channels }, err);
}

/* What a request computes once, before its steps. */
static enum err_code prepare(struct flux_rig *r, struct err *err)
{
    devarena_rewind(&r->rig.request_mem, r->inputs_end);
    TRY(flux_prepare(&r->flux, &r->in, &r->rig.request_mem, &r->rig.step_mem, &r->rig.scratch, &r->prepared, err));
    return flux_stream_alloc(&r->prepared, &r->rig.request_mem, &r->stream, err);
}

/* Makes everything ready to run a step, or a block, of a request of n_steps. Half-opened on failure: the caller closes
 * r->rig in any case. */
static enum err_code open_flux(struct flux_rig *r, const struct bench_options *o, const struct flux_config *config,
                               int n_steps, enum random_weights weights, struct err *err)
{
    static const float sigmas[BENCH_STEPS] = { 1.0f }; /* the values do not matter for the time */
    const struct flux_inputs in = {
        .grid_rows = o->height / TOKEN_SIDE,
        .grid_cols = o->width / TOKEN_SIDE,
        .cond = &r->cond,
        .prompt_embeds = &r->prompt_embeds,
        .pooled = &r->pooled,
        .n_steps = n_steps,
        .sigmas = sigmas,
        .guidance = 30,
    };
    const struct flux_size size = { in.grid_rows, in.grid_cols, o->n_txt, n_steps };
    int64_t n = (int64_t)in.grid_rows * in.grid_cols + o->n_txt;
    size_t inputs_bytes = (size_t)(n * (2 * config->hidden + config->context)) * sizeof(float) + (1 << 20);
    struct flux_memory memory;

    *r = (struct flux_rig){ .in = in };
    TRY(bench_rig_open(&r->rig, o, weights, err));
    TRY(load_flux(r, config, err));
    TRY(flux_measure(&r->flux, &size, &r->rig.scratch, &memory, err));
    TRY(devarena_init(&r->rig.request_mem, o->be, memory.request_bytes + inputs_bytes, 0, err));
    TRY(devarena_init(&r->rig.step_mem, o->be, memory.step_bytes, 0, err));
    TRY(make_flux_inputs(r, err));
    r->inputs_end = devarena_mark(&r->rig.request_mem);
    return prepare(r, err);
}

/* The stream's values do not matter for the time, but must stay finite: its first columns start again from the latents.
 */
static enum err_code time_block(struct flux_rig *r, int block, struct bench_figure *f, struct err *err)
{
    struct backend *be = r->rig.o->be;
    struct tensor first = tensor_row_view(&r->stream.img, 0, r->prepared.n_img);
    struct tensor start = tensor_col_view(&first, 0, r->flux.config.out_channels);
    double begin;

    TRY(op_copy(be, &start, &r->latents, err));
    TRY(flux_enter_block(&r->prepared, 0, block, &r->stream, err));
    TRY(be->ops->sync(be, err));
    begin = bench_clock();
    TRY(flux_run_block(&r->prepared, 0, block, &r->stream, &r->rig.step_mem, err));
    TRY(be->ops->sync(be, err));
    bench_keep_since(r->rig.o, f, begin);
    return ERR_OK;
}

static enum err_code time_product(const struct bench_options *o, struct bench_product *product, struct bench_figure *f,
                                  struct err *err)
{
    double seconds = 0;

    TRY(bench_product_run(product, &seconds, err));
    bench_keep(o, f, seconds);
    return ERR_OK;
}

/* Runs both blocks alternately; the times are not kept. */
static enum err_code warm_up(struct flux_rig *r, struct err *err)
{
    struct bench_figure not_kept = { 0 };
    double begin = bench_clock();

    for (int i = 0; bench_clock() - begin < r->rig.o->warm_up_s; i++)
        TRY(time_block(r, i % 2, &not_kept, err));
    return ERR_OK;
}

/* `product` may be NULL. */
static enum err_code time_blocks(struct flux_rig *r, struct bench_product *product, struct bench_blocks *b,
                                 struct err *err)
{
    const struct bench_options *o = r->rig.o;

    TRY(warm_up(r, err));
    for (int i = 0; i < o->repeats; i++) {
        if (product)
            TRY(time_product(o, product, &b->product, err));
        TRY(time_block(r, 0, &b->double_block, err));
        TRY(time_block(r, 1, &b->single_block, err));
    }
    return ERR_OK;
}

/* Opens what bench_blocks runs; the caller closes both in any case. */
static enum err_code open_blocks(struct flux_rig *r, const struct bench_options *o, struct bench_product **ret_product,
                                 struct bench_blocks *b, struct err *err)
{
    struct flux_config config = flux_fill_config;
    int64_t n_columns = 4 * config.hidden + 2 * config.mlp, n;

    config.n_double = config.n_single = 1;
    TRY(open_flux(r, o, &config, 1, RANDOM_WEIGHTS_OWN, err));
    n = r->prepared.n_txt + r->prepared.n_img;
    b->double_block.flop = b->single_block.flop =
        flux_block_products_flop(&config, (double)n) + flux_block_attention_flop(&config, (double)n);
    b->product.flop = 2 * (double)n * (double)n_columns * (double)config.hidden;
    if (strcmp(o->be->name, "cpu") != 0)
        return ERR_OK;
    return bench_product_open(o->be, n, n_columns, config.hidden, ret_product, err);
}

enum err_code bench_blocks(const struct bench_options *o, struct bench_blocks *ret, struct err *err)
{
    struct bench_blocks b = { 0 };
    struct bench_product *product = NULL;
    struct flux_rig r;
    enum err_code rc = open_blocks(&r, o, &product, &b, err);

    if (rc == ERR_OK)
        rc = time_blocks(&r, product, &b, err);
    if (rc == ERR_OK)
        *ret = b;
    bench_product_close(product);
    bench_rig_close(&r.rig);
    return rc;
}

/* A step as the pipeline queues it. */
static enum err_code run_step(void *ctx, struct err *err)
{
    struct flux_rig *r = ctx;

    return flux_step(&r->prepared, 0, &r->latents, &r->velocity, NULL, &r->rig.step_mem, err);
}

static enum err_code time_prepare(struct flux_rig *r, struct bench_step *b, struct err *err)
{
    struct backend *be = r->rig.o->be;
    double begin = bench_clock();

    TRY(prepare(r, err));
    TRY(be->ops->sync(be, err));
    bench_keep_since(r->rig.o, &b->prepare, begin);
    return ERR_OK;
}

/*
 * The time that the host takes to queue blocks. The host waits for each block to finish, and that wait is not counted.
 */
struct queueing {
    struct backend *be;
    double begin, seconds;
};

static enum err_code after_block(void *ctx, const char *kind, int index, const struct flux_stream *s, struct err *err)
{
    struct queueing *q = ctx;

    (void)kind, (void)index, (void)s;
    q->seconds += bench_clock() - q->begin;
    TRY(q->be->ops->sync(q->be, err));
    q->begin = bench_clock();
    return ERR_OK;
}

/* Block by block, because a driver whose queue is full makes the host wait, and a whole step may fill it. */
static enum err_code time_queueing(struct flux_rig *r, struct bench_step *b, struct err *err)
{
    struct queueing q = { .be = r->rig.o->be };
    const struct flux_tap tap = { after_block, &q };

    if (!q.be->runs_behind)
        return ERR_OK;
    q.begin = bench_clock();
    TRY(flux_step(&r->prepared, 0, &r->latents, &r->velocity, &tap, &r->rig.step_mem, err));
    q.seconds += bench_clock() - q.begin;
    bench_keep(r->rig.o, &b->queueing, q.seconds);
    return q.be->ops->sync(q.be, err);
}

static enum err_code time_kinds(struct flux_rig *r, struct bench_step *b, struct err *err)
{
    struct backend *be = r->rig.o->be;
    struct bench_kinds k;
    enum err_code rc;

    bench_kinds_watch(&k, be);
    rc = run_step(r, err);
    bench_kinds_leave(&k, be);
    TRY(rc);
    for (int i = 0; i < BENCH_KINDS; i++)
        bench_keep(r->rig.o, &b->kinds[i], k.ms[i] * 1e-3);
    return be->ops->sync(be, err);
}

/* The sizes of the transformer in a step, with at most o->max_layers blocks of each kind. */
static struct flux_config config_of(const struct bench_options *o)
{
    struct flux_config c = o->config ? *o->config : flux_fill_config;

    if (o->max_layers && o->max_layers < c.n_double)
        c.n_double = o->max_layers;
    if (o->max_layers && o->max_layers < c.n_single)
        c.n_single = o->max_layers;
    return c;
}

static void count_flop(const struct flux_rig *r, struct bench_step *b)
{
    const struct flux_config *c = &r->flux.config;
    double n = (double)(r->prepared.n_txt + r->prepared.n_img), n_blocks = c->n_double + c->n_single;

    b->step.flop = flux_step_flop(c, (double)r->prepared.n_txt, (double)r->prepared.n_img);
    b->kinds[BENCH_ATTENTION].flop = n_blocks * flux_block_attention_flop(c, n);
    b->kinds[BENCH_PRODUCTS].flop = b->step.flop - b->kinds[BENCH_ATTENTION].flop;
    b->without_expanding.flop = b->step.flop;
}

static void count_bytes(const struct flux_rig *r, struct bench_step *b)
{
    for (int i = 0; i < r->rig.file.n_entries; i++)
        b->weight_bytes += r->rig.file.entries[i].bytes;
    b->device_bytes = (size_t)backend_memory(r->rig.o->be).used;
    b->request_bytes = r->rig.request_mem.peak;
    b->step_bytes = r->rig.step_mem.peak;
}

static enum err_code time_step(struct flux_rig *r, struct bench_step *b, struct err *err)
{
    const struct bench_options *o = r->rig.o;

    TRY(bench_rig_product(&r->rig, &b->product, err));
    bench_keep(o, &b->load, r->load_seconds);
    count_flop(r, b);
    TRY(bench_sustain(o, &b->step, run_step, r, err));
    count_bytes(r, b);
    for (int i = 0; i < o->repeats; i++) {
        TRY(time_prepare(r, b, err));
        TRY(time_queueing(r, b, err));
        TRY(time_kinds(r, b, err));
    }
    if (!bench_expands(&r->flux))
        return ERR_OK;
    TRY(bench_expanding_alone(o, &r->flux, &b->expanding, err));
    return bench_without_expanding(o, run_step, r, &r->rig.arena, &b->without_expanding, err);
}

enum err_code bench_step(const struct bench_options *o, struct bench_step *ret, struct err *err)
{
    const struct flux_config c = config_of(o);
    struct bench_step b = { 0 };
    struct flux_rig r;
    enum err_code rc = open_flux(&r, o, &c, BENCH_STEPS, RANDOM_WEIGHTS_SHARED, err);

    if (rc == ERR_OK)
        rc = time_step(&r, &b, err);
    if (rc == ERR_OK)
        *ret = b;
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
    TRY(random_model_add_vae(&r->rig.made_up, random_model_vae_widths, err));
    TRY(random_model_finish(&r->rig.made_up, &r->rig.file, err));
    TRY(vae_weight_set(&r->rig.set, &r->rig.file, 1, err));
    return vae_load(&r->vae, &r->rig.loader, err);
}

static enum err_code open_vae(struct vae_rig *r, const struct bench_options *o, size_t *ret_step_bytes, struct err *err)
{
    int64_t height = o->height, width = o->width, h = height / VAE_SCALE, w = width / VAE_SCALE;
    size_t request_bytes = (size_t)(height * width * 3 + h * w * (VAE_LATENT + VAE_MOMENTS)) * sizeof(float) + 4096;

    TRY(bench_rig_open(&r->rig, o, RANDOM_WEIGHTS_OWN, err));
    TRY(load_vae(r, err));
    TRY(vae_measure(&r->vae, height, width, ret_step_bytes, err));
    TRY(devarena_init(&r->rig.step_mem, o->be, *ret_step_bytes, 0, err));
    TRY(devarena_init(&r->rig.request_mem, o->be, request_bytes, 0, err));
    TRY(bench_rig_input(&r->rig, &r->rgb, 3, (int64_t[]){ height, width, 3 }, err));
    TRY(bench_rig_input(&r->rig, &r->z, 3, (int64_t[]){ h, w, VAE_LATENT }, err));
    return bench_rig_input(&r->rig, &r->moments, 3, (int64_t[]){ h, w, VAE_MOMENTS }, err);
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

static enum err_code time_vae(struct vae_rig *r, const struct bench_options *o, struct bench_vae *ret, struct err *err)
{
    struct bench_vae b = { 0 };

    TRY(open_vae(r, o, &b.step_bytes, err));
    TRY(bench_sustain(o, &b.encode, run_encode, r, err));
    TRY(bench_sustain(o, &b.decode, run_decode, r, err));
    *ret = b;
    return ERR_OK;
}

enum err_code bench_vae(const struct bench_options *o, struct bench_vae *ret, struct err *err)
{
    struct vae_rig r = { 0 };
    enum err_code rc = time_vae(&r, o, ret, err);

    bench_rig_close(&r.rig);
    return rc;
}
