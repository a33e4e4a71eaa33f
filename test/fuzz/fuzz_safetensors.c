/* fuzz_safetensors - any bytes as a model file of either kind, and as the header of a safetensors file. What the strict
 * reader takes, the survey lists, too; and it lists nothing that is not there. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "models/file/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads every byte, so that AddressSanitizer sees a read out of bounds. */
static void touch(const struct tensor_entry *e)
{
    static volatile unsigned char sink;

    for (size_t k = 0; e->data && k < e->bytes; k++)
        sink = (unsigned char)(sink + ((const unsigned char *)e->data)[k]);
}

/* strict: as the strict reader has read it; NULL: it has refused it. */
static void survey(struct span map, const struct tensor_file *strict, struct arena *a)
{
    struct tensor_file f = { 0 };

    if (safetensors_survey(map, a, &f, NULL)) {
        if (strict)
            abort();
        return;
    }
    if (strict && (strict->n_entries + strict->n_unread != f.n_entries || f.missing_bytes))
        abort();
    for (int i = 0; i < f.n_entries; i++) {
        if (tensor_file_find(&f, f.entries[i].name) != &f.entries[i] || !*f.entries[i].type_name ||
            (!f.entries[i].data && !f.missing_bytes))
            abort();
        touch(&f.entries[i]);
    }
}

static void read_all(struct span map)
{
    struct tensor_file f = { 0 };
    struct arena a = { 0 };
    struct err err = { 0 };
    const char *text;

    if (arena_init(&a, 16 << 20, NULL))
        abort();
    if (!tensor_file_parse("fuzz", map, &a, &f, &err)) {
        for (int i = 0; i < f.n_entries; i++) {
            const struct tensor_entry *e = &f.entries[i];

            if (tensor_file_find(&f, e->name) != e)
                abort();
            touch(e);
        }
        if (!tensor_file_metadata(&f, "key", &a, &text, NULL) && strlen(text) > map.len)
            abort();
    }
    survey(map, f.map.ptr && !f.gguf ? &f : NULL, &a);
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t header_bytes = size;
    char *file;

    read_all((struct span){ (const char *)data, size });
    if (size > 1 << 16)
        return 0;
    /* the same bytes as a header with the right length in front: a mutation alone rarely keeps the length right */
    file = malloc(sizeof header_bytes + size);
    if (!file)
        return 0;
    memcpy(file, &header_bytes, sizeof header_bytes);
    if (size)
        memcpy(file + sizeof header_bytes, data, size);
    read_all((struct span){ file, sizeof header_bytes + size });
    free(file);
    return 0;
}
