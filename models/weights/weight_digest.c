#include "models/weights/weight_digest.h"

#include <stdio.h>

#include "kernels/base/crc32c.h"
#include "models/file/file_map.h"

static uint64_t mix(uint64_t hash, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * 1099511628211u;
    return hash;
}

static uint64_t mix_entry(uint64_t hash, const struct tensor_file *f, const struct tensor_entry *e)
{
    int64_t place = (const char *)e->data - f->map.ptr;

    hash = mix(hash, e->name.ptr, e->name.len);
    hash = mix(hash, dtype_info(e->dtype)->name, strlen(dtype_info(e->dtype)->name));
    hash = mix(hash, e->dims, (size_t)e->n_dims * sizeof *e->dims);
    return mix(hash, &place, sizeof place);
}

void weight_digest_of_directory(const struct shards *s, char ret[WEIGHT_DIGEST_SIZE])
{
    uint64_t hash = 14695981039346656037u;

    for (int i = 0; i < s->n_files; i++)
        for (int k = 0; k < s->files[i].n_entries; k++)
            hash = mix_entry(hash, &s->files[i], &s->files[i].entries[k]);
    (void)snprintf(ret, WEIGHT_DIGEST_SIZE, "%lld-%016llx", (long long)shards_bytes(s), (unsigned long long)hash);
}

uint32_t weight_digest_of_headers(uint32_t crc, const struct shards *s)
{
    for (int i = 0; i < s->n_files; i++) {
        const struct tensor_file *f = &s->files[i];
        size_t header = f->map.len;

        for (int k = 0; k < f->n_entries; k++) {
            const size_t at = (size_t)((const char *)f->entries[k].data - f->map.ptr);

            header = at < header ? at : header;
        }
        crc = crc32c(crc, f->map.ptr, header);
    }
    return crc;
}

void weight_digest_with_vectors(const struct shards *s, char ret[WEIGHT_DIGEST_SIZE])
{
    uint32_t crc = 0;
    size_t n;

    for (int i = 0; i < s->n_files; i++)
        for (const struct tensor_entry *e = s->files[i].entries, *end = e + s->files[i].n_entries; e < end; e++)
            if (e->n_dims == 1) {
                err_ignore(file_map_wait(e->data, e->bytes, NULL)); /* whoever loads it waits, too, and fails */
                crc = crc32c(crc, e->data, e->bytes);
            }
    weight_digest_of_directory(s, ret);
    n = strlen(ret);
    (void)snprintf(ret + n, WEIGHT_DIGEST_SIZE - n, "-%08x", crc);
}
