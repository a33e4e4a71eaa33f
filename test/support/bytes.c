#include "test/support/bytes.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { N_PATHS = 16, PATH_SIZE = 512 };

static char temp_dir[PATH_SIZE / 2];

void bytes_put(struct bytes *b, const void *data, size_t n)
{
    if (n > b->room - b->len) {
        b->room = 2 * b->room + n;
        b->ptr = realloc(b->ptr, b->room);
        if (!b->ptr)
            abort();
    }
    if (n)
        memcpy(b->ptr + b->len, data, n);
    b->len += n;
}

void bytes_text(struct bytes *b, const char *text)
{
    bytes_put(b, text, strlen(text));
}

void bytes_u8(struct bytes *b, uint8_t v)
{
    bytes_put(b, &v, sizeof v);
}

void bytes_u32(struct bytes *b, uint32_t v)
{
    bytes_put(b, &v, sizeof v);
}

void bytes_u64(struct bytes *b, uint64_t v)
{
    bytes_put(b, &v, sizeof v);
}

void bytes_f32(struct bytes *b, float v)
{
    bytes_put(b, &v, sizeof v);
}

void bytes_pad(struct bytes *b, size_t multiple)
{
    while (b->len % multiple)
        bytes_u8(b, 0);
}

void bytes_done(struct bytes *b)
{
    free(b->ptr);
    *b = (struct bytes){ 0 };
}

enum { TYPE_I32 = 5, TYPE_STRING = 8, TYPE_ARRAY = 9 }; /* of values in a GGUF file */

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
    gguf_put_key(b, key, TYPE_ARRAY);
    bytes_u32(b, type);
    bytes_u64(b, n);
}

void gguf_put_text(struct bytes *b, const char *key, const char *value)
{
    gguf_put_key(b, key, TYPE_STRING);
    gguf_put_string(b, value);
}

void gguf_put_int(struct bytes *b, const char *key, int32_t value)
{
    gguf_put_key(b, key, TYPE_I32);
    bytes_u32(b, (uint32_t)value);
}

void gguf_put_ints(struct bytes *b, const char *key, uint64_t n, const int32_t *values)
{
    gguf_put_array(b, key, TYPE_I32, n);
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

char *exact_copy(const void *data, size_t n)
{
    char *copy = malloc(n ? n : 1);

    if (!copy)
        abort();
    if (n)
        memcpy(copy, data, n);
    return n ? copy : realloc(copy, 1);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static void remove_all(void)
{
    (void)nftw(temp_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *temp_path(const char *name)
{
    static char paths[N_PATHS][PATH_SIZE];
    static unsigned next;
    char *path = paths[next++ % N_PATHS], *slash;

    if (!*temp_dir) {
        (void)strcpy(temp_dir, "/tmp/unit-tests.XXXXXX");
        if (!mkdtemp(temp_dir))
            abort();
        (void)atexit(remove_all);
    }
    (void)snprintf(path, PATH_SIZE, "%s/%s", temp_dir, name);
    slash = strrchr(path, '/');
    *slash = 0;
    (void)mkdir(path, 0777);
    *slash = '/';
    return path;
}

const char *temp_file(const char *name, const void *data, size_t n)
{
    const char *path = temp_path(name);
    FILE *out = fopen(path, "wbe");

    if (!out || (n && fwrite(data, 1, n, out) != n) || fclose(out))
        abort();
    return path;
}

void temp_folder(const char *name, char *ret, size_t size)
{
    char inside[PATH_SIZE];
    const char *path;

    (void)snprintf(inside, sizeof inside, "%s/file", name);
    path = temp_path(inside);
    (void)snprintf(ret, size, "%.*s", (int)(strrchr(path, '/') - path), path);
}
