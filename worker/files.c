#include "worker/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err_code io_error(struct err *err, const char *path, const char *what)
{
    enum err_code code = errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO;

    return err_set(err, code, "%s: %s: %s", path, what, strerror(errno));
}

static enum err_code read_all(int fd, char *buf, size_t bytes, const char *path, struct err *err)
{
    size_t done = 0;

    while (done < bytes) {
        ssize_t n = read(fd, buf + done, bytes - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return io_error(err, path, "read");
        if (n == 0)
            return err_set(err, ERR_IO, "%s: shrank while it was read", path);
        done += (size_t)n;
    }
    return ERR_OK;
}

enum err_code files_read(struct arena *a, const char *path, size_t max_bytes, struct span *ret, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum err_code rc;
    struct stat st;
    char *buf;

    if (fd < 0)
        return io_error(err, path, "open");
    if (fstat(fd, &st)) {
        rc = io_error(err, path, "stat");
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = err_set(err, ERR_IO, "%s: not a regular file", path);
        goto out;
    }
    if ((uint64_t)st.st_size > max_bytes) {
        rc = err_set(err, ERR_TOO_LARGE, "%s: %lld bytes, the limit is %zu", path, (long long)st.st_size, max_bytes);
        goto out;
    }
    rc = arena_alloc(a, (size_t)st.st_size + 1, 1, &buf, err);
    if (!rc)
        rc = read_all(fd, buf, (size_t)st.st_size, path, err);
    if (!rc)
        *ret = (struct span){ buf, (size_t)st.st_size };
out:
    (void)close(fd);
    return rc;
}

static enum err_code write_all(int fd, struct span body, const char *path, struct err *err)
{
    for (size_t done = 0; done < body.len;) {
        ssize_t n = write(fd, body.ptr + done, body.len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return io_error(err, path, "write");
        done += (size_t)n;
    }
    return fsync(fd) ? io_error(err, path, "fsync") : ERR_OK;
}

enum err_code files_write(const char *path, struct span body, struct err *err)
{
    char temporary[4096];
    enum err_code rc;
    int fd;

    if (snprintf(temporary, sizeof temporary, "%s.%ld.part", path, (long)getpid()) >= (int)sizeof temporary)
        return err_set(err, ERR_INVALID, "files: the name '%.100s...' is too long", path);
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return io_error(err, temporary, "create");
    rc = write_all(fd, body, temporary, err);
    if (close(fd) && !rc)
        rc = io_error(err, temporary, "close");
    if (!rc && rename(temporary, path))
        rc = io_error(err, path, "rename");
    if (rc)
        (void)unlink(temporary);
    return rc;
}
