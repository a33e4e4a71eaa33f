/*
 * lora_alpha - the strength of a LoRA's layers where settings of PEFT have it. diffusers keeps them in the file's
 * metadata, "lora_adapter_metadata", a JSON object in which each name stands behind that of the model's part; PEFT
 * itself in adapter_config.json beside its file adapter_model.safetensors, with the bare names.
 *
 *   transformer.lora_alpha     number: of all layers
 *   transformer.alpha_pattern  object: of the layers whose names are its keys, or end with them behind a point; the
 *                              first that fits counts. A key may begin with '^' for the whole name.
 *   transformer.use_rslora     true: alpha / sqrt(r) in the place of alpha / r
 *
 * Source: diffusers (loaders/lora_base.py), PEFT (LoraConfig, get_pattern_key).
 */
#ifndef MODELS_LAYOUT_LORA_ALPHA_H
#define MODELS_LAYOUT_LORA_ALPHA_H

#include "models/file/tensor_file.h"

struct lora_settings {
    bool found; /* there are settings for a transformer */
    bool rslora;
    double alpha;         /* where no pattern fits; 8, PEFT's own, if it is not there */
    struct span patterns; /* JSON text of the object, or empty */
    struct span config;   /* the text of adapter_config.json where they come from there, or empty */
};

/* path: where the file is, or NULL if it is in memory only. ERR_CORRUPT, ERR_TOO_LARGE, ERR_UNSUPPORTED (keys of
 * alpha_pattern that are regular expressions, which are not read here). */
MUST_CHECK enum err_code lora_settings_read(const struct tensor_file *f, const char *path, struct arena *a,
                                            struct lora_settings *ret, struct err *err);
/* The alpha of a layer, by diffusers' name: "transformer_blocks.0.attn.to_q". */
double lora_settings_alpha(const struct lora_settings *s, struct span layer);

#endif
