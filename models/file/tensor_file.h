/*
 * tensor_file - a GGUF or safetensors file as a directory of tensors over a read-only mapping. Which of the two it
 * is, is judged by content. Every offset, size, name and type was checked when it was opened.
 */
#ifndef MODELS_FILE_TENSOR_FILE_H
#define MODELS_FILE_TENSOR_FILE_H

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
    struct span map;              /* the whole file */
    struct tensor_entry *entries; /* in file order */
    int n_entries;
    int *index;             /* entries sorted by name (name_index.h) */
    struct span metadata;   /* safetensors: the JSON text of __metadata__, or empty */
    struct gguf_meta *gguf; /* GGUF: its key-value pairs (gguf.h), or NULL */
};

/* Maps and checks `path`. The mapping and all tables live until the arena is rewound. ERR_NOT_FOUND, ERR_IO,
 * ERR_CORRUPT, ERR_UNSUPPORTED (a tensor type we do not read, big-endian, another format), ERR_TOO_LARGE.
 * Nobody may shorten the file while it is mapped: the kernel answers that with SIGBUS. */
MUST_CHECK enum err_code tensor_file_open(const char *path, struct arena *a, struct tensor_file *ret, struct err *err);
const struct tensor_entry *tensor_file_find(const struct tensor_file *f, struct span name); /* NULL: absent */

size_t tensor_file_expanded_bytes(const struct tensor_file *f); /* of all tensors, at two bytes a value */

/* Value of a string entry of safetensors metadata, unescaped, from the arena; ERR_NOT_FOUND. */
MUST_CHECK enum err_code tensor_file_metadata(const struct tensor_file *f, const char *key, struct arena *a,
                                              const char **ret, struct err *err);

/* The same for bytes that are in memory already; `path` is for messages only. */
MUST_CHECK enum err_code tensor_file_parse(const char *path, struct span map, struct arena *a, struct tensor_file *ret,
                                           struct err *err);

/* Writing safetensors: entries in order, data of the caller, any type but the quantised ones. Written to a temporary
 * name in the same folder and renamed, so whole or not at all; a target that is no regular file (/dev/stdout) is
 * written in place. ERR_INVALID (type, negative size, a name twice or not UTF-8), ERR_IO, ERR_NOMEM. */
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
