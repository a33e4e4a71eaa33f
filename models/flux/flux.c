#include "models/flux/flux.h"

#include <math.h>

#include "kernels/ops.h"
#include "models/flux/flux_block.h"
#include "models/flux/flux_embed.h"
#include "models/flux/flux_rope.h"

enum { THOUSAND = 1000 }; /* time and guidance are embedded in thousandths */

/* --- shared by the blocks --- */

enum err_code flux_linear_run(const struct flux *f, struct tensor *y, const struct tensor *x,
                              const struct flux_linear *l, enum activation act, struct err *err)
{
    return op_linear(f->be, y, x, &l->w, &l->b, act, err);
}

enum err_code flux_qk_norm_rope(const struct flux *f, struct tensor *qkv, const struct tensor *query_norm,
                                const struct tensor *key_norm, const struct tensor *rope, struct err *err)
{
    int64_t hidden = f->config.hidden;
    struct tensor q = tensor_col_view(qkv, 0, hidden), k = tensor_col_view(qkv, hidden, hidden);
    enum err_code rc = op_qk_norm_rope(f->be, &q, query_norm, rope, f->config.n_heads, FLUX_NORM_EPS, err);

    return rc ? rc : op_qk_norm_rope(f->be, &k, key_norm, rope, f->config.n_heads, FLUX_NORM_EPS, err);
}

enum err_code flux_attention(const struct flux *f, const struct tensor *qkv, struct tensor *out, struct err *err)
{
    int64_t hidden = f->config.hidden;
    struct tensor q = tensor_col_view(qkv, 0, hidden), k = tensor_col_view(qkv, hidden, hidden),
                  v = tensor_col_view(qkv, 2 * hidden, hidden);
    struct attention_args args = { .n_heads = f->config.n_heads,
                                   .head_dim = f->config.head_dim,
                                   .scale = 1.0f / sqrtf((float)f->config.head_dim) };

    return op_attention(f->be, out, &q, &k, &v, &args, err);
}

enum err_code flux_add_and_modulate(const struct flux *f, struct tensor *a, struct tensor *x, const struct tensor *y,
                                    const struct tensor *gate, const struct flux_mod *next, struct err *err)
{
    struct gate_modulate_args args = { gate, &next->shift, &next->scale, FLUX_NORM_EPS };

    return op_gate_add_modulate(f->be, a, x, y, &args, err);
}

/* --- columns of the modulation table --- */

static int64_t block_col(const struct flux_config *c, int block)
{
    int64_t n_double = block < c->n_double ? block : c->n_double;

    return (12 * n_double + 3 * (block - n_double)) * c->hidden;
}

static int64_t final_col(const struct flux_config *c)
{
    return block_col(c, c->n_double + c->n_single);
}

int64_t flux_modulation_cols(const struct flux_config *c)
{
    return final_col(c) + 2 * c->hidden;
}

/* The three vectors from column `col` on, of one step. */
static struct flux_mod mod_at(const struct flux *f, const struct flux_prepared *job, int step, int64_t col)
{
    float *at = (float *)job->modulation.data + step * job->modulation.row_stride + col;
    int64_t hidden = f->config.hidden;

    return (struct flux_mod){ tensor_1d(DT_F32, hidden, at), tensor_1d(DT_F32, hidden, at + hidden),
                              tensor_1d(DT_F32, hidden, at + 2 * hidden) };
}

struct flux_mods flux_first_mods(const struct flux *f, const struct flux_prepared *job, int step, int block)
{
    int64_t img = block_col(&f->config, block), txt = block < f->config.n_double ? img + 6 * f->config.hidden : img;

    return (struct flux_mods){ mod_at(f, job, step, txt), mod_at(f, job, step, img) };
}

struct flux_mods flux_second_mods(const struct flux *f, const struct flux_prepared *job, int step, int block)
{
    int64_t img = block_col(&f->config, block) + 3 * f->config.hidden;

    return (struct flux_mods){ mod_at(f, job, step, img + 6 * f->config.hidden), mod_at(f, job, step, img) };
}

/* --- the part that is constant over the steps --- */

static enum err_code check_inputs(const struct flux *f, const struct flux_inputs *in, struct err *err)
{
    const struct flux_config *c = &f->config;
    int64_t n_img = (int64_t)in->grid_rows * in->grid_cols, n_cond = c->in_channels - c->out_channels;

