#include "models/bench/bench_load.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/mapping.h"
#include "kernels/bench_product.h"
#include "models/file/tensor_file.h"

enum { BUFFER_BYTES = 1 << 20, PAGE = 4096, DIRECTORY_BYTES = 256 << 20 /* address space */ };

static enum err_code time_read(int fd, double *ret, struct err *err)
{
    char *buffer = malloc(BUFFER_BYTES);
    ssize_t n = 1;
    double begin;

    if (!buffer)
        return err_set(err, ERR_NOMEM, "no memory to read a file into");
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    begin = bench_clock();
    for (off_t at = 0; n > 0; at += n)
        n = pread(fd, buffer, BUFFER_BYTES, at);
    *ret = bench_clock() - begin;
    free(buffer);
    return n < 0 ? err_set(err, ERR_IO, "read: %m") : ERR_OK;
}

static void touch(const void *p, size_t bytes, const void *end)
{
    (void)end;
    for (size_t at = 0; at < bytes; at += PAGE)
        (void)((const volatile char *)p)[at];
}

static enum err_code time_mapping(int fd, size_t bytes, void (*fn)(const void *, size_t, const void *), double *ret,
                                  struct err *err)
{
    double begin;
    void *p;

    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    begin = bench_clock();
    p = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return err_set(err, ERR_IO, "mmap: %m");
    fn(p, bytes, (const char *)p + bytes);
    *ret = bench_clock() - begin;
    (void)munmap(p, bytes);
    return ERR_OK;
}

static enum err_code time_file(int fd, int64_t bytes, struct bench_load *ret, struct err *err)
{
    struct bench_load b = { .bytes = bytes };

    TRY(time_read(fd, &b.read_seconds[0], err));
    TRY(time_mapping(fd, (size_t)bytes, touch, &b.touch_seconds, err));
    TRY(time_mapping(fd, (size_t)bytes, mapping_read, &b.mapped_seconds, err));
    TRY(time_read(fd, &b.read_seconds[1], err));
    *ret = b;
    return ERR_OK;
}

enum err_code bench_load(const char *path, struct bench_load *ret, struct err *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    enum err_code rc;

    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size == 0)
        rc = err_set(err, ERR_IO, "%s: it is not a file that can be read, or it is empty", path);
    else
        rc = time_file(fd, st.st_size, ret, err);
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

double bench_load_read_seconds(const struct bench_load *b)
{
    return fmin(b->read_seconds[0], b->read_seconds[1]);
}

/* --- into a backend --- */

/* Anonymous memory of this process, in bytes; 0: unknown. */
static int64_t own_memory(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    long long kib = 0;
    char line[128];

    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %lld", &kib) == 1)
            break;
    if (f)
        (void)fclose(f);
    return kib * 1024;
}

/* Asks the system to drop the file from its cache. */
static void forget(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    (void)close(fd);
}

static enum err_code load_matrices(const struct tensor_file *f, struct backend *be, struct bench_load_model *b,
                                   struct err *err)
{
    for (int i = 0; i < f->n_entries; i++) {
        const struct tensor_entry *e = &f->entries[i];
        struct weight host = { .dtype = e->dtype, .data = e->data }, w;

        if (e->n_dims != 2)
            continue;
        host.rows = e->dims[0];
        host.cols = e->dims[1];
        if (be->in_place)
            mapping_read(e->data, e->bytes, f->map.ptr + f->map.len);
        TRY(be->ops->weight_load(be, &host, &w, err));
        b->n_matrices++;
        b->bytes += (int64_t)e->bytes;
    }
    return be->ops->sync(be, err);
}

static enum err_code time_model(const char *path, struct backend *be, enum weight_mode mode, struct arena *a,
                                struct bench_load_model *ret, struct err *err)
{
    struct bench_load_model b = { 0 };
    struct tensor_file file = { 0 };
    double begin;

    forget(path);
    begin = bench_clock();
    TRY(tensor_file_open(path, a, &file, err));
    backend_expect_weights(be, mode, tensor_file_expanded_bytes(&file));
    TRY(load_matrices(&file, be, &b, err));
    b.seconds = bench_clock() - begin;
    b.own_bytes = own_memory();
    b.device_bytes = backend_memory(be).used;
    *ret = b;
    return ERR_OK;
}

enum err_code bench_load_model(const char *path, struct backend *be, enum weight_mode mode,
                               struct bench_load_model *ret, struct err *err)
{
    struct arena a = { 0 };
    enum err_code rc;

    TRY(arena_init(&a, DIRECTORY_BYTES, err));
    rc = time_model(path, be, mode, &a, ret, err);
    arena_done(&a);
    return rc;
}
