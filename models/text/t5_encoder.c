#include "models/text/t5_encoder.h"

#include <stdio.h>
#include <string.h>

#include "kernels/ops.h"
#include "models/layout/network_prefixes.h"
#include "models/weights/weight_depth.h"

enum { NAME_SIZE = 96, MAX_WIDTH = 1 << 20, REL_SPAN = 2 * T5_MAX_TOKENS - 1 };
static const float norm_eps = 1e-6f;

/* --- names --- */

/* The names of the tensors in a family of files; %d is the layer. */
struct names {
    const char *probe; /* a tensor of every file of the family, and of no other */
    const char *stem;  /* what a layer's tensor names begin with, before its number */
    const char *embedding, *other_embedding, *rel_bias, *final_norm;
    const char *attn_norm, *q, *k, *v, *o, *ffn_norm, *wi_0, *wi_1, *wo;
};

static const struct names families[] = {
    { .probe = "encoder.final_layer_norm.weight",
      .stem = "encoder.block.",
      .embedding = "shared.weight",
      .other_embedding = "encoder.embed_tokens.weight",
      .rel_bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
      .final_norm = "encoder.final_layer_norm.weight",
      .attn_norm = "encoder.block.%d.layer.0.layer_norm.weight",
      .q = "encoder.block.%d.layer.0.SelfAttention.q.weight",
      .k = "encoder.block.%d.layer.0.SelfAttention.k.weight",
      .v = "encoder.block.%d.layer.0.SelfAttention.v.weight",
      .o = "encoder.block.%d.layer.0.SelfAttention.o.weight",
      .ffn_norm = "encoder.block.%d.layer.1.layer_norm.weight",
      .wi_0 = "encoder.block.%d.layer.1.DenseReluDense.wi_0.weight",
      .wi_1 = "encoder.block.%d.layer.1.DenseReluDense.wi_1.weight",
      .wo = "encoder.block.%d.layer.1.DenseReluDense.wo.weight" },
    { .probe = "enc.output_norm.weight",
      .stem = "enc.blk.",
      .embedding = "token_embd.weight",
      .other_embedding = "token_embd.weight",
      .rel_bias = "enc.blk.0.attn_rel_b.weight",
      .final_norm = "enc.output_norm.weight",
      .attn_norm = "enc.blk.%d.attn_norm.weight",
      .q = "enc.blk.%d.attn_q.weight",
      .k = "enc.blk.%d.attn_k.weight",
      .v = "enc.blk.%d.attn_v.weight",
      .o = "enc.blk.%d.attn_o.weight",
      .ffn_norm = "enc.blk.%d.ffn_norm.weight",
      .wi_0 = "enc.blk.%d.ffn_gate.weight",
      .wi_1 = "enc.blk.%d.ffn_up.weight",
      .wo = "enc.blk.%d.ffn_down.weight" },
};
enum { N_FAMILIES = sizeof families / sizeof *families };

static const struct names *family_of(const struct weight_set *set)
{
    for (int i = 0; i < N_FAMILIES; i++)
        if (weight_set_find(set, "%s", families[i].probe))
            return &families[i];
    return NULL;
}

enum err_code t5_weight_set(struct weight_set *ret, const struct tensor_file *files, int n_files, struct err *err)
{
    const char *const *prefixes = network_prefixes(NETWORK_T5);

    for (int i = 0; i < N_FAMILIES; i++) {
        struct err why = { 0 };
        enum err_code rc = weight_set_init(ret, files, n_files, prefixes, families[i].probe, &why);

        if (rc != ERR_NOT_FOUND)
            return rc ? err_set(err, rc, "T5: %s", why.msg) : ERR_OK;
    }
    return err_set(err, ERR_NOT_FOUND, "T5: %s is not a T5 encoder: it has neither '%s' nor '%s'",
                   n_files > 0 ? files[0].path : "no file", families[0].probe, families[1].probe);
}

/* --- relative positions --- */

