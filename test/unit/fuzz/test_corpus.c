/*
 * Replays test/fuzz/corpus/ENTRY/ through test/fuzz/fuzz_ENTRY.c: what a fuzzer once found stays found. The list of
 * entries is made by the Makefile, which links each under the name fuzz_ENTRY.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "build/fuzz_entries.h"
#include "kernels/base/file.h"
#include "test/support/bytes.h"
#include "test/support/check.h"

enum { CORPUS_FILE_MAX = 1 << 20 };

static void replay_file(const char *path, int (*entry)(const uint8_t *data, size_t size))
{
    struct arena a = { 0 };
    struct err err = { 0 };
    struct span file = { 0 };
    char *copy;

    CHECK_OK(arena_init(&a, 2 * CORPUS_FILE_MAX, &err), err);
    CHECK_OK(file_read(path, CORPUS_FILE_MAX, &a, &file, &err), err);
    copy = exact_copy(file.ptr, file.len);
    (void)entry((const uint8_t *)copy, file.len);
    free(copy);
    arena_done(&a);
}

static void replay(const char *name, int (*entry)(const uint8_t *data, size_t size))
{
    char path[512];
    struct dirent *e;
    DIR *dir;

    (void)snprintf(path, sizeof path, "test/fuzz/corpus/%s", name);
    dir = opendir(path);
    CHECK(dir); /* every entry has one */
    while ((e = readdir(dir))) {
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "test/fuzz/corpus/%s/%s", name, e->d_name);
        replay_file(path, entry);
    }
    (void)closedir(dir);
}

#define X(name)                                        \
    int fuzz_##name(const uint8_t *data, size_t size); \
    TEST(fuzz__corpus_of_##name##_is_survived)         \
    {                                                  \
        replay(#name, fuzz_##name);                    \
    }
FUZZ_ENTRIES(X)
#undef X
