/* fuzz_index - any bytes as a *.safetensors.index.json: the files it names, and its weights against shards. Two shards
 * stand for whatever files it names, with the tensors "a" and "b", and "X" and "Y" of a type that is not read. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/file/safetensors.h"
#include "models/file/shard_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
    if (!truth)
        abort();
}

static void make_shard(char file[512], const char *names, struct arena *a, struct tensor_file *ret)
{
    static const char entry[] = "\"%c\":{\"dtype\":\"%s\",\"shape\":[1],\"data_offsets\":[%d,%d]}";
    size_t at = 8;
    uint64_t len;

    file[at++] = '{';
    for (int i = 0; names[i]; i++) {
        at += (size_t)snprintf(file + at, 512 - at, "%s", i ? "," : "");
        at += (size_t)snprintf(file + at, 512 - at, entry, names[i], names[i] < 'a' ? "I8" : "U8", i, i + 1);
    }
    file[at++] = '}';
    len = at - 8;
    memcpy(file, &len, sizeof len);
    memset(file + at, 0, strlen(names));
    must(!safetensors_parse((struct span){ file, at + strlen(names) }, a, ret, NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = { (const char *)data, size };
    struct tensor_file files[SHARDS_MAX_FILES];
    struct shards s = { .files = files };
    struct shard_index x = { 0 };
    struct arena a = { 0 };
    struct err err = { 0 };
    char shard[2][512];

    if (arena_init(&a, 16 << 20, NULL))
        abort();
    if (!shard_index_read(text, &a, &x, &err)) {
        must(x.n_files > 0 && x.n_files <= SHARDS_MAX_FILES && x.total_bytes >= 0);
        for (int i = 0; i < x.n_files; i++) {
            size_t n = strlen(x.files[i]);

            must(!strchr(x.files[i], '/') && x.files[i][0] != '.' && n > 12 && n <= 255);
            files[i] = (struct tensor_file){ 0 };
            make_shard(shard[i % 2], i % 2 ? "bY" : "aX", &a, &files[i]);
        }
        s.n_files = x.n_files;
        if (shard_index_check(&x, &s, &a, &err))
            must(err.code == ERR_CORRUPT && err.msg[0]);
    }
    arena_done(&a);
    return 0;
}
