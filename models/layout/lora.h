/*
 * lora - low-rank changes of a transformer's matrices: W' = W + scale * (alpha / r) * B A, from a safetensors file with
 * the names of diffusers and PEFT, of kohya's scripts, or of BFL.
 */
#ifndef MODELS_LAYOUT_LORA_H
#define MODELS_LAYOUT_LORA_H

#include "models/file/weight_source.h"

struct lora;

/* Opens a file and finds out what each of its tensors changes. It lives until the arena is rewound. */
MUST_CHECK enum err_code lora_open(const char *path, double scale, struct arena *a, const struct lora **ret,
                                   struct err *err);

/* The shape of a network's tensor; false: there is none of this name. */
typedef bool lora_shape_fn(const void *ctx, const char *name, int64_t *ret_rows, int64_t *ret_cols);
/* Whether all of it fits a network. ERR_UNSUPPORTED with counts where nothing fits, or not all of it does. */
MUST_CHECK enum err_code lora_check(const struct lora *l, lora_shape_fn *shape, const void *ctx, struct err *err);

const char *lora_digest(const struct lora *l);

struct weight_patch lora_patch(const struct lora *l); /* borrows l */

#endif
