/*
 * model_folder - finds the files of a model's parts. Any mix of the layouts that people download is accepted, and
 * whatever else lies there: files are known by their content (models/layout), and only those that can do the job
 * compete. The folder itself and the sub-folders of ComfyUI and of diffusers are looked at (model_list.h).
 *
 *   transformer     FLUX.1-Fill as *.gguf, of one file or several; else as *.safetensors or *.safetensors.index.json,
 *                   with BFL's names or diffusers', or in a merged checkpoint. Among several files, the named one, else
 *                   the largest that fits
 *   VAE             ae.safetensors, vae/diffusion_pytorch_model.safetensors, vae/ae.safetensors
 *   CLIP-L          text_encoder/model.safetensors, clip_l.safetensors, and that in clip/ and text_encoders/
 *   T5              text_encoder_2/model.safetensors, its index, model*.safetensors there; t5xxl*.safetensors; *.gguf
 *   tokenizers      tokenizer/{vocab.json,merges.txt}; tokenizer_2/tokenizer.json, tokenizer_2/spiece.model, T5 GGUF
 *   prompt pack     prompts.safetensors
 *
 * VAE, CLIP-L and T5 under other names come after these: the largest file that is the part by its content.
 *
 * A part is looked for only when it is asked for, so a folder with some parts serves the commands that need no others.
 *
 * A file that is something else is skipped. A file that is the part by its directory but cannot be used as it is
 * (unfinished, damaged), and one of which nothing is known because reading it failed, is an error where it is larger
 * than the best: it may be the one, and another in its place would compute another picture, without a word.
 */
#ifndef MODELS_FILL_MODEL_FOLDER_H
#define MODELS_FILL_MODEL_FOLDER_H

#include "models/file/shards.h"
#include "models/layout/model_list.h"

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

/* Filled by the caller; strings are borrowed. */
struct model_folder {
    const char *dir;
    const char *transformer;       /* a file of the folder or of a sub-folder, with or without its ending, or a folder
                                      with files or an index, or a path; NULL, "" or "auto": the largest */
    int64_t max_transformer_bytes; /* limit for the largest; 0: any size */
    bool relatives_too;            /* FLUX.1-dev, schnell and others of their architecture count as transformers */
};

struct model_found {
    enum model_kind kind;
    const char *path, *path_2; /* from the arena; path_2 is NULL where there is one file */
    const char *too_large;     /* from the arena: the largest that is over the limit of bytes; NULL: none */
};

const char *model_part_name(enum model_part part);

/* Whether a model_folder's `transformer` names one, rather than asks for the largest. */
bool model_transformer_is_named(const char *transformer);

/* Whether a folder must have a part: a prompt pack replaces the text encoders and their tokenizers. */
bool model_part_is_needed(enum model_part part, bool has_prompts);

/* ERR_NOT_FOUND says what was seen instead, as far as it fits into a message, and which names were looked for.
 * ERR_TOO_LARGE where all transformers are over the limit. ERR_UNSUPPORTED where the named transformer is a relative of
 * Fill or in an encoding that is not read. ERR_IO, ERR_CORRUPT, ERR_NOMEM and others where the folder, or a file that
 * would be preferred, cannot be read. */
MUST_CHECK enum err_code model_folder_find(const struct model_folder *f, enum model_part part, struct arena *a,
                                           struct model_found *ret, struct err *err);

/* Everything that lies in the folder and its sub-folders, in full: for people who wonder why a file is not taken.
 * Errors as model_list_scan. */
MUST_CHECK enum err_code model_folder_list(const struct model_folder *f, struct arena *a, struct model_list *ret,
                                           struct err *err);

/* Finds and opens a part that is made of tensors (MODEL_WEIGHTS); ERR_INVALID for a tokenizer. */
MUST_CHECK enum err_code model_folder_open(const struct model_folder *f, enum model_part part, struct arena *a,
                                           struct shards *ret, struct err *err);

#endif
