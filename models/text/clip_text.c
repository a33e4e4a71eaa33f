#include "models/text/clip_text.h"

#include <math.h>
#include <stdio.h>

#include "kernels/ops.h"
#include "models/layout/network_prefixes.h"
#include "models/weights/weight_depth.h"

enum { NAME_SIZE = 96, MAX_WIDTH = 1 << 20 };
static const float norm_eps = 1e-5f;
static const char token_name[] = "embeddings.token_embedding.weight";
static const char position_name[] = "embeddings.position_embedding.weight";

enum err_code clip_weight_set(struct weight_set *ret, const struct tensor_file *files, int n_files, struct err *err)
{
    return weight_set_init(ret, files, n_files, network_prefixes(NETWORK_CLIP), token_name, err);
}

/* --- loading --- */

static enum err_code shape_of(const struct weight_set *set, const char *name, int64_t *ret_rows, int64_t *ret_cols,
                              struct err *err)
{
    const struct tensor_entry *e = weight_set_find(set, "%s", name);

    if (!e)
        return err_set(err, ERR_NOT_FOUND, "CLIP: %s: tensor '%s' is missing", set->files[0]->path, name);
    if (e->n_dims != 2 || e->dims[0] < 1 || e->dims[1] < 1 || e->dims[0] > MAX_WIDTH || e->dims[1] > MAX_WIDTH)
        return err_set(err, ERR_CORRUPT, "CLIP: %s: tensor '%s' is not a matrix, or is too large", set->files[0]->path,
                       name);
    *ret_rows = e->dims[0];
    *ret_cols = e->dims[1];
    return ERR_OK;
}

static enum err_code read_sizes(struct clip_text *c, const struct weight_set *set, struct err *err)
{
    const char *path = set->files[0]->path;
    int64_t ignored;

    TRY(shape_of(set, token_name, &c->vocab, &c->width, err));
    TRY(shape_of(set, position_name, &c->n_positions, &ignored, err));
    TRY(shape_of(set, "encoder.layers.0.mlp.fc1.weight", &c->mlp, &ignored, err));
    if (c->width % CLIP_HEAD_DIM != 0)
        return err_set(err, ERR_UNSUPPORTED, "CLIP: %s: the width %lld is not a multiple of %d", path,
                       (long long)c->width, CLIP_HEAD_DIM);
    if (c->n_positions > CLIP_MAX_TOKENS)
        return err_set(err, ERR_UNSUPPORTED, "CLIP: %s: %lld positions; at most %d are supported", path,
                       (long long)c->n_positions, CLIP_MAX_TOKENS);
    c->n_heads = (int)(c->width / CLIP_HEAD_DIM);
    c->n_layers = weight_depth(set, "encoder.layers.", CLIP_MAX_LAYERS);
    if (c->n_layers > CLIP_MAX_LAYERS)
        return err_set(err, ERR_UNSUPPORTED, "CLIP: %s: more than %d layers", path, CLIP_MAX_LAYERS);
    return ERR_OK;
}

static enum err_code load_norm(struct weight_loader *l, struct clip_norm *n, int64_t width, const char *name,
                               struct err *err)
{
    TRY(weights_vector(l, &n->w, width, err, "%s.weight", name));
    return weights_vector(l, &n->b, width, err, "%s.bias", name);
}

static enum err_code load_layer(struct clip_text *c, struct weight_loader *l, int layer, struct err *err)
{
    struct clip_layer *t = &c->layers[layer];
    const struct {
        struct clip_linear *l;
        const char *name;
        int64_t rows, cols;
    } linears[] = {
        { &t->q, "self_attn.q_proj", c->width, c->width }, { &t->k, "self_attn.k_proj", c->width, c->width },
        { &t->v, "self_attn.v_proj", c->width, c->width }, { &t->out, "self_attn.out_proj", c->width, c->width },
        { &t->fc1, "mlp.fc1", c->mlp, c->width },          { &t->fc2, "mlp.fc2", c->width, c->mlp },
    };
    char name[NAME_SIZE];

    (void)snprintf(name, sizeof name, "encoder.layers.%d.layer_norm1", layer);
    TRY(load_norm(l, &t->norm1, c->width, name, err));
    (void)snprintf(name, sizeof name, "encoder.layers.%d.layer_norm2", layer);
    TRY(load_norm(l, &t->norm2, c->width, name, err));
    for (size_t i = 0; i < sizeof linears / sizeof *linears; i++) {
        (void)snprintf(name, sizeof name, "encoder.layers.%d.%s", layer, linears[i].name);
        TRY(weights_matrix(l, &linears[i].l->w, linears[i].rows, linears[i].cols, err, "%s.weight", name));
        TRY(weights_bias(l, &linears[i].l->b, linears[i].rows, err, "%s.bias", name));
    }
    return ERR_OK;
}

enum err_code clip_load(struct clip_text *ret, struct weight_loader *l, struct arena *model, struct err *err)
{
    struct clip_text c = { .be = l->be };

    TRY(read_sizes(&c, l->set, err));
    TRY(arena_alloc(model, (size_t)c.n_layers, sizeof *c.layers, &c.layers, err));
    TRY(weights_matrix(l, &c.token_embedding, c.vocab, c.width, err, "%s", token_name));
    TRY(weights_matrix(l, &c.position_embedding, c.n_positions, c.width, err, "%s", position_name));
    for (int i = 0; i < c.n_layers; i++)
        TRY(load_layer(&c, l, i, err));
    TRY(load_norm(l, &c.final_norm, c.width, "final_layer_norm", err));
    TRY(weights_finish(l, err));
    *ret = c;
    return ERR_OK;
}

