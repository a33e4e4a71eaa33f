#include "models/bench/random_text.h"

#include <stdio.h>

#include "models/text/t5_encoder.h"
#include "models/text/text_limits.h"

/* The first error is kept and makes later calls do nothing, so that callers need not check each one. */
struct list {
    struct random_model *m;
    enum err_code rc;
    struct err *err;
};

/* rows 0: a vector of `cols` */
static void add(struct list *l, const char *layer, const char *part, int64_t rows, int64_t cols)
{
    const int64_t dims[] = { rows ? rows : cols, cols };
    char name[96];

    (void)snprintf(name, sizeof name, "%s%s", layer, part);
    if (!l->rc)
        l->rc = random_model_add(l->m, name, rows ? 2 : 1, dims, l->err);
}

static void add_t5_layer(struct list *l, int i)
{
    static const char *const matrices[] = { "q", "k", "v", "o" };
    char layer[48], part[48];

    (void)snprintf(layer, sizeof layer, "encoder.block.%d.layer.", i);
    add(l, layer, "0.layer_norm.weight", 0, T5_WIDTH);
    add(l, layer, "1.layer_norm.weight", 0, T5_WIDTH);
    for (int k = 0; k < 4; k++) {
        (void)snprintf(part, sizeof part, "0.SelfAttention.%s.weight", matrices[k]);
        add(l, layer, part, T5_WIDTH, T5_WIDTH);
    }
    add(l, layer, "1.DenseReluDense.wi_0.weight", T5_FF, T5_WIDTH);
    add(l, layer, "1.DenseReluDense.wi_1.weight", T5_FF, T5_WIDTH);
    add(l, layer, "1.DenseReluDense.wo.weight", T5_WIDTH, T5_FF);
}

static void add_clip_layer(struct list *l, int i)
{
    static const struct {
        const char *name;
        int64_t rows, cols;
    } linears[] = {
        { "self_attn.q_proj", CLIP_WIDTH, CLIP_WIDTH },
        { "self_attn.k_proj", CLIP_WIDTH, CLIP_WIDTH },
        { "self_attn.v_proj", CLIP_WIDTH, CLIP_WIDTH },
        { "self_attn.out_proj", CLIP_WIDTH, CLIP_WIDTH },
        { "mlp.fc1", CLIP_MLP, CLIP_WIDTH },
        { "mlp.fc2", CLIP_WIDTH, CLIP_MLP },
    };
    char layer[64];

    for (size_t k = 0; k < sizeof linears / sizeof *linears; k++) {
        (void)snprintf(layer, sizeof layer, "text_model.encoder.layers.%d.%s", i, linears[k].name);
        add(l, layer, ".weight", linears[k].rows, linears[k].cols);
        add(l, layer, ".bias", 0, linears[k].rows);
    }
    for (int k = 1; k <= 2; k++) {
        (void)snprintf(layer, sizeof layer, "text_model.encoder.layers.%d.layer_norm%d", i, k);
        add(l, layer, ".weight", 0, CLIP_WIDTH);
        add(l, layer, ".bias", 0, CLIP_WIDTH);
    }
}

enum err_code random_model_add_t5(struct random_model *m, int n_layers, struct err *err)
{
    struct list l = { m, ERR_OK, err };

    add(&l, "shared", ".weight", T5_VOCAB, T5_WIDTH);
    add(&l, "encoder", ".block.0.layer.0.SelfAttention.relative_attention_bias.weight", T5_BUCKETS, T5_HEADS);
    add(&l, "encoder", ".final_layer_norm.weight", 0, T5_WIDTH);
    for (int i = 0; i < n_layers; i++)
        add_t5_layer(&l, i);
    return l.rc;
}

enum err_code random_model_add_clip(struct random_model *m, int64_t vocab, int n_layers, struct err *err)
{
    struct list l = { m, ERR_OK, err };

    add(&l, "text_model.embeddings", ".token_embedding.weight", vocab, CLIP_WIDTH);
    add(&l, "text_model.embeddings", ".position_embedding.weight", CLIP_MAX_IDS, CLIP_WIDTH);
    add(&l, "text_model.final_layer_norm", ".weight", 0, CLIP_WIDTH);
    add(&l, "text_model.final_layer_norm", ".bias", 0, CLIP_WIDTH);
    for (int i = 0; i < n_layers; i++)
        add_clip_layer(&l, i);
    return l.rc;
}