int t5_bucket(int relative)
{
    /* For distances a >= 8 the bucket is 8 + trunc(ln(a/8) / ln(16) * 8), at most 15. These are the distances at which
     * the buckets begin. */
    static const int begins[] = { 8, 12, 16, 23, 32, 46, 64, 91 };
    int half = relative > 0 ? T5_BUCKETS / 2 : 0, a = relative < 0 ? -relative : relative, bucket = 7;

    if (a < begins[0])
        return half + a;
    for (size_t i = 0; i < sizeof begins / sizeof *begins && a >= begins[i]; i++)
        bucket++;
    return half + bucket;
}

/* ret [n_heads, REL_SPAN]: the bias of key - query = column - (T5_MAX_TOKENS - 1). */
static void spread_buckets(float *ret, const float *table, int n_heads)
{
    for (int h = 0; h < n_heads; h++)
        for (int i = 0; i < REL_SPAN; i++)
            ret[(size_t)h * REL_SPAN + (size_t)i] = table[t5_bucket(i - (T5_MAX_TOKENS - 1)) * n_heads + h];
}

static enum err_code load_rel_bias(struct t5_encoder *t5, struct weight_loader *l, const char *name, struct err *err)
{
    ARENA_SCRATCH(l->scratch);
    struct weight_source source;
    float *table, *bias;

    TRY(weight_set_source(l->set, name, &source, err));
    TRY(arena_alloc(l->scratch, T5_BUCKETS * (size_t)t5->n_heads, sizeof *table, &table, err));
    TRY(arena_alloc(l->scratch, REL_SPAN * (size_t)t5->n_heads, sizeof *bias, &bias, err));
    TRY(devarena_2d(l->mem, DT_F32, t5->n_heads, REL_SPAN, &t5->rel_bias, err));
    weight_source_read(&source, 0, T5_BUCKETS, table);
    weight_set_take(l->set, &source);
    spread_buckets(bias, table, t5->n_heads);
    TRY(op_upload(l->be, &t5->rel_bias, bias, err));
    return l->be->ops->sync(l->be, err); /* the upload must end before the scratch arena is rewound */
}

/* --- loading --- */

static enum err_code find(const struct weight_set *set, const char *name, const struct tensor_entry **ret,
                          struct err *err)
{
    *ret = weight_set_find(set, "%s", name);
    if (!*ret)
        return err_set(err, ERR_NOT_FOUND, "T5: %s: tensor '%s' is missing", set->files[0]->path, name);
    if ((*ret)->n_dims != 2 || (*ret)->dims[0] < 1 || (*ret)->dims[1] < 1 || (*ret)->dims[0] > MAX_WIDTH ||
        (*ret)->dims[1] > MAX_WIDTH)
        return err_set(err, ERR_CORRUPT, "T5: %s: tensor '%s' is not a matrix, or is too large", set->files[0]->path,
                       name);
    return ERR_OK;
}

static const char *in_layer(char buf[NAME_SIZE], const char *pattern, int layer)
{
    const char *at = strstr(pattern, "%d");

    (void)snprintf(buf, NAME_SIZE, "%.*s%d%s", (int)(at - pattern), pattern, layer, at + 2);
    return buf;
}

static enum err_code check_sizes(const struct t5_encoder *t5, const char *path, int64_t n_buckets, struct err *err)
{
    if (n_buckets != T5_BUCKETS)
        return err_set(err, ERR_UNSUPPORTED, "T5: %s: the table of relative positions has %lld buckets instead of %d",
                       path, (long long)n_buckets, T5_BUCKETS);
    if (t5->n_layers > T5_MAX_LAYERS)
        return err_set(err, ERR_UNSUPPORTED, "T5: %s: more than %d layers", path, T5_MAX_LAYERS);
    if ((int64_t)t5->head_dim * t5->n_heads != t5->inner)
        return err_set(err, ERR_UNSUPPORTED, "T5: %s: the %lld rows of q are not a multiple of %d heads", path,
                       (long long)t5->inner, t5->n_heads);
    return ERR_OK;
}

