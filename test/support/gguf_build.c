#include "test/support/gguf_build.h"

#include <string.h>

#include "models/file/gguf.h"

void gguf_put_string(struct bytes *b, const char *text)
{
    bytes_u64(b, strlen(text));
    bytes_text(b, text);
}

void gguf_put_header(struct bytes *b, uint32_t version, uint64_t n_tensors, uint64_t n_pairs)
{
    bytes_text(b, "GGUF");
    bytes_u32(b, version);
    bytes_u64(b, n_tensors);
    bytes_u64(b, n_pairs);
}

void gguf_put_key(struct bytes *b, const char *key, uint32_t type)
{
    gguf_put_string(b, key);
    bytes_u32(b, type);
}

void gguf_put_array(struct bytes *b, const char *key, uint32_t type, uint64_t n)
{
    gguf_put_key(b, key, GGUF_ARRAY);
    bytes_u32(b, type);
    bytes_u64(b, n);
}

void gguf_put_text(struct bytes *b, const char *key, const char *value)
{
    gguf_put_key(b, key, GGUF_STRING);
    gguf_put_string(b, value);
}

void gguf_put_int(struct bytes *b, const char *key, int32_t value)
{
    gguf_put_key(b, key, GGUF_I32);
    bytes_u32(b, (uint32_t)value);
}

void gguf_put_ints(struct bytes *b, const char *key, uint64_t n, const int32_t *values)
{
    gguf_put_array(b, key, GGUF_I32, n);
    bytes_put(b, values, n * sizeof *values);
}

void gguf_put_tensor(struct bytes *b, const char *name, uint32_t type, uint64_t offset, uint32_t n_dims,
                     const uint64_t *dims)
{
    gguf_put_string(b, name);
    bytes_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        bytes_u64(b, dims[i]);
    bytes_u32(b, type);
    bytes_u64(b, offset);
}
