#include "models/bench/random_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "models/bench/random_model.h"
#include "models/file/gguf.h"

enum { ROWS = 12288, COLS = 3072, ALIGNMENT = 32, MAX_MATRICES = 4096, INFO_BYTES = 64 };

static enum err_code write_all(int fd, const void *p, size_t n, struct err *err)
{
    const char *at = p;

    while (n > 0) {
        ssize_t done = write(fd, at, n);

        if (done < 0)
            return err_set(err, ERR_IO, "random file: %m");
        at += done;
        n -= (size_t)done;
    }
    return ERR_OK;
}

/* Appends n bytes; the caller has made sure that there is room. */
static void put(char **at, const void *p, size_t n)
{
    memcpy(*at, p, n);
    *at += n;
}

static void put_u32(char **at, uint32_t v)
{
    put(at, &v, sizeof v);
}

static void put_u64(char **at, uint64_t v)
{
    put(at, &v, sizeof v);
}

/* Writes everything before the data: no pairs of metadata, and a directory of n matrices. Returns its length. */
static size_t make_directory(char *buf, enum dtype type, int n, size_t matrix_bytes)
{
    char *at = buf, name[16];

    put(&at, "GGUF", 4);
    put_u32(&at, 3);
    put_u64(&at, (uint64_t)n);
    put_u64(&at, 0);
    for (int i = 0; i < n; i++) {
        int len = snprintf(name, sizeof name, "matrix.%04d", i);

        put_u64(&at, (uint64_t)len);
        put(&at, name, (size_t)len);
        put_u32(&at, 2);
        put_u64(&at, COLS);
        put_u64(&at, ROWS);
        put_u32(&at, gguf_tensor_type(type));
        put_u64(&at, (uint64_t)i * matrix_bytes);
    }
    while ((at - buf) % ALIGNMENT)
        put(&at, "", 1);
    return (size_t)(at - buf);
}

/* Every matrix gets other values, because a disk may store equal blocks only once. */
static enum err_code write_matrices(int fd, enum dtype type, int n, struct arena *a, struct err *err)
{
    struct random_model m;

    TRY(random_model_init(&m, a, type, RANDOM_WEIGHTS_OWN, err));
    for (int i = 0; i < n; i++) {
        ARENA_SCRATCH(a);

        m.n_entries = 0;
        TRY(random_model_add(&m, "matrix", 2, (int64_t[]){ ROWS, COLS }, err));
        TRY(write_all(fd, m.entries[0].data, m.entries[0].bytes, err));
    }
    return ERR_OK;
}

static enum err_code write_with(struct arena *a, int fd, enum dtype type, int64_t bytes, struct err *err)
{
    size_t matrix_bytes = dtype_row_bytes(type, COLS) * ROWS;
    int64_t n = (bytes + (int64_t)matrix_bytes - 1) / (int64_t)matrix_bytes;
    char *directory = NULL;

    if (n < 1 || n > MAX_MATRICES)
        return err_set(err, ERR_INVALID, "random file: %lld bytes are not between 1 and %d matrices of %zu bytes",
                       (long long)bytes, MAX_MATRICES, matrix_bytes);
    TRY(arena_alloc(a, (size_t)n + 1, INFO_BYTES, &directory, err));
    TRY(write_all(fd, directory, make_directory(directory, type, (int)n, matrix_bytes), err));
    TRY(write_matrices(fd, type, (int)n, a, err));
    return fsync(fd) ? err_set(err, ERR_IO, "random file: %m") : ERR_OK;
}

static enum err_code write_file(int fd, enum dtype type, int64_t bytes, struct err *err)
{
    struct arena a = { 0 };
    enum err_code rc;

    TRY(arena_init(&a, (size_t)1 << 30, err));
    rc = write_with(&a, fd, type, bytes, err);
    arena_done(&a);
    return rc;
}

enum err_code random_file_open(enum dtype type, int64_t bytes, char ret_path[RANDOM_FILE_PATH], int *ret_fd,
                               struct err *err)
{
    const char *dir = getenv("TMPDIR");
    char name[4096];
    enum err_code rc;
    int fd;

    (void)snprintf(name, sizeof name, "%s/inpaint-random-XXXXXX", dir && *dir ? dir : "/tmp");
    fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_IO, "%s: %m", name);
    (void)unlink(name);
    rc = write_file(fd, type, bytes, err);
    if (rc) {
        (void)close(fd);
        return rc;
    }
    (void)snprintf(ret_path, RANDOM_FILE_PATH, "/proc/self/fd/%d", fd);
    *ret_fd = fd;
    return ERR_OK;
}
