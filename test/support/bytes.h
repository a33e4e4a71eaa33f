/*
 * bytes - builds small files in memory, little-endian, for tests of readers. Aborts when memory is exhausted.
 */
#ifndef TEST_SUPPORT_BYTES_H
#define TEST_SUPPORT_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/span.h"

struct bytes {
    char *ptr;
    size_t len, room;
};

void bytes_put(struct bytes *b, const void *data, size_t n);
void bytes_text(struct bytes *b, const char *text); /* without its NUL */
void bytes_u8(struct bytes *b, uint8_t v);
void bytes_u32(struct bytes *b, uint32_t v);
void bytes_u64(struct bytes *b, uint64_t v);
void bytes_f32(struct bytes *b, float v);
void bytes_pad(struct bytes *b, size_t multiple); /* with zeros */
void bytes_done(struct bytes *b);

/* The parts of a GGUF file: a header, pairs, tensors, and behind bytes_pad() the data. Nothing is checked, so that a
 * file can be as wrong as a test wants it. */
void gguf_put_string(struct bytes *b, const char *text);
void gguf_put_header(struct bytes *b, uint32_t version, uint64_t n_tensors, uint64_t n_pairs);
void gguf_put_key(struct bytes *b, const char *key, uint32_t type); /* the value is to follow */
void gguf_put_array(struct bytes *b, const char *key, uint32_t type, uint64_t n);
void gguf_put_text(struct bytes *b, const char *key, const char *value);
void gguf_put_int(struct bytes *b, const char *key, int32_t value);
void gguf_put_ints(struct bytes *b, const char *key, uint64_t n, const int32_t *values);
/* dims: the contiguous one first, as in the file */
void gguf_put_tensor(struct bytes *b, const char *name, uint32_t type, uint64_t offset, uint32_t n_dims,
                     const uint64_t *dims);

/* The last two arguments of gguf_put_tensor(). */
#define GGUF_DIMS(...)                                                     \
    (sizeof((uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t)), (uint64_t[]) \
    {                                                                      \
        __VA_ARGS__                                                        \
    }

/* A copy in a heap block of exactly n bytes, so that AddressSanitizer sees a read beyond its end; free() it. */
char *exact_copy(const void *data, size_t n);

/*
 * Files in a folder under /tmp that this process makes and removes when it exits. `name` may contain one slash.
 * temp_path() returns the path, in one of a few static buffers; temp_file() also writes the file.
 */
const char *temp_path(const char *name);
const char *temp_file(const char *name, const void *data, size_t n);
/* Makes a folder of this name there; its path goes to `ret`. */
void temp_folder(const char *name, char *ret, size_t size);

#endif