static enum err_code read_sizes(struct t5_encoder *t5, const struct weight_set *set, const struct names *names,
                                struct err *err)
{
    const struct tensor_entry *embedding, *q, *wi, *rel_bias;
    const char *name = weight_set_find(set, "%s", names->embedding) ? names->embedding : names->other_embedding;
    char buf[NAME_SIZE];

    TRY(find(set, name, &embedding, err));
    TRY(find(set, names->rel_bias, &rel_bias, err));
    TRY(find(set, in_layer(buf, names->q, 0), &q, err));
    TRY(find(set, in_layer(buf, names->wi_0, 0), &wi, err));
    t5->vocab = embedding->dims[0];
    t5->d_model = embedding->dims[1];
    t5->inner = q->dims[0];
    t5->d_ff = wi->dims[0];
    t5->n_layers = weight_depth(set, names->stem, T5_MAX_LAYERS);
    t5->n_heads = (int)rel_bias->dims[1];
    t5->head_dim = (int)(t5->inner / t5->n_heads);
    return check_sizes(t5, set->files[0]->path, rel_bias->dims[0], err);
}

static enum err_code load_layer(struct t5_encoder *t5, struct weight_loader *l, const struct names *names, int layer,
                                struct err *err)
{
    struct t5_layer *t = &t5->layers[layer];
    int64_t d = t5->d_model, inner = t5->inner, ff = t5->d_ff;
    const struct {
        struct weight *w;
        const char *pattern;
        int64_t rows, cols;
    } matrices[] = {
        { &t->q, names->q, inner, d }, { &t->k, names->k, inner, d },    { &t->v, names->v, inner, d },
        { &t->o, names->o, d, inner }, { &t->wi_0, names->wi_0, ff, d }, { &t->wi_1, names->wi_1, ff, d },
        { &t->wo, names->wo, d, ff },
    };
    char name[NAME_SIZE];

    TRY(weights_vector(l, &t->attn_norm, d, err, "%s", in_layer(name, names->attn_norm, layer)));
    TRY(weights_vector(l, &t->ffn_norm, d, err, "%s", in_layer(name, names->ffn_norm, layer)));
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
        TRY(weights_matrix(l, matrices[i].w, matrices[i].rows, matrices[i].cols, err, "%s",
                           in_layer(name, matrices[i].pattern, layer)));
    return ERR_OK;
}

enum err_code t5_load(struct t5_encoder *ret, struct weight_loader *l, struct arena *model, struct err *err)
{
    const struct names *names = family_of(l->set);
    struct t5_encoder t5 = { .be = l->be };
    const char *embedding;

    if (!names)
        return err_set(err, ERR_NOT_FOUND, "T5: %s: tensor '%s' is missing", l->set->files[0]->path, families[0].probe);
    TRY(read_sizes(&t5, l->set, names, err));
    embedding = weight_set_find(l->set, "%s", names->embedding) ? names->embedding : names->other_embedding;
    TRY(arena_alloc(model, (size_t)t5.n_layers, sizeof *t5.layers, &t5.layers, err));
    TRY(weights_matrix(l, &t5.embedding, t5.vocab, t5.d_model, err, "%s", embedding));
    TRY(load_rel_bias(&t5, l, names->rel_bias, err));
    for (int i = 0; i < t5.n_layers; i++)
        TRY(load_layer(&t5, l, names, i, err));
    TRY(weights_vector(l, &t5.final_norm, t5.d_model, err, "%s", names->final_norm));
    TRY(weights_finish(l, err));
    *ret = t5;
    return ERR_OK;
}

/* --- running --- */

/* The tensors that all layers share. */
struct state {
    const struct t5_encoder *t5;
    struct devarena *mem;
    struct tensor h; /* residual stream */
    struct tensor n; /* h after a norm */
    struct tensor y; /* what is added to h next */
};

static enum err_code attention(struct state *s, const struct t5_layer *t, struct err *err)
{
    struct backend *be = s->t5->be;
    int64_t inner = s->t5->inner, rows = tensor_rows(&s->h);
    struct attention_args args = {
        .n_heads = s->t5->n_heads, .head_dim = s->t5->head_dim, .scale = 1, .rel_bias = &s->t5->rel_bias
    };
    const struct weight *const w[] = { &t->q, &t->k, &t->v };
    struct tensor qkv[3], out;
    DEVARENA_SCRATCH(s->mem);

