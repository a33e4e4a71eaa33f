/*
 * shards - the files of one model: one GGUF or safetensors file, the shards that an index lists, or the parts that
 * llama.cpp's gguf-split has made of a GGUF file.
 *
 *   *.safetensors.index.json        shard_index.h
 *   *.safetensors.index.fp16.json   the same of a variant, as diffusers and transformers name it
 *   NAME-00001-of-00003.gguf, ...   each with the metadata split.no (from 0), split.count and split.tensors.count; the
 *                                   other metadata are in the first part
 */
#ifndef MODELS_FILE_SHARDS_H
#define MODELS_FILE_SHARDS_H

#include "models/file/tensor_file.h"

enum { SHARDS_MAX_FILES = 64, SHARDS_MAX_INDEX_BYTES = 16 << 20 };

struct shards {
    struct tensor_file *files; /* in the order in which the index names them first, or of their numbers */
    int n_files;
    int64_t missing_bytes; /* shards_survey(): how many bytes the files are short of; else 0 */
};

/* Whether a path is called like an index: *.index.json, or *.safetensors.index.fp16.json of a variant. */
bool shards_is_index(const char *path);

/* What shards_is_index() is opened as an index; of a split GGUF file, the path of the first part is given. Everything
 * lives until the arena is rewound. Errors as tensor_file_open; ERR_CORRUPT and ERR_TOO_LARGE for an index, for what it
 * says of its shards, and for parts that are not those of one file; ERR_NOT_FOUND when a file is missing; ERR_INVALID
 * for a part that is not the first. */
MUST_CHECK enum err_code shards_open(const char *path, struct arena *a, struct shards *ret, struct err *err);
/* The same with tensor_file_survey(): all files must be there, but need not be whole or of use. */
MUST_CHECK enum err_code shards_survey(const char *path, struct arena *a, struct shards *ret, struct err *err);

int64_t shards_bytes(const struct shards *s); /* size of all files together */

#endif