    if (in->grid_rows < 1 || in->grid_cols < 1 || in->grid_rows > FLUX_MAX_GRID || in->grid_cols > FLUX_MAX_GRID)
        return err_set(err, ERR_INVALID, "transformer: a grid of %d x %d tokens is not within 1 .. %d", in->grid_rows,
                       in->grid_cols, FLUX_MAX_GRID);
    if (in->n_steps < 1 || in->n_steps > FLUX_MAX_STEPS)
        return err_set(err, ERR_INVALID, "transformer: %d steps are not within 1 .. %d", in->n_steps, FLUX_MAX_STEPS);
    if (tensor_cols(in->prompt_embeds) != c->context || tensor_rows(in->prompt_embeds) > FLUX_MAX_TXT)
        return err_set(err, ERR_INVALID, "transformer: prompt_embeds are %lld x %lld, wanted up to %d x %lld",
                       (long long)tensor_rows(in->prompt_embeds), (long long)tensor_cols(in->prompt_embeds),
                       FLUX_MAX_TXT, (long long)c->context);
    if (n_cond ? !in->cond || tensor_rows(in->cond) != n_img || tensor_cols(in->cond) != n_cond : in->cond != NULL)
        return err_set(err, ERR_INVALID, "transformer: it takes %lld conditioning channels for each of %lld tokens",
                       (long long)n_cond, (long long)n_img);
    if (!in->modulation && (!in->sigmas || !in->pooled || tensor_count(in->pooled) != c->pooled))
        return err_set(err, ERR_INVALID, "transformer: it takes sigmas and a pooled vector of %lld values",
                       (long long)c->pooled);
    if (in->modulation && (tensor_rows(in->modulation) != in->n_steps ||
                           tensor_cols(in->modulation) != flux_modulation_cols(c) || in->modulation->dtype != DT_F32))
        return err_set(err, ERR_INVALID, "transformer: the modulation table is not %d x %lld", in->n_steps,
                       (long long)flux_modulation_cols(c));
    return ERR_OK;
}

/* A dense copy of x as rows of the type that matrix products take. */
static enum err_code as_act(const struct flux *f, const struct tensor *x, struct devarena *mem, struct tensor *ret,
                            struct err *err)
{
    struct tensor rows = x->n_dims == 2 ? *x : tensor_as_2d(x, 1, tensor_count(x));
    enum err_code rc = devarena_2d(mem, f->be->act, tensor_rows(&rows), tensor_cols(&rows), ret, err);

    return rc ? rc : op_copy(f->be, ret, &rows, err);
}

/* A layer of the modulation. One that stayed in the file is in the backend for this product alone. */
static enum err_code mod_linear(const struct flux *f, struct tensor *y, const struct tensor *x,
                                const struct flux_linear *l, enum activation act, struct err *err)
{
    struct flux_linear loaded = *l;
    enum err_code rc;

    if (!f->modulation_in_file)
        return flux_linear_run(f, y, x, l, act, err);
    rc = f->be->ops->weight_load(f->be, &l->w, &loaded.w, err);
    if (rc)
        return rc;
    rc = flux_linear_run(f, y, x, &loaded, act, err);
    f->be->ops->weight_unload(f->be, &loaded.w);
    return rc;
}

/* y [rows, hidden] = out_layer(silu(in_layer(x))) */
static enum err_code embed(const struct flux *f, const struct flux_embedder *e, const struct tensor *x,
                           struct tensor *y, struct devarena *mem, struct err *err)
{
    struct tensor hidden;
    enum err_code rc = devarena_2d(mem, f->be->act, tensor_rows(x), f->config.hidden, &hidden, err);

    if (!rc)
        rc = mod_linear(f, &hidden, x, &e->in_layer, ACT_SILU, err);
    if (!rc)
        rc = mod_linear(f, y, &hidden, &e->out_layer, ACT_NONE, err);
    return rc;
}

/* y [n, hidden] = the embedder on the sinusoids of 1000 * values[i]. */
static enum err_code embed_numbers(const struct flux *f, const struct flux_embedder *e, const float *values, int n,
                                   struct tensor *y, struct devarena *mem, struct arena *host, struct err *err)
{
    struct arena_mark mark = arena_mark(host);
    struct tensor sinusoids, x;
    float *waves;
    enum err_code rc = arena_alloc(host, (size_t)n * FLUX_SINUSOID, sizeof *waves, &waves, err);

    if (rc)
        return rc;
    for (int i = 0; i < n; i++)
        flux_sinusoid(THOUSAND * values[i], waves + (size_t)i * FLUX_SINUSOID);
    rc = devarena_2d(mem, DT_F32, n, FLUX_SINUSOID, &sinusoids, err);
    if (!rc)
        rc = op_upload(f->be, &sinusoids, waves, err);
    if (!rc)
        rc = as_act(f, &sinusoids, mem, &x, err);
    if (!rc)
        rc = embed(f, e, &x, y, mem, err);
    arena_rewind(host, mark);
    return rc;
}

