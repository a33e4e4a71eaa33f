#include "models/bench_load.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/mapping.h"

enum { BUFFER_BYTES = 1 << 20, PAGE = 4096 };

static double seconds(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static enum err_code time_read(int fd, double *ret, struct err *err)
{
    char *buffer = malloc(BUFFER_BYTES);
    ssize_t n = 1;
    double begin;

    if (!buffer)
        return err_set(err, ERR_NOMEM, "no memory for a buffer");
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    begin = seconds();
    for (off_t at = 0; n > 0; at += n)
        n = pread(fd, buffer, BUFFER_BYTES, at);
    *ret = seconds() - begin;
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
    begin = seconds();
    p = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return err_set(err, ERR_IO, "mmap: %m");
    fn(p, bytes, (const char *)p + bytes);
    *ret = seconds() - begin;
    (void)munmap(p, bytes);
    return ERR_OK;
}

enum err_code bench_load(const char *path, struct bench_load *ret, struct err *err)
{
    struct bench_load b = { 0 };
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum err_code rc;

    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size == 0) {
        rc = err_set(err, ERR_IO, "%s: not a file with contents that can be read", path);
        goto out;
    }
    b.bytes = st.st_size;
    rc = time_read(fd, &b.read_seconds, err);
    if (!rc)
        rc = time_mapping(fd, (size_t)b.bytes, touch, &b.touch_seconds, err);
    if (!rc)
        rc = time_mapping(fd, (size_t)b.bytes, mapping_read, &b.mapped_seconds, err);
    if (!rc)
        *ret = b;
out:
    if (fd >= 0)
        (void)close(fd);
    return rc;
}