    TRY(op_rms_norm(be, &s->n, &s->h, &t->attn_norm, norm_eps, err));
    for (int i = 0; i < 3; i++) {
        TRY(devarena_2d(s->mem, be->act, rows, inner, &qkv[i], err));
        TRY(op_linear(be, &qkv[i], &s->n, w[i], NULL, ACT_NONE, err));
    }
    TRY(devarena_2d(s->mem, be->act, rows, inner, &out, err));
    TRY(op_attention(be, &out, &qkv[0], &qkv[1], &qkv[2], &args, err));
    TRY(op_linear(be, &s->y, &out, &t->o, NULL, ACT_NONE, err));
    return op_gate_add(be, &s->h, NULL, &s->y, err);
}

static enum err_code feed_forward(struct state *s, const struct t5_layer *t, struct err *err)
{
    struct backend *be = s->t5->be;
    int64_t rows = tensor_rows(&s->h);
    struct tensor gate, up;
    DEVARENA_SCRATCH(s->mem);

    TRY(op_rms_norm(be, &s->n, &s->h, &t->ffn_norm, norm_eps, err));
    TRY(devarena_2d(s->mem, be->act, rows, s->t5->d_ff, &gate, err));
    TRY(devarena_2d(s->mem, be->act, rows, s->t5->d_ff, &up, err));
    TRY(op_linear(be, &gate, &s->n, &t->wi_0, NULL, ACT_GELU_TANH, err));
    TRY(op_linear(be, &up, &s->n, &t->wi_1, NULL, ACT_NONE, err));
    TRY(op_mul(be, &gate, &gate, &up, err));
    TRY(op_linear(be, &s->y, &gate, &t->wo, NULL, ACT_NONE, err));
    return op_gate_add(be, &s->h, NULL, &s->y, err);
}

static void prefetch(const struct t5_encoder *t5, int layer)
{
    const struct t5_layer *t = &t5->layers[layer];
    const struct weight *list[] = { &t->q, &t->k, &t->v, &t->o, &t->wi_0, &t->wi_1, &t->wo };

    t5->be->ops->weight_prefetch(t5->be, list, sizeof list / sizeof *list);
}

static enum err_code run_layer(struct state *s, const struct t5_layer *t, struct err *err)
{
    TRY(attention(s, t, err));
    return feed_forward(s, t, err);
}

static enum err_code run_layers(struct state *s, struct err *err)
{
    const struct t5_encoder *t5 = s->t5;

    for (int i = 0; i < t5->n_layers; i++) {
        if (i + 1 < t5->n_layers)
            prefetch(t5, i + 1);
        if (run_layer(s, &t5->layers[i], err))
            return err_prefix(err, "T5 layer %d", i);
    }
    return ERR_OK;
}

enum err_code t5_encode(const struct t5_encoder *t5, const int32_t *ids, int n, struct tensor *out,
                        struct devarena *step_mem, struct err *err)
{
    DEVARENA_SCRATCH(step_mem);
    struct state s = { .t5 = t5, .mem = step_mem };

    if (n < 1 || n > T5_MAX_TOKENS)
        return err_set(err, ERR_INVALID, "T5: %d ids; 1 to %d are allowed", n, T5_MAX_TOKENS);
    TRY(devarena_2d(step_mem, DT_F32, n, t5->d_model, &s.h, err));
    TRY(devarena_2d(step_mem, t5->be->act, n, t5->d_model, &s.n, err));
    TRY(devarena_2d(step_mem, DT_F32, n, t5->d_model, &s.y, err));
    prefetch(t5, 0);
    TRY(op_embed_rows(t5->be, &s.h, &t5->embedding, ids, err));
    TRY(run_layers(&s, err));
    return op_rms_norm(t5->be, out, &s.h, &t5->final_norm, norm_eps, err);
}