/* --- running --- */

/* The tensors that all layers share. */
struct state {
    const struct clip_text *clip;
    struct devarena *mem;
    struct tensor h; /* residual stream */
    struct tensor n; /* h after a LayerNorm */
    struct tensor y; /* what is added to h next */
};

static enum err_code attention(struct state *s, const struct clip_layer *t, struct err *err)
{
    struct backend *be = s->clip->be;
    struct attention_args args = { .n_heads = s->clip->n_heads,
                                   .head_dim = CLIP_HEAD_DIM,
                                   .scale = 1.0f / sqrtf((float)CLIP_HEAD_DIM),
                                   .causal = true };
    const struct clip_linear *const w[] = { &t->q, &t->k, &t->v };
    struct tensor qkv[3], out;
    DEVARENA_SCRATCH(s->mem);

    TRY(op_layer_norm(be, &s->n, &s->h, &t->norm1.w, &t->norm1.b, norm_eps, err));
    for (int i = 0; i < 3; i++) {
        TRY(devarena_2d(s->mem, be->act, tensor_rows(&s->h), s->clip->width, &qkv[i], err));
        TRY(op_linear(be, &qkv[i], &s->n, &w[i]->w, &w[i]->b, ACT_NONE, err));
    }
    TRY(devarena_2d(s->mem, be->act, tensor_rows(&s->h), s->clip->width, &out, err));
    TRY(op_attention(be, &out, &qkv[0], &qkv[1], &qkv[2], &args, err));
    TRY(op_linear(be, &s->y, &out, &t->out.w, &t->out.b, ACT_NONE, err));
    return op_gate_add(be, &s->h, NULL, &s->y, err);
}

static enum err_code feed_forward(struct state *s, const struct clip_layer *t, struct err *err)
{
    struct backend *be = s->clip->be;
    struct tensor hidden;
    DEVARENA_SCRATCH(s->mem);

    TRY(op_layer_norm(be, &s->n, &s->h, &t->norm2.w, &t->norm2.b, norm_eps, err));
    TRY(devarena_2d(s->mem, be->act, tensor_rows(&s->h), s->clip->mlp, &hidden, err));
    TRY(op_linear(be, &hidden, &s->n, &t->fc1.w, &t->fc1.b, ACT_QUICK_GELU, err));
    TRY(op_linear(be, &s->y, &hidden, &t->fc2.w, &t->fc2.b, ACT_NONE, err));
    return op_gate_add(be, &s->h, NULL, &s->y, err);
}

/* h = tokens + positions */
static enum err_code embed(struct state *s, const int32_t *ids, struct err *err)
{
    const struct clip_text *clip = s->clip;
    int32_t positions[CLIP_MAX_TOKENS];

    for (int i = 0; i < tensor_rows(&s->h); i++)
        positions[i] = i;
    TRY(op_embed_rows(clip->be, &s->h, &clip->token_embedding, ids, err));
    TRY(op_embed_rows(clip->be, &s->y, &clip->position_embedding, positions, err));
    return op_gate_add(clip->be, &s->h, NULL, &s->y, err);
}

static enum err_code run_layer(struct state *s, const struct clip_layer *t, struct err *err)
{
    TRY(attention(s, t, err));
    return feed_forward(s, t, err);
}

static enum err_code run(struct state *s, const int32_t *ids, struct tensor *pooled, struct err *err)
{
    const struct clip_text *clip = s->clip;
    struct tensor last = tensor_row_view(&s->h, tensor_rows(&s->h) - 1, 1), row = tensor_as_2d(pooled, 1, clip->width);

    TRY(embed(s, ids, err));
    for (int i = 0; i < clip->n_layers; i++)
        if (run_layer(s, &clip->layers[i], err))
            return err_prefix(err, "CLIP layer %d", i);
    return op_layer_norm(clip->be, &row, &last, &clip->final_norm.w, &clip->final_norm.b, norm_eps, err);
}

enum err_code clip_encode(const struct clip_text *clip, const int32_t *ids, int n, struct tensor *pooled,
                          struct devarena *step_mem, struct err *err)
{
    DEVARENA_SCRATCH(step_mem);
    struct state s = { .clip = clip, .mem = step_mem };
    int end = 0;

    while (end < n && ids[end] != clip->vocab - 1)
        end++;
    if (n > clip->n_positions || end >= n)
        return err_set(err, ERR_INVALID, "CLIP: %d ids, at most %lld allowed, must include the end of text", n,
                       (long long)clip->n_positions);
    if (tensor_count(pooled) != clip->width)
        return err_set(err, ERR_INVALID, "CLIP: pooled has %lld values instead of %lld",
                       (long long)tensor_count(pooled), (long long)clip->width);
    TRY(devarena_2d(step_mem, DT_F32, end + 1, clip->width, &s.h, err));
    TRY(devarena_2d(step_mem, clip->be->act, end + 1, clip->width, &s.n, err));
    TRY(devarena_2d(step_mem, DT_F32, end + 1, clip->width, &s.y, err));
    return run(&s, ids, pooled, err);
}
