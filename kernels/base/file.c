#include "kernels/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/out_file.h"

static enum err_code read_all(int fd, const char *path, char *buf, size_t size, size_t *ret_len, struct err *err)
{
    size_t n = 0;

    while (n < size) {
        ssize_t got = read(fd, buf + n, size - n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
        if (got == 0)
            break; /* the file became shorter meanwhile: the bytes so far are its content */
        n += (size_t)got;
    }
    *ret_len = n;
    return ERR_OK;
}

enum err_code file_read(const char *path, size_t max_bytes, struct arena *a, struct span *ret, struct err *err)
{
    enum err_code rc;
    struct stat st;
    char *buf = NULL;
    size_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer would keep us waiting */

    if (fd < 0)
        return err_set(err, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                       strerror(errno));
    rc = fstat(fd, &st) ? err_set(err, ERR_IO, "%s: %s", path, strerror(errno)) : ERR_OK;
    if (rc)
        goto out;
    if (!S_ISREG(st.st_mode)) {
        rc = err_set(err, ERR_INVALID, "%s: it is not a regular file", path);
        goto out;
    }
    if ((uint64_t)st.st_size > max_bytes) {
        rc = err_set(err, ERR_TOO_LARGE, "%s: it has more than %zu bytes", path, max_bytes);
        goto out;
    }
    rc = arena_alloc(a, (size_t)st.st_size + 1, 1, &buf, err);
    if (rc)
        goto out;
    rc = read_all(fd, path, buf, (size_t)st.st_size, &n, err);
    if (rc)
        goto out;
    *ret = (struct span){ buf, n };
out:
    (void)close(fd);
    return rc;
}

const char *file_short_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

enum err_code file_write(const char *path, struct span body, struct err *err)
{
    struct out_file *f;
    enum err_code rc = out_file_open(&f, path, err);

    if (rc)
        return rc;
    out_file_write(f, body.ptr, body.len);
    return out_file_close(f, OUT_FILE_KEEP, err);
}
