/*
 * model_dir - which file of a model folder is which part.
 *
 *   transformer  the *.gguf with FLUX tensors (several: `choice`, else the largest within max_bytes); else *.safetensors
 *   VAE          ae.safetensors, else vae/diffusion_pytorch_model.safetensors
 *   CLIP         text_encoder/model.safetensors, else clip_l.safetensors
 *   T5           text_encoder_2/model.safetensors.index.json with its shards, else text_encoder_2/model*.safetensors,
 *                else t5xxl*.safetensors, else the largest *.gguf with T5 tensors
 *   tokenizers   tokenizer/{vocab.json,merges.txt}; tokenizer_2/tokenizer.json, else tokenizer_2/spiece.model, else
 *                the vocabulary inside the T5 GGUF
 *
 * What a container is, its tensors say, not its name. Paths are from the arena. ERR_NOT_FOUND says what was looked for.
 */
#ifndef MODELS_MODEL_DIR_H
#define MODELS_MODEL_DIR_H

#include <stdint.h>

#include "models/weights.h"

enum {
    MODEL_DIR_MAX_NAMES = 4096,           /* files of a folder that are looked at */
    MODEL_DIR_MAX_INDEX_BYTES = 16 << 20, /* of a shard index */
};

struct model_files {
    const char *paths[WEIGHT_SET_MAX_FILES];
    int n;
};

/* choice: a file of the folder, or a path; NULL: any. max_bytes: 0: any size. `scratch` is rewound. */
MUST_CHECK enum err_code model_dir_transformer(const char *dir, const char *choice, int64_t max_bytes,
                                               struct arena *a, struct arena *scratch, const char **ret,
                                               struct err *err);
MUST_CHECK enum err_code model_dir_vae(const char *dir, struct arena *a, const char **ret, struct err *err);
MUST_CHECK enum err_code model_dir_clip(const char *dir, struct arena *a, const char **ret, struct err *err);
MUST_CHECK enum err_code model_dir_t5(const char *dir, struct arena *a, struct arena *scratch,
                                      struct model_files *ret, struct err *err);
/* *ret NULL: neither file is there, so the vocabulary must be inside the T5 GGUF. */
MUST_CHECK enum err_code model_dir_t5_tokenizer(const char *dir, struct arena *a, const char **ret, struct err *err);
/* The folder of vocab.json and merges.txt. */
MUST_CHECK enum err_code model_dir_clip_tokenizer(const char *dir, struct arena *a, const char **ret, struct err *err);

/* Opens all files of a part; `ret` [files->n] comes from the arena. */
MUST_CHECK enum err_code model_files_open(const struct model_files *files, struct arena *a, struct tensor_file **ret,
                                          struct err *err);

#endif
