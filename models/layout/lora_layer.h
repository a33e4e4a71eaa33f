/*
 * lora_layer - the tensors of a LoRA's file, put together by layers.
 */
#ifndef MODELS_LAYOUT_LORA_LAYER_H
#define MODELS_LAYOUT_LORA_LAYER_H

#include "models/file/tensor_file.h"
#include "models/layout/lora_key.h"

enum { LORA_MAX_LAYERS = 4096 };

struct lora_layer {
    struct lora_key key;                            /* of one of its tensors */
    const struct tensor_entry *entries[LORA_ROLES]; /* NULL: there is none */
};

/* The layers of a transformer in a file, sorted by their names in it. ERR_UNSUPPORTED for whatever else the file
 * changes, and for layers named in more than one style; ERR_CORRUPT for a tensor that comes twice; ERR_TOO_LARGE. */
MUST_CHECK enum err_code lora_layers_read(const struct tensor_file *f, struct arena *a, struct lora_layer **ret,
                                          int *ret_n, struct err *err);

#endif
