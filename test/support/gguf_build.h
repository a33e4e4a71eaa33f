/*
 * gguf_build - puts the parts of a GGUF file together, for tests of its readers: a header, pairs, tensors, and behind
 * bytes_pad() the data. Nothing is checked, so that a file can be as wrong as a test wants it.
 */
#ifndef TEST_SUPPORT_GGUF_BUILD_H
#define TEST_SUPPORT_GGUF_BUILD_H

#include "test/support/bytes.h"

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

#endif
