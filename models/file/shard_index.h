/*
 * shard_index - what a *.safetensors.index.json says: in which file each weight is.
 *
 *   { "metadata": { "total_size": bytes of all weights, ... }, "weight_map": { "tensor name": "file name", ... } }
 *
 * Shards are in the folder of their index: only bare names of safetensors files are accepted. total_size may be absent.
 */
#ifndef MODELS_FILE_SHARD_INDEX_H
#define MODELS_FILE_SHARD_INDEX_H

#include "models/file/shards.h"

/* Whether a path is called like an index: "STEM.safetensors.index.json", or of a variant, whose shards are called
 * "STEM.fp16-00001-of-00002.safetensors", "STEM.safetensors.index.fp16.json". *ret_variant: "fp16", or empty. */
bool shard_index_is_name(struct span path, struct span *ret_stem, struct span *ret_variant);

struct shard_index {
    struct span text;
    const char *files[SHARDS_MAX_FILES]; /* each once, in the order in which they are named first */
    int n_files;
    int64_t total_bytes; /* 0: not said */
};

/* The text must outlive *ret; names come from the arena. ERR_CORRUPT, ERR_TOO_LARGE (files), ERR_NOMEM. */
MUST_CHECK enum err_code shard_index_read(struct span text, struct arena *a, struct shard_index *ret, struct err *err);

/* Whether every weight lies where the index says; s->files are those of x->files. Weights of types that are not read
 * count. ERR_CORRUPT; memory comes from the arena and goes back. */
MUST_CHECK enum err_code shard_index_check(const struct shard_index *x, const struct shards *s, struct arena *a,
                                           struct err *err);

#endif
