/*
 * tensor_file - a GGUF or safetensors file as a directory of tensors over a read-only mapping. Which of the two it
 * is, is judged by content. Every offset, size, name and type was checked when it was opened.
 */
#ifndef MODELS_TENSOR_FILE_H
#define MODELS_TENSOR_FILE_H

#include "kernels/base/arena.h"
#include "kernels/base/span.h"
#include "kernels/tensor.h"

enum { TENSOR_FILE_MAX_TENSORS = 65536, TENSOR_NAME_MAX = 255 };

struct tensor_entry {
    struct span name;
    enum dtype dtype;
    int n_dims;
    int64_t dims[8];  /* row-major, last one contiguous (GGUF's ne reversed); scalar: n_dims 0 */
    const void *data; /* into the mapping; any alignment */
    size_t bytes;
};

struct tensor_file {
    const char *path;
    struct span map;               /* the whole file */
    struct tensor_entry *entries;  /* in file order */
    int n_entries;
    int *index;                    /* hash table of entries; owned by the arena */
    int index_size;
    struct span metadata;          /* safetensors: the JSON text of __metadata__, or empty */
    struct gguf_meta *gguf;        /* GGUF: its key-value pairs (gguf.h), or NULL */
};

/* Maps and checks `path`. The mapping and all tables live until the arena is rewound. ERR_NOT_FOUND, ERR_IO,
 * ERR_CORRUPT, ERR_UNSUPPORTED (a tensor type we do not read, big-endian), ERR_TOO_LARGE. */
MUST_CHECK enum err_code tensor_file_open(const char *path, struct arena *a, struct tensor_file *ret, struct err *err);
const struct tensor_entry *tensor_file_find(const struct tensor_file *f, struct span name); /* NULL: absent */

/* Value of a string entry of safetensors metadata, unescaped, from the arena; ERR_NOT_FOUND. */
MUST_CHECK enum err_code tensor_file_metadata(const struct tensor_file *f, const char *key, struct arena *a,
                                              const char **ret, struct err *err);

/* Writing safetensors: entries in order, f32/i64/u8/bf16 data of the caller. Written whole or not at all. */
struct tensor_write {
    const char *name;
    enum dtype dtype;
    int n_dims;
    int64_t dims[8];
    const void *data;
};
struct metadata_pair {
    const char *key, *value;
};
MUST_CHECK enum err_code safetensors_write(const char *path, const struct tensor_write *tensors, int n_tensors,
                                           const struct metadata_pair *metadata, int n_metadata, struct err *err);

#endif