/* Adds one row to every row of vec. */
static enum err_code add_to_all(const struct flux *f, struct tensor *vec, const struct tensor *row, struct err *err)
{
    enum err_code rc = ERR_OK;

    for (int64_t i = 0; !rc && i < tensor_rows(vec); i++) {
        struct tensor one = tensor_row_view(vec, i, 1);

        rc = op_gate_add(f->be, &one, NULL, row, err);
    }
    return rc;
}

/* vec F32 [n_steps, hidden] = (time_in + guidance_in) + vector_in, summed in this order as the reference does. */
static enum err_code make_vec(const struct flux *f, const struct flux_inputs *in, struct tensor *vec,
                              struct devarena *mem, struct arena *host, struct err *err)
{
    struct tensor row, pooled;
    enum err_code rc = embed_numbers(f, &f->time_in, in->sigmas, in->n_steps, vec, mem, host, err);

    if (!rc)
        rc = devarena_2d(mem, DT_F32, 1, f->config.hidden, &row, err);
    if (!rc && f->config.guidance) {
        rc = embed_numbers(f, &f->guidance_in, &in->guidance, 1, &row, mem, host, err);
        if (!rc)
            rc = add_to_all(f, vec, &row, err);
    }
    if (!rc)
        rc = as_act(f, in->pooled, mem, &pooled, err);
    if (!rc)
        rc = embed(f, &f->vector_in, &pooled, &row, mem, err);
    if (!rc)
        rc = add_to_all(f, vec, &row, err);
    return rc;
}

/* A layer that makes modulations, and its first column in the table. */
struct mod_layer {
    const struct flux_linear *linear;
    int64_t col;
};

/* Layers in the order of the table: img and txt of the double blocks, the single blocks, the final layer. */
static struct mod_layer mod_layer(const struct flux *f, int i)
{
    const struct flux_config *c = &f->config;
    int single = i - 2 * c->n_double;

    if (single < 0) {
        const struct flux_double_block *b = &f->double_blocks[i / 2];

        return (struct mod_layer){ i % 2 ? &b->txt.mod : &b->img.mod, 6 * c->hidden * i };
    }
    if (single < c->n_single)
        return (struct mod_layer){ &f->single_blocks[single].mod, block_col(c, c->n_double + single) };
    return (struct mod_layer){ &f->final_mod, final_col(c) };
}

/* The modulations of all steps, layer by layer; the weights of the next one are announced before one runs. */
static enum err_code fill_table(const struct flux *f, const struct tensor *silu_vec, struct tensor *table,
                                struct err *err)
{
    int n = 2 * f->config.n_double + f->config.n_single + 1;
    enum err_code rc = ERR_OK;

    for (int i = 0; !rc && i < n; i++) {
        struct mod_layer layer = mod_layer(f, i);
        const struct weight *next = &mod_layer(f, i + 1 < n ? i + 1 : i).linear->w;
        struct tensor cols = tensor_col_view(table, layer.col, layer.linear->w.rows);

        if (!f->modulation_in_file)
            f->be->ops->weight_prefetch(f->be, &next, 1);
        rc = mod_linear(f, &cols, silu_vec, layer.linear, ACT_NONE, err);
    }
    return rc;
}

enum err_code flux_modulate(const struct flux *f, const struct flux_inputs *in, struct tensor *ret,
                            struct devarena *step_mem, struct arena *host, struct err *err)
{
    size_t mark = devarena_mark(step_mem);
    struct tensor vec, silu_vec;
    enum err_code rc = devarena_2d(step_mem, DT_F32, in->n_steps, f->config.hidden, &vec, err);

    if (!rc)
        rc = make_vec(f, in, &vec, step_mem, host, err);
    if (!rc)
        rc = devarena_2d(step_mem, f->be->act, in->n_steps, f->config.hidden, &silu_vec, err);
    if (!rc)
        rc = op_silu(f->be, &silu_vec, &vec, err);
    if (!rc)
        rc = fill_table(f, &silu_vec, ret, err);
    devarena_rewind(step_mem, mark);
    return rc;
}

static enum err_code prepare_modulation(const struct flux *f, const struct flux_inputs *in,
                                        struct devarena *request_mem, struct devarena *step_mem, struct arena *host,
                                        struct tensor *ret, struct err *err)
{
    enum err_code rc;

    if (in->modulation) {
        *ret = *in->modulation;
        return ERR_OK;
    }
    rc = devarena_2d(request_mem, DT_F32, in->n_steps, flux_modulation_cols(&f->config), ret, err);
    return rc ? rc : flux_modulate(f, in, ret, step_mem, host, err);
}

