/*
 * t5_encoder - the encoder of T5 v1.1 (XXL): ids -> prompt_embeds.
 *
 * Easy to get wrong: attention logits are not scaled by 1/sqrt(d); there is no attention mask, so that padding attends
 * and is attended to; one table of relative positions (in block 0) is used in all layers; GELU is applied to wi_0,
 * which is ffn_gate. The residual stream exceeds the range of f16 and is F32.
 * Tensors have the names of HF safetensors or of llama.cpp's GGUF. Sizes come from the tensors (heads = columns of the
 * bias table, head width = rows of q / heads; heads * head width may differ from d_model).
 * Source: Raffel et al. 2020; Shazeer 2020 (GLU); transformers modeling_t5.py; MODEL.md 5.
 */
#ifndef MODELS_TEXT_T5_ENCODER_H
#define MODELS_TEXT_T5_ENCODER_H

#include "kernels/backend.h"
#include "kernels/devarena.h"
#include "models/weights/weights.h"
#include "models/text/text_limits.h"

enum { T5_MAX_LAYERS = 128, T5_BUCKETS = 32 };

struct t5_layer {
    struct tensor attn_norm, ffn_norm; /* F32 [d_model] */
    struct weight q, k, v, o;          /* [inner, d_model], o [d_model, inner] */
    struct weight wi_0, wi_1, wo;      /* [d_ff, d_model], wo [d_model, d_ff] */
};

struct t5_encoder {
    struct backend *be;
    int64_t vocab, d_model, inner, d_ff; /* 32128, 4096, 4096, 10240 */
    int n_layers, n_heads, head_dim;     /* 24, 64, 64 */
    struct weight embedding;             /* [vocab, d_model] */
    struct tensor rel_bias;              /* F32 [n_heads, 2 * T5_MAX_TOKENS - 1] */
    struct tensor final_norm;
    struct t5_layer *layers;
};

/* Joins the files (shards, or one GGUF). ERR_NOT_FOUND: they contain no T5 encoder. */
MUST_CHECK enum err_code t5_weight_set(struct weight_set *ret, const struct tensor_file *files, int n_files,
                                       struct err *err);
MUST_CHECK enum err_code t5_load(struct t5_encoder *ret, struct weight_loader *l, struct arena *model, struct err *err);

/* ids: n of them, on the host, padding included; n is 1 .. T5_MAX_TOKENS. out: F32 [n, d_model]. */
MUST_CHECK enum err_code t5_encode(const struct t5_encoder *t5, const int32_t *ids, int n, struct tensor *out,
                                   struct devarena *step_mem, struct err *err);

/* The bucket, 0 .. T5_BUCKETS - 1, of the relative position key - query: bidirectional, up to a distance of 128. */
int t5_bucket(int relative);

#endif
