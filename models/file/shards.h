/*
 * shards - the files of one model: one GGUF or safetensors file, or the shards that an index lists.
 *
 *   *.safetensors.index.json: { "metadata": ..., "weight_map": { "tensor name": "file name", ... } }
 *
 * Shards are in the folder of their index: only bare names of safetensors files are accepted.
 */
#ifndef MODELS_FILE_SHARDS_H
#define MODELS_FILE_SHARDS_H

#include "models/file/tensor_file.h"

enum { SHARDS_MAX_FILES = 64, SHARDS_MAX_INDEX_BYTES = 16 << 20 };

struct shards {
    struct tensor_file *files; /* in the order in which the index names them first */
    int n_files;
};

/* A path that ends in ".index.json" is an index. Everything lives until the arena is rewound. Errors as
 * tensor_file_open; ERR_CORRUPT and ERR_TOO_LARGE for the index; ERR_NOT_FOUND when a shard is missing. */
MUST_CHECK enum err_code shards_open(const char *path, struct arena *a, struct shards *ret, struct err *err);

int64_t shards_bytes(const struct shards *s); /* size of all files together */

#endif
