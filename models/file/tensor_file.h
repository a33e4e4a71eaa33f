/*
 * tensor_file - a GGUF or safetensors file as a directory of tensors over a read-only mapping. The content decides
 * which of the two it is. Every offset, size, name and type is checked when the file is opened.
 */
#ifndef MODELS_FILE_TENSOR_FILE_H
#define MODELS_FILE_TENSOR_FILE_H

#include "kernels/base/arena.h"
#include "kernels/base/span.h"
#include "kernels/tensor.h"

enum { TENSOR_FILE_MAX_TENSORS = 65536, TENSOR_FILE_MAX_DIMS = 8, TENSOR_NAME_MAX = 255 };
#define TENSOR_FILE_MAX_BYTES (1ll << 46) /* a directory that wants more is damaged, not unfinished */

struct tensor_entry {
    struct span name;
    enum dtype dtype;
    int n_dims;
    int64_t dims[TENSOR_FILE_MAX_DIMS]; /* row-major, last one contiguous (GGUF's ne reversed); scalar: n_dims 0 */
    const void *data;                   /* into the mapping; any alignment */
    size_t bytes;
    const char *type_name; /* as the file calls it, also where dtype is DT_COUNT */
    bool used;             /* a network has taken it: weight_set_take() */
};

struct tensor_file {
    const char *path;
    struct span map;              /* the whole file */
    struct tensor_entry *entries; /* in file order */
    int n_entries;
    int n_unread; /* tensor_file_open(): tensors of types that are not read, behind the others: entries[n_entries ...].
                     dtype DT_COUNT; they are not found by name */
    int *index;   /* entries sorted by name (name_index.h) */
    struct span metadata;   /* safetensors: the JSON text of __metadata__, or empty */
    struct gguf_meta *gguf; /* GGUF: its key-value pairs (gguf.h), or NULL */
    int64_t missing_bytes;  /* tensor_file_survey(): how many bytes the file is short of its directory; else 0 */
};

/* Maps and checks `path`. The mapping and all tables live until the arena is rewound. ERR_NOT_FOUND, ERR_IO,
 * ERR_CORRUPT, ERR_UNSUPPORTED (an unsupported tensor type, big-endian, another format), ERR_TOO_LARGE.
 * What was computed from the mapping is worthless where file_map_check() then fails. */
MUST_CHECK enum err_code tensor_file_open(const char *path, struct arena *a, struct tensor_file *ret, struct err *err);
/*
 * The directory of a file of which less is asked: what cannot be used is listed all the same. A tensor of a type that
 * we do not read has dtype DT_COUNT and its type's name; one of a type whose size we do not know has bytes 0 and data
 * NULL. A tensor whose data are not all in the file has data NULL and bytes as they should be, and missing_bytes says
 * how much the file is short of. For looking at files, not for loading. Errors as tensor_file_open, for what is no
 * directory at all.
 */
MUST_CHECK enum err_code tensor_file_survey(const char *path, struct arena *a, struct tensor_file *ret,
                                            struct err *err);
const struct tensor_entry *tensor_file_find(const struct tensor_file *f, struct span name); /* NULL: absent */

/* Whether a file that begins so is one of the two; the first nine bytes decide. */
bool tensor_file_begins(struct span start);

size_t tensor_file_expanded_bytes(
    const struct tensor_file *f); /* of all tensors of types that are read, at two bytes a value */

/* The value of a key of safetensors metadata, unescaped, from the arena; ERR_NOT_FOUND. */
MUST_CHECK enum err_code tensor_file_metadata(const struct tensor_file *f, const char *key, struct arena *a,
                                              const char **ret, struct err *err);

/* Like tensor_file_open() for a file whose bytes are in memory already; `path` is for messages only. */
MUST_CHECK enum err_code tensor_file_parse(const char *path, struct span map, struct arena *a, struct tensor_file *ret,
                                           struct err *err);

/* Like tensor_file_survey() for the first bytes of a file, which are in memory already. ERR_CORRUPT also where they end
 * within its directory. */
MUST_CHECK enum err_code tensor_file_survey_start(const char *path, struct span start, struct arena *a,
                                                  struct tensor_file *ret, struct err *err);

/* Writes a safetensors file with the tensors in this order, of any type but the quantised ones. It is written under a
 * temporary name in the same folder and renamed, so that `path` is never half written; a target that is not a regular
 * file (/dev/stdout) is written in place. ERR_INVALID (type, negative size, a name twice or not UTF-8), ERR_IO,
 * ERR_NOMEM. */
struct tensor_write {
    const char *name;
    enum dtype dtype;
    int n_dims;
    int64_t dims[TENSOR_FILE_MAX_DIMS];
    const void *data;
};
struct metadata_pair {
    const char *key, *value;
};
MUST_CHECK enum err_code safetensors_write(const char *path, const struct tensor_write *tensors, int n_tensors,
                                           const struct metadata_pair *metadata, int n_metadata, struct err *err);

#endif
