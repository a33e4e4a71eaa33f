#include "kernels/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/memory_file.h"
#include "kernels/base/out_file.h"

static enum err_code read_all(int fd, const char *path, char *buf, size_t size, size_t *ret_len, struct err *err)
{
    size_t n = 0;

    while (n < size) {
        ssize_t got = pread(fd, buf + n, size - n, (off_t)n);

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

static const char *kind_of(mode_t mode)
{
    if (S_ISDIR(mode))
        return "a folder";
    if (S_ISFIFO(mode))
        return "a pipe";
    if (S_ISSOCK(mode))
        return "a socket";
    return S_ISCHR(mode) || S_ISBLK(mode) ? "a device" : "something else";
}

static enum err_code open_on_disk(const char *path, int *ret_fd, struct stat *ret_stat, struct err *err)
{
    int fd =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a pipe without a writer would keep us waiting */
    enum err_code rc = ERR_OK;

    if (fd < 0 && errno == ENXIO)
        return err_set(err, ERR_INVALID, "%s is a socket or a device, not a regular file", path);
    if (fd < 0)
        return err_set(err, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                       strerror(errno));
    if (fstat(fd, ret_stat))
        rc = err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(ret_stat->st_mode))
        rc = err_set(err, ERR_INVALID, "%s is %s, not a regular file", path, kind_of(ret_stat->st_mode));
    if (rc)
        (void)close(fd);
    else
        *ret_fd = fd;
    return rc;
}

enum err_code file_open(const char *path, int *ret_fd, struct stat *ret_stat, struct err *err)
{
    return (memory_file_is_path(path) ? memory_file_open : open_on_disk)(path, ret_fd, ret_stat, err);
}

/* The text of an open file; a NUL follows it. */
static enum err_code read_open_file(int fd, const char *path, size_t bytes, struct arena *a, struct span *ret,
                                    struct err *err)
{
    char *buf = NULL;
    size_t n = 0;

    if (memory_file_is_path(path))
        TRY(memory_file_wait(path, 0, (int64_t)bytes, err));
    TRY(arena_alloc(a, bytes + 1, 1, &buf, err));
    TRY(read_all(fd, path, buf, bytes, &n, err));
    *ret = (struct span){ buf, n };
    return ERR_OK;
}

enum err_code file_read(const char *path, size_t max_bytes, struct arena *a, struct span *ret, struct err *err)
{
    enum err_code rc;
    struct stat st;
    int fd = -1;

    TRY(file_open(path, &fd, &st, err));
    rc = (uint64_t)st.st_size > max_bytes
             ? err_set(err, ERR_TOO_LARGE, "%s: it has more than %zu bytes", path, max_bytes)
             : read_open_file(fd, path, (size_t)st.st_size, a, ret, err);
    (void)close(fd);
    return rc;
}

const char *file_short_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

enum err_code file_folder(const char *path, struct arena *a, const char **ret, struct err *err)
{
    const size_t n = (size_t)(file_short_name(path) - path); /* with the slash */
    char *folder = NULL;

    TRY(span_dup(a, n ? (struct span){ path, n > 1 ? n - 1 : 1 } : SPAN("."), &folder, err));
    *ret = folder;
    return ERR_OK;
}

bool file_stat(const char *path, struct stat *ret)
{
    bool there;

    if (!memory_file_is_path(path))
        return stat(path, ret) == 0;
    there = memory_file_stat(path, ret);
    if (!there)
        errno = ENOENT;
    return there;
}

bool file_is_named(const char *path)
{
    struct stat st;

    return memory_file_is_path(path) ? file_stat(path, &st) : lstat(path, &st) == 0;
}

bool file_is_folder(const char *path)
{
    struct stat st;

    return file_stat(path, &st) && S_ISDIR(st.st_mode);
}

bool file_folder_is_readable(const char *path)
{
    struct stat st;

    return memory_file_is_path(path) ? file_stat(path, &st) : access(path, R_OK | X_OK) == 0;
}

static enum err_code take_names(DIR *open_dir, const char *dir,
                                enum err_code (*take)(void *ctx, const char *name, struct err *err), void *ctx,
                                struct err *err)
{
    const struct dirent *entry;

    while (errno = 0, (entry = readdir(open_dir)))
        TRY(take(ctx, entry->d_name, err));
    return errno ? err_set(err, ERR_IO, "%s: the folder cannot be read to its end: %m", dir) : ERR_OK;
}

enum err_code file_list(const char *dir, enum err_code (*take)(void *ctx, const char *name, struct err *err), void *ctx,
                        struct err *err)
{
    enum err_code rc;
    DIR *open_dir;

    if (memory_file_is_path(dir))
        return memory_file_list(dir, take, ctx, err);
    open_dir = opendir(dir);
    if (!open_dir)
        return err_set(err, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO,
                       "%s: the folder cannot be read: %m", dir);
    rc = take_names(open_dir, dir, take, ctx, err);
    (void)closedir(open_dir);
    return rc;
}

bool file_is_same(const char *path, const char *other)
{
    struct stat a, b;

    if (strcmp(path, other) == 0)
        return true;
    return stat(path, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
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
