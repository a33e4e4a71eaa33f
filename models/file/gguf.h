/*
 * gguf - reader of GGUF containers, versions 2 and 3, little-endian.
 *
 *   1. "GGUF", u32 version, u64 number of tensors, u64 number of key-value pairs
 *   2. pairs:   string key, u32 value type, value        string: u64 length, bytes, no terminator
 *   3. tensors: string name, u32 n_dims, u64 dim[n_dims] (contiguous one first), u32 type, u64 offset
 *   4. zero bytes up to the next multiple of general.alignment (32 unless given)
 *   5. data: each tensor at this place + its offset
 *
 * Nothing is trusted. Counts are compared with the size of the file before memory is taken for them; all ranges are
 * inside the file and do not overlap; no name and no key occurs twice. A tensor of a type that we do not support makes
 * the whole file ERR_UNSUPPORTED, because the size of such a tensor cannot be checked; gguf_survey() lists it, and
 * lists tensors that the end of the file has cut off. Source: ggml docs/gguf.md; the limits are those of MODEL.md 3.2.
 */
#ifndef MODELS_FILE_GGUF_H
#define MODELS_FILE_GGUF_H

#include "kernels/base/arena.h"
#include "kernels/base/span.h"
#include "models/file/tensor_file.h"

enum {
    GGUF_MAX_PAIRS = 65536,
    GGUF_MAX_KEY_BYTES = 65535,
    GGUF_MAX_STRING_BYTES = 1 << 30,
    GGUF_MAX_NAME_BYTES = 127,
    GGUF_MAX_ALIGNMENT = 65536
};

/* Value types, numbered as in the file. */
enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};

struct gguf_pair {
    struct span key;
    enum gguf_type type; /* of the value, or of the elements of an array (never GGUF_ARRAY) */
    bool is_array;
    int64_t n;         /* elements of an array; 1 for a plain value */
    struct span bytes; /* the value as stored in the file, any alignment; of a plain string, its text */
};

struct gguf_meta {
    uint32_t version, alignment;
    struct gguf_pair *pairs; /* in file order */
    int n_pairs;
    int *index; /* pairs sorted by key */
};

/* Fills all fields of *ret but path. Tables come from the arena; names point into map. */
MUST_CHECK enum err_code gguf_parse(struct span map, struct arena *a, struct tensor_file *ret, struct err *err);
/* The same for tensor_file_survey(). */
MUST_CHECK enum err_code gguf_survey(struct span map, struct arena *a, struct tensor_file *ret, struct err *err);

/* Gives the tensors of `f` the shapes that the array of integers "comfy.gguf.orig_shape.NAME" has for them, row-major:
 * a matrix whose rows were no whole blocks is stored with others. gguf_parse() does that with the file's own metadata;
 * the metadata of a split file are in its first part. ERR_CORRUPT: no such shape; ERR_UNSUPPORTED: a quantised tensor
 * whose rows are no whole blocks (to survey: dtype DT_COUNT). */
MUST_CHECK enum err_code gguf_restore_shapes(const struct gguf_meta *from, bool survey, struct tensor_file *f,
                                             struct err *err);

uint32_t gguf_tensor_type(enum dtype t); /* the type's number in a file; every dtype but those of F8 has one */

/* In all getters m may be NULL: a file without metadata. */
const struct gguf_pair *gguf_find(const struct gguf_meta *m, const char *key); /* NULL: absent */

/* Plain values. When the key is absent or its value of another type: false, and *ret is unchanged. */
bool gguf_string(const struct gguf_meta *m, const char *key, struct span *ret);
bool gguf_int(const struct gguf_meta *m, const char *key, int64_t *ret); /* any integer type, if it fits */

/* Arrays. The table comes from the arena, properly aligned; text and bytes point into the mapping. ERR_NOT_FOUND: the
 * key is absent; ERR_CORRUPT: the elements are of another type. */
MUST_CHECK enum err_code gguf_strings(const struct gguf_meta *m, const char *key, struct arena *a, struct span **ret,
                                      int64_t *ret_n, struct err *err);
MUST_CHECK enum err_code gguf_floats(const struct gguf_meta *m, const char *key, struct arena *a, float **ret,
                                     int64_t *ret_n, struct err *err); /* f32 */
MUST_CHECK enum err_code gguf_ints(const struct gguf_meta *m, const char *key, struct arena *a, int32_t **ret,
                                   int64_t *ret_n, struct err *err); /* i32; u32 below 2^31 */
MUST_CHECK enum err_code gguf_bytes(const struct gguf_meta *m, const char *key, struct span *ret,
                                    struct err *err); /* u8 or i8 */

#endif
