#include "kernels/base/out_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEMPORARY_TRIES = 100 };

struct out_file {
    FILE *stream;
    int failed; /* errno of the first failure */
    char path[OUT_FILE_PATH_MAX];
    char temporary[OUT_FILE_PATH_MAX]; /* empty: written in place */
};

static int open_temporary(struct out_file *f)
{
    int fd = -1;

    for (int i = 0; i < TEMPORARY_TRIES && fd < 0; i++) {
        int n = snprintf(f->temporary, sizeof f->temporary, "%s.%ld.%d.tmp", f->path, (long)getpid(), i);

        if (n < 0 || (size_t)n >= sizeof f->temporary) {
            errno = ENAMETOOLONG;
            return -1;
        }
        fd = open(f->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            return -1;
    }
    return fd;
}

static bool open_stream(struct out_file *f)
{
    struct stat st;
    int fd;

    if (stat(f->path, &st) == 0 && !S_ISREG(st.st_mode)) {
        f->stream = fopen(f->path, "wbe");
        return f->stream != NULL;
    }
    fd = open_temporary(f);
    if (fd < 0)
        return false;
    f->stream = fdopen(fd, "wb");
    if (!f->stream) {
        (void)close(fd);
        (void)unlink(f->temporary);
    }
    return f->stream != NULL;
}

enum err_code out_file_open(struct out_file **ret, const char *path, struct err *err)
{
    struct out_file *f = calloc(1, sizeof *f);

    if (!f)
        return err_set(err, ERR_NOMEM, "%s: no memory to write it", path);
    if (strlen(path) >= sizeof f->path) {
        free(f);
        return err_set(err, ERR_IO, "%.100s...: the path is too long", path);
    }
    memcpy(f->path, path, strlen(path) + 1);
    if (!open_stream(f)) {
        enum err_code rc = err_set(err, ERR_IO, "%s: cannot be written: %m", path);

        free(f);
        return rc;
    }
    *ret = f;
    return ERR_OK;
}

void out_file_write(struct out_file *f, const void *data, size_t bytes)
{
    if (!f->failed && bytes && fwrite(data, 1, bytes, f->stream) != bytes)
        f->failed = errno ? errno : EIO;
}

enum err_code out_file_check(const struct out_file *f, struct err *err)
{
    if (f->failed)
        return err_set(err, ERR_IO, "%s: cannot be written: %s", f->path, strerror(f->failed));
    return ERR_OK;
}

enum err_code out_file_close(struct out_file *f, enum out_file_end end, struct err *err)
{
    bool keep = end == OUT_FILE_KEEP;
    enum err_code rc;

    if (keep && !f->failed && f->temporary[0] && (fflush(f->stream) || fsync(fileno(f->stream))))
        f->failed = errno; /* the bytes must be on the disk before the file gets its name */
    if (fclose(f->stream) && !f->failed)
        f->failed = errno ? errno : EIO;
    if (keep && !f->failed && f->temporary[0] && rename(f->temporary, f->path))
        f->failed = errno;
    rc = out_file_check(f, err);
    if (f->temporary[0] && (!keep || f->failed))
        (void)unlink(f->temporary);
    free(f);
    return rc;
}
