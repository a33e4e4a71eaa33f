/*
 * flux_modulation - the table of modulations: its layout, and how it is computed once for all steps of a request.
 *
 *   vec = time_in(1000 sigma) + guidance_in(1000 guidance) + vector_in(pooled)      one row a step
 *   table[:, columns of a block] = linear(silu(vec))
 */
#include "models/flux/flux_modulation.h"

#include "kernels/ops.h"
#include "models/flux/flux_embed.h"

enum { THOUSAND = 1000 }; /* time and guidance are embedded in thousandths */

/* --- columns --- */

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

/* The three vectors that begin at column `col` of a step's row. */
static struct flux_mod mod_at(const struct flux_prepared *p, int step, int64_t col)
{
    float *at = (float *)p->modulation.data + step * p->modulation.row_stride + col;
    int64_t hidden = p->flux->config.hidden;

    return (struct flux_mod){ tensor_1d(DT_F32, hidden, at), tensor_1d(DT_F32, hidden, at + hidden),
                              tensor_1d(DT_F32, hidden, at + 2 * hidden) };
}

struct flux_mods flux_first_mods(const struct flux_prepared *p, int step, int block)
{
    const struct flux_config *c = &p->flux->config;
    int64_t img = block_col(c, block), txt = block < c->n_double ? img + 6 * c->hidden : img;

    return (struct flux_mods){ mod_at(p, step, txt), mod_at(p, step, img) };
}

struct flux_mods flux_second_mods(const struct flux_prepared *p, int step, int block)
{
    const struct flux_config *c = &p->flux->config;
    int64_t img = block_col(c, block) + 3 * c->hidden;

    return (struct flux_mods){ mod_at(p, step, img + 6 * c->hidden), mod_at(p, step, img) };
}

/* --- the vector that all modulations are made of --- */

/* A product with a layer of the modulation. If its matrix stayed in the file, it is uploaded for this product alone. */
static enum err_code mod_linear(const struct flux *f, struct tensor *y, const struct tensor *x,
                                const struct flux_linear *l, enum activation act, struct err *err)
{
    struct flux_linear loaded = *l;
    enum err_code rc;

    if (!f->modulation_in_file)
        return flux_linear_run(f, y, x, l, act, err);
    TRY(f->be->ops->weight_load(f->be, &l->w, &loaded.w, err));
    rc = flux_linear_run(f, y, x, &loaded, act, err);
    f->be->ops->weight_unload(f->be, &loaded.w);
    return rc;
}

/* y [rows, hidden] = out_layer(silu(in_layer(x))) */
static enum err_code embed(const struct flux *f, const struct flux_embedder *e, const struct tensor *x,
                           struct tensor *y, struct devarena *mem, struct err *err)
{
    struct tensor hidden;

    TRY(devarena_2d(mem, f->be->act, tensor_rows(x), f->config.hidden, &hidden, err));
    TRY(mod_linear(f, &hidden, x, &e->in_layer, ACT_SILU, err));
    return mod_linear(f, y, &hidden, &e->out_layer, ACT_NONE, err);
}

/* y [n, hidden] = the embedder on the sinusoids of 1000 * values[i], i < n. */
static enum err_code embed_numbers(const struct flux *f, const struct flux_embedder *e, const float *values,
                                   struct tensor *y, struct devarena *mem, struct arena *host, struct err *err)
{
    ARENA_SCRATCH(host);
    int64_t n = tensor_rows(y);
    struct tensor sinusoids, x;
    float *waves;

    TRY(arena_alloc(host, (size_t)n * FLUX_SINUSOID, sizeof *waves, &waves, err));
    for (int64_t i = 0; i < n; i++)
        flux_sinusoid(THOUSAND * values[i], waves + i * FLUX_SINUSOID);
    TRY(devarena_2d(mem, DT_F32, n, FLUX_SINUSOID, &sinusoids, err));
    TRY(op_upload(f->be, &sinusoids, waves, err));
    TRY(flux_as_act(f, &sinusoids, mem, &x, err));
    return embed(f, e, &x, y, mem, err);
}

/* Adds one row to every row of vec. */
static enum err_code add_to_all(const struct flux *f, struct tensor *vec, const struct tensor *row, struct err *err)
{
    for (int64_t i = 0; i < tensor_rows(vec); i++) {
        struct tensor one = tensor_row_view(vec, i, 1);

        TRY(op_gate_add(f->be, &one, NULL, row, err));
    }
    return ERR_OK;
}

/* vec F32 [n_steps, hidden] = (time_in + guidance_in) + vector_in, summed in this order as the reference does. */
static enum err_code make_vec(const struct flux *f, const struct flux_inputs *in, struct tensor *vec,
                              struct devarena *mem, struct arena *host, struct err *err)
{
    struct tensor row, pooled;

    TRY(embed_numbers(f, &f->time_in, in->sigmas, vec, mem, host, err));
    TRY(devarena_2d(mem, DT_F32, 1, f->config.hidden, &row, err));
    if (f->config.guidance) {
        TRY(embed_numbers(f, &f->guidance_in, &in->guidance, &row, mem, host, err));
        TRY(add_to_all(f, vec, &row, err));
    }
    TRY(flux_as_act(f, in->pooled, mem, &pooled, err));
    TRY(embed(f, &f->vector_in, &pooled, &row, mem, err));
    return add_to_all(f, vec, &row, err);
}

/* --- the table --- */

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

/* All steps in one product a layer; before each product the next layer's weights are announced to the backend. */
static enum err_code fill_table(const struct flux *f, const struct tensor *silu_vec, struct tensor *table,
                                struct err *err)
{
    int n = 2 * f->config.n_double + f->config.n_single + 1;

    for (int i = 0; i < n; i++) {
        struct mod_layer layer = mod_layer(f, i);
        const struct weight *next = &mod_layer(f, i + 1 < n ? i + 1 : i).linear->w;
        struct tensor cols = tensor_col_view(table, layer.col, layer.linear->w.rows);

        if (!f->modulation_in_file)
            f->be->ops->weight_prefetch(f->be, &next, 1);
        TRY(mod_linear(f, &cols, silu_vec, layer.linear, ACT_NONE, err));
    }
    return ERR_OK;
}

enum err_code flux_modulate(const struct flux *f, const struct flux_inputs *in, struct tensor *ret,
                            struct devarena *step_mem, struct arena *host, struct err *err)
{
    DEVARENA_SCRATCH(step_mem);
    struct tensor vec, silu_vec;

    TRY(devarena_2d(step_mem, DT_F32, in->n_steps, f->config.hidden, &vec, err));
    TRY(make_vec(f, in, &vec, step_mem, host, err));
    TRY(devarena_2d(step_mem, f->be->act, in->n_steps, f->config.hidden, &silu_vec, err));
    TRY(op_silu(f->be, &silu_vec, &vec, err));
    return fill_table(f, &silu_vec, ret, err);
}