static enum err_code prepare_rope(const struct flux *f, const struct flux_inputs *in, struct devarena *request_mem,
                                  struct arena *host, struct flux_prepared *job, struct err *err)
{
    struct arena_mark mark = arena_mark(host);
    int64_t n = job->n_txt + job->n_img;
    int axes[FLUX_ROPE_AXES];
    float *table;
    enum err_code rc = devarena_2d(request_mem, DT_F32, n, f->config.head_dim, &job->rope, err);

    if (rc || !f->be->executes)
        return rc;
    rc = arena_alloc(host, (size_t)n * (size_t)f->config.head_dim, sizeof *table, &table, err);
    if (rc)
        return rc;
    if (!flux_rope_axes(f->config.head_dim, axes))
        rc = err_set(err, ERR_INTERNAL, "transformer: head size %d was not checked", f->config.head_dim);
    if (!rc) {
        flux_rope_table(table, job->n_txt, in->grid_rows, in->grid_cols, axes);
        rc = op_upload(f->be, &job->rope, table, err);
    }
    arena_rewind(host, mark);
    return rc;
}

/* Input tokens with their constant columns filled in. */
static enum err_code prepare_tokens(const struct flux *f, const struct flux_inputs *in, struct devarena *request_mem,
                                    struct flux_prepared *job, struct err *err)
{
    const struct flux_config *c = &f->config;
    enum err_code rc = devarena_2d(request_mem, f->be->act, job->n_img, c->in_channels, &job->tokens, err);
    struct tensor cols;

    if (rc || !in->cond)
        return rc;
    cols = tensor_col_view(&job->tokens, c->out_channels, c->in_channels - c->out_channels);
    return op_copy(f->be, &cols, in->cond, err);
}

static enum err_code prepare_txt(const struct flux *f, const struct flux_inputs *in, struct devarena *request_mem,
                                 struct devarena *step_mem, struct flux_prepared *job, struct err *err)
{
    size_t mark = devarena_mark(step_mem);
    struct tensor x;
    enum err_code rc = devarena_2d(request_mem, DT_F32, job->n_txt, f->config.hidden, &job->txt, err);

    if (!rc)
        rc = as_act(f, in->prompt_embeds, step_mem, &x, err);
    if (!rc)
        rc = flux_linear_run(f, &job->txt, &x, &f->txt_in, ACT_NONE, err);
    devarena_rewind(step_mem, mark);
    return rc;
}

enum err_code flux_prepare(const struct flux *f, const struct flux_inputs *in, struct devarena *request_mem,
                           struct devarena *step_mem, struct arena *host, struct flux_prepared *ret, struct err *err)
{
    struct flux_prepared job = { .n_steps = in->n_steps };
    enum err_code rc = check_inputs(f, in, err);

    if (rc)
        return rc;
    job.n_txt = tensor_rows(in->prompt_embeds);
    job.n_img = (int64_t)in->grid_rows * in->grid_cols;
    rc = prepare_modulation(f, in, request_mem, step_mem, host, &job.modulation, err);
    if (!rc)
        rc = prepare_rope(f, in, request_mem, host, &job, err);
    if (!rc)
        rc = prepare_tokens(f, in, request_mem, &job, err);
    if (!rc)
        rc = prepare_txt(f, in, request_mem, step_mem, &job, err);
    if (!rc)
        *ret = job;
    return rc;
}

/* --- one step --- */

enum err_code flux_stream_alloc(const struct flux *f, const struct flux_prepared *job, struct devarena *mem,
                                struct flux_stream *ret, struct err *err)
{
    enum err_code rc = devarena_2d(mem, DT_F32, job->n_txt + job->n_img, f->config.hidden, &ret->all, err);

    if (rc)
        return rc;
    ret->txt = tensor_row_view(&ret->all, 0, job->n_txt);
    ret->img = tensor_row_view(&ret->all, job->n_txt, job->n_img);
    return devarena_2d(mem, f->be->act, job->n_txt + job->n_img, f->config.hidden, &ret->a, err);
}

/* As they are used: a device whose memory is short expands them in this order, and what is passed over twice. */
int flux_block_weights(const struct flux *f, int block, const struct weight *ret[FLUX_BLOCK_MAX_WEIGHTS])
{
    int n = 0;

    if (block < f->config.n_double) {
        const struct flux_double_block *b = &f->double_blocks[block];

        ret[n++] = &b->txt.qkv.w;
        ret[n++] = &b->img.qkv.w;
        for (int i = 0; i < 2; i++) {
            const struct flux_double_stream *s = i ? &b->img : &b->txt;

            ret[n++] = &s->proj.w;
            ret[n++] = &s->mlp_0.w;
            ret[n++] = &s->mlp_2.w;
        }
    } else {
        const struct flux_single_block *b = &f->single_blocks[block - f->config.n_double];

        ret[n++] = &b->linear1.w;
        ret[n++] = &b->linear2.w;
    }
    return n;
}

