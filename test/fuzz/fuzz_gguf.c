/* fuzz_gguf - any bytes as a GGUF file: the directory, every key through every getter, one row of every tensor. What
 * the strict reader takes, the survey lists, too; and it lists nothing that is not there. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/quant.h"
#include "models/file/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROW_MAX = 4096 };

/* Reads every byte, so that AddressSanitizer sees a read out of bounds. */
static void touch(const void *data, size_t bytes)
{
    static volatile unsigned char sink;

    for (size_t i = 0; i < bytes; i++)
        sink = (unsigned char)(sink + ((const unsigned char *)data)[i]);
}

static void try_getters(const struct gguf_meta *m, const char *key, struct arena *a)
{
    struct span text = { 0 }, *strings = NULL;
    int64_t i, n = 0;
    int32_t *ints;
    float *floats;

    if (gguf_string(m, key, &text))
        touch(text.ptr, text.len);
    (void)gguf_int(m, key, &i);
    (void)!gguf_floats(m, key, a, &floats, &n, NULL);
    (void)!gguf_ints(m, key, a, &ints, &n, NULL);
    if (!gguf_bytes(m, key, &text, NULL))
        touch(text.ptr, text.len);
    if (!gguf_strings(m, key, a, &strings, &n, NULL))
        for (i = 0; i < n; i++)
            touch(strings[i].ptr, strings[i].len);
}

static void try_pairs(const struct gguf_meta *m, struct arena *a)
{
    char key[256];

    for (int i = 0; i < m->n_pairs; i++) {
        struct arena_mark mark = arena_mark(a);
        size_t n = m->pairs[i].key.len;

        if (n >= sizeof key)
            continue;
        memcpy(key, m->pairs[i].key.ptr, n);
        key[n] = 0;
        if (strlen(key) == n && gguf_find(m, key) != &m->pairs[i])
            abort();
        try_getters(m, key, a);
        arena_rewind(a, mark);
    }
}

static void try_tensors(const struct tensor_file *f)
{
    static float row[ROW_MAX];

    for (int i = 0; i < f->n_entries; i++) {
        const struct tensor_entry *e = &f->entries[i];

        if (tensor_file_find(f, e->name) != e)
            abort();
        touch(e->data, e->bytes);
        if (e->n_dims && e->dims[e->n_dims - 1] <= ROW_MAX)
            dequantise_row(e->dtype, e->data, row, e->dims[e->n_dims - 1]);
    }
}

static void try_survey(struct span map, const struct tensor_file *strict, struct arena *a)
{
    struct tensor_file f = { 0 };

    if (gguf_survey(map, a, &f, NULL)) {
        if (strict)
            abort();
        return;
    }
    if (strict && (strict->n_entries != f.n_entries || f.missing_bytes))
        abort();
    for (int i = 0; i < f.n_entries; i++) {
        const struct tensor_entry *e = &f.entries[i];

        if (tensor_file_find(&f, e->name) != e || !*e->type_name || (!e->data && e->bytes && !f.missing_bytes))
            abort();
        if (e->data)
            touch(e->data, e->bytes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span map = { (const char *)data, size };
    struct tensor_file f = { 0 };
    struct arena a = { 0 };
    struct err err = { 0 };
    bool strict;

    if (arena_init(&a, 16 << 20, NULL))
        abort();
    strict = !gguf_parse(map, &a, &f, &err);
    if (strict) {
        try_pairs(f.gguf, &a);
        try_tensors(&f);
    }
    try_survey(map, strict ? &f : NULL, &a);
    arena_done(&a);
    return 0;
}
