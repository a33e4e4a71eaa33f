/*
 * gguf_write - writes a GGUF file of version 3 as a stream: what comes before the data is known beforehand, and the
 * data follow in pieces of any size, so that no tensor need be in memory as a whole.
 *
 * The layout is that of gguf.h, with an alignment of 32; zero bytes follow every tensor up to the next multiple of it.
 * The file is written under a temporary name and renamed (kernels/base/out_file.h): it is whole or not there.
 */
#ifndef MODELS_CONVERT_GGUF_WRITE_H
#define MODELS_CONVERT_GGUF_WRITE_H

#include "kernels/base/arena.h"
#include "kernels/base/out_file.h"
#include "models/file/gguf.h"

enum { GGUF_WRITE_MAX_DIMS = 4 };

/* A key and its value: a number, a text, or several texts, by `type`. */
struct gguf_write_pair {
    const char *key;
    enum { GGUF_WRITE_NUMBER, GGUF_WRITE_TEXT, GGUF_WRITE_TEXTS } type;
    uint32_t number;
    const char *text;
    const char *const *texts; /* [n_texts]; may be none */
    int n_texts;
};

struct gguf_write_tensor {
    const char *name;
    enum dtype dtype; /* any but F8_E4M3 and the integers */
    int n_dims;
    int64_t dims[GGUF_WRITE_MAX_DIMS]; /* row-major, as in tensor_file.h; the file has them in the other order */
};

/* All that comes before the data. Everything is borrowed. */
struct gguf_outline {
    const struct gguf_write_pair *pairs;
    int n_pairs;
    const struct gguf_write_tensor *tensors;
    int n_tensors;
};

/* Is given all bytes in the order of the file, as they are written. `fn` may be NULL. */
struct gguf_listener {
    void (*fn)(void *ctx, const void *bytes, size_t n);
    void *ctx;
};

/* The size of the file. ERR_INVALID where the reader would refuse it: a key or name that is empty, too long, not UTF-8
 * or there twice; a type that cannot be stored; a dimension below 1, or a row that is not made of whole blocks. */
MUST_CHECK enum err_code gguf_outline_bytes(const struct gguf_outline *o, int64_t *ret, struct err *err);

struct gguf_writer;

/* Writes what comes before the data. ERR_INVALID as above, ERR_IO, ERR_NOMEM. The outline is borrowed until the end. */
MUST_CHECK enum err_code gguf_write_open(struct gguf_writer **ret, const char *path, const struct gguf_outline *o,
                                         struct gguf_listener listener, struct err *err);
/* The next bytes of the first tensor that is not full. ERR_IO, with the reason, as soon as a write has failed;
 * ERR_INTERNAL for bytes beyond a tensor's end. */
MUST_CHECK enum err_code gguf_write_data(struct gguf_writer *w, const void *data, size_t bytes, struct err *err);
/* Ends the file and frees `w`. A file that is kept takes its name; ERR_INTERNAL where data are missing. */
MUST_CHECK enum err_code gguf_write_close(struct gguf_writer *w, enum out_file_end end, struct err *err);

#endif
