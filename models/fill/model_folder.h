/*
 * model_folder - finds the files of a model's parts. Any mix of the layouts that people download is accepted:
 *
 *   transformer     *.gguf of architecture flux (or none, pig, cow: then by tensor names), else *.safetensors or
 *                   *.safetensors.index.json; BFL names or a merged checkpoint. Among several files, the named one,
 *                   else the largest that fits. diffusers' names are refused
 *   VAE             ae.safetensors, vae/diffusion_pytorch_model.safetensors
 *   CLIP-L          text_encoder/model.safetensors, clip_l.safetensors
 *   T5              text_encoder_2/model.safetensors, its index, model*.safetensors there; t5xxl*.safetensors; *.gguf
 *   tokenizers      tokenizer/{vocab.json,merges.txt}; tokenizer_2/tokenizer.json, tokenizer_2/spiece.model, T5 GGUF
 *   prompt pack     prompts.safetensors
 *
 * A part is looked for only when it is asked for, so a folder with some parts serves the commands that need no others.
 * Where the largest of several files is taken, a larger one that cannot be read is an error: it may be the one.
 */
#ifndef MODELS_FILL_MODEL_FOLDER_H
#define MODELS_FILL_MODEL_FOLDER_H

#include "models/file/shards.h"

enum model_part {
    MODEL_TRANSFORMER,
    MODEL_VAE,
    MODEL_CLIP,
    MODEL_T5,
    MODEL_CLIP_TOKENIZER,
    MODEL_T5_TOKENIZER,
    MODEL_PROMPTS,
    MODEL_PART_COUNT
};

enum model_kind {
    MODEL_WEIGHTS,      /* path is for shards_open */
    MODEL_VOCAB_MERGES, /* path vocab.json, path_2 merges.txt */
    MODEL_TOKENIZER_JSON,
    MODEL_SPIECE,
    MODEL_GGUF_VOCABULARY /* path is a GGUF with tokenizer.ggml.* keys */
};

enum { MODEL_FOLDER_MAX_FILES = 1024 }; /* with one kind of name in one folder */

/* Filled by the caller; strings are borrowed. */
struct model_folder {
    const char *dir;
    const char *transformer;       /* a file of the folder, with or without .gguf, or a path with a slash; NULL, "" or
                                      "auto": the largest */
    int64_t max_transformer_bytes; /* limit for the largest; 0: any size */
};

struct model_found {
    enum model_kind kind;
    const char *path, *path_2; /* from the arena; path_2 is NULL where there is one file */
    const char *too_large;     /* from the arena: the largest that is over the limit of bytes; NULL: none */
};

const char *model_part_name(enum model_part part);

/* ERR_NOT_FOUND lists the names that were looked for. Where files were found but none can be used: the error of the
 * first file. ERR_TOO_LARGE where all transformers are over the limit. ERR_IO, ERR_CORRUPT, ERR_NOMEM where the folder,
 * or a file that would be preferred, cannot be read. */
MUST_CHECK enum err_code model_folder_find(const struct model_folder *f, enum model_part part, struct arena *a,
                                           struct model_found *ret, struct err *err);

/* Finds and opens a part that is made of tensors (MODEL_WEIGHTS); ERR_INVALID for a tokenizer. */
MUST_CHECK enum err_code model_folder_open(const struct model_folder *f, enum model_part part, struct arena *a,
                                           struct shards *ret, struct err *err);

#endif
