/*
 * lora_key - what the name of a tensor in a LoRA's file says: of which layer it is, and which part of its change.
 *
 *   diffusers, PEFT  transformer.transformer_blocks.0.attn.to_q.lora_A.weight, .lora_B.weight, .alpha, .lora_B.bias;
 *                    also with an adapter's name (lora_A.default.weight), and with lora_down and lora_up
 *   BFL              diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight, or lora_down
 *   kohya            lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight, .lora_up.weight, .alpha; with diffusers'
 *                    names: lora_transformer_transformer_blocks_0_attn_to_q
 *   XLabs            double_blocks.0.processor.qkv_lora1.down.weight, .up.weight
 *
 * A layer may also have its whole change as one matrix or vector (.diff, .diff_b).
 *
 * Source: diffusers (loaders/lora_conversion_utils.py).
 */
#ifndef MODELS_LAYOUT_LORA_KEY_H
#define MODELS_LAYOUT_LORA_KEY_H

#include "models/layout/flux_names.h"

enum lora_role {
    LORA_A,      /* [rank, inputs] */
    LORA_B,      /* [outputs, rank] */
    LORA_ALPHA,  /* one number */
    LORA_B_BIAS, /* [outputs] */
    LORA_DIFF,   /* [outputs, inputs] */
    LORA_DIFF_B, /* [outputs] */
    LORA_ROLES,
    LORA_PLAIN = LORA_ROLES, /* a weight, bias or scale as a model has it */
    LORA_NO_ROLE
};
enum lora_place { LORA_TRANSFORMER, LORA_TEXT_ENCODER, LORA_ELSEWHERE };

struct lora_key {
    struct span layer; /* the name without the role, where it has one */
    enum lora_role role;
    enum lora_place place;
    /* only in the transformer: */
    struct flux_module module;
    struct span path;    /* the layer without what stands in front of a module's name */
    bool attention_only; /* of a single block's linear1 the rows of q, k and v */
    int style;           /* equal for layers that are named in the same way */
};

void lora_key_read(struct span name, struct lora_key *ret);

/* "a DoRA", if the name is that of a tensor that only another kind of adapter has; NULL: it is not. */
const char *lora_key_other_kind(struct span name);

#endif