void flux_prefetch_block(const struct flux *f, int block)
{
    const struct weight *list[FLUX_BLOCK_MAX_WEIGHTS];
    int n = flux_block_weights(f, block % (f->config.n_double + f->config.n_single), list);

    f->be->ops->weight_prefetch(f->be, list, n);
}

enum err_code flux_enter_block(const struct flux *f, const struct flux_prepared *job, int step, int block,
                               struct flux_stream *s, struct err *err)
{
    struct flux_mods m = flux_first_mods(f, job, step, block);
    struct tensor txt = tensor_row_view(&s->a, 0, job->n_txt), img = tensor_row_view(&s->a, job->n_txt, job->n_img);
    enum err_code rc = op_modulate(f->be, &txt, &s->txt, &m.txt.shift, &m.txt.scale, FLUX_NORM_EPS, err);

    return rc ? rc : op_modulate(f->be, &img, &s->img, &m.img.shift, &m.img.scale, FLUX_NORM_EPS, err);
}

enum err_code flux_run_block(const struct flux *f, const struct flux_prepared *job, int step, int block,
                             struct flux_stream *s, struct devarena *step_mem, struct err *err)
{
    return block < f->config.n_double ? flux_double_block_run(f, job, step, block, s, step_mem, err)
                                      : flux_single_block_run(f, job, step, block, s, step_mem, err);
}

static enum err_code run_blocks(const struct flux *f, const struct flux_prepared *job, int step, struct flux_stream *s,
                                const struct flux_tap *tap, struct devarena *step_mem, struct err *err)
{
    int n_double = f->config.n_double, n_blocks = n_double + f->config.n_single;
    enum err_code rc = ERR_OK;

    for (int i = 0; !rc && i < n_blocks; i++) {
        bool single = i >= n_double;
        int index = single ? i - n_double : i;

        flux_prefetch_block(f, i + 1);
        rc = flux_run_block(f, job, step, i, s, step_mem, err);
        if (rc)
            return err_prefix(err, "%s_blocks.%d", single ? "single" : "double", index);
        if (tap)
            rc = tap->fn(tap->ctx, single ? "single" : "double", index, s, err);
    }
    return rc;
}

/* The streams at the first block: the prompt's rows, and img_in of latents and conditioning. */
static enum err_code enter(const struct flux *f, const struct flux_prepared *job, int step,
                           const struct tensor *latents, struct flux_stream *s, struct err *err)
{
    struct tensor columns = tensor_col_view(&job->tokens, 0, f->config.out_channels);
    enum err_code rc = op_copy(f->be, &s->txt, &job->txt, err);

    if (!rc)
        rc = op_copy(f->be, &columns, latents, err);
    if (!rc)
        rc = flux_linear_run(f, &s->img, &job->tokens, &f->img_in, ACT_NONE, err);
    return rc ? rc : flux_enter_block(f, job, step, 0, s, err);
}

/* The final layer, of which the last block did the modulation. */
static enum err_code leave(const struct flux *f, const struct flux_prepared *job, const struct flux_stream *s,
                           struct tensor *velocity, struct err *err)
{
    struct tensor img = tensor_row_view(&s->a, job->n_txt, job->n_img);

    return flux_linear_run(f, velocity, &img, &f->final_linear, ACT_NONE, err);
}

enum err_code flux_step(const struct flux *f, const struct flux_prepared *job, int step, const struct tensor *latents,
                        struct tensor *velocity, const struct flux_tap *tap, struct devarena *step_mem, struct err *err)
{
    size_t mark = devarena_mark(step_mem);
    struct flux_stream s;
    enum err_code rc;

    if (step < 0 || step >= job->n_steps)
        return err_set(err, ERR_INVALID, "transformer: step %d of %d", step, job->n_steps);
    flux_prefetch_block(f, 0);
    rc = flux_stream_alloc(f, job, step_mem, &s, err);
    if (!rc)
        rc = enter(f, job, step, latents, &s, err);
    if (!rc)
        rc = run_blocks(f, job, step, &s, tap, step_mem, err);
    if (!rc)
        rc = leave(f, job, &s, velocity, err);
    devarena_rewind(step_mem, mark);
    return rc;
}
