/*
 * clip_text - the text transformer of CLIP-L: ids -> pooled_prompt_embeds.
 *
 * Easy to get wrong: the pooled vector is the row of the *first* end-of-text id after the final LayerNorm, and no
 * text_projection is applied. Attention is causal, so the rows after that one are not computed. The activation is
 * quick GELU. End-of-text is the last row of the vocabulary; heads are 64 wide.
 * Source: Radford et al. 2021; transformers modeling_clip.py; MODEL.md 7.1, 7.2.
 */
#ifndef MODELS_TEXT_CLIP_TEXT_H
#define MODELS_TEXT_CLIP_TEXT_H

#include "kernels/backend.h"
#include "kernels/devarena.h"
#include "models/weights/weights.h"

enum { CLIP_MAX_LAYERS = 128, CLIP_MAX_TOKENS = 1024, CLIP_HEAD_DIM = 64 };

struct clip_linear {
    struct weight w;
    struct bias b;
};

struct clip_norm {
    struct tensor w, b;
};

struct clip_layer {
    struct clip_norm norm1, norm2;
    struct clip_linear q, k, v, out, fc1, fc2;
};

struct clip_text {
    struct backend *be;
    int64_t vocab, n_positions, width, mlp; /* 49408, 77, 768, 3072 */
    int n_layers, n_heads;
    struct weight token_embedding, position_embedding;
    struct clip_layer *layers;
    struct clip_norm final_norm;
};

MUST_CHECK enum err_code clip_weight_set(struct weight_set *ret, const struct tensor_file *files, int n_files,
                                         struct err *err);
MUST_CHECK enum err_code clip_load(struct clip_text *ret, struct weight_loader *l, struct arena *model,
                                   struct err *err);

/* ids on the host, n of them (1 .. n_positions), one of them end-of-text; pooled F32 [width]. */
MUST_CHECK enum err_code clip_encode(const struct clip_text *clip, const int32_t *ids, int n, struct tensor *pooled,
                                     struct devarena *step_mem, struct err *err);

#endif
