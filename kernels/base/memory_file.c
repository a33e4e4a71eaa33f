#include "kernels/base/memory_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, PATH_BYTES_MAX = 4096 };

struct range {
    int64_t from, end;
};

/* Grows by doubling. */
struct ranges {
    struct range *list;
    int n, room;
};

struct memory_file {
    char *path;
    int64_t bytes;
    int fd; /* -1: nothing has been written */
    bool arriving;
    struct ranges arrived; /* each once */
    struct ranges dropped;
};

/* A path means the same wherever it is opened, so the table is the process's, as that of the disk's files is. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* something has arrived, or nothing more will */
    struct memory_file *files[MEMORY_FILES_MAX];
    int n;
    atomic_int n_arriving; /* files, and one more after a failure */
    struct err failed;
} table = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

bool memory_file_is_path(const char *path)
{
    const size_t scheme = strspn(path, "abcdefghijklmnopqrstuvwxyz");

    return scheme && strncmp(path + scheme, "://", 3) == 0;
}

/* --- finding --- */

/* Without the slashes at its end, but for those of the scheme. */
static size_t length_of(const char *path)
{
    size_t n = strlen(path), least = (size_t)(strstr(path, "://") - path) + 3;

    while (n > least && path[n - 1] == '/')
        n--;
    return n;
}

/* With the lock. */
static struct memory_file *find(const char *path)
{
    size_t n = length_of(path);

    for (int i = 0; i < table.n; i++)
        if (strlen(table.files[i]->path) == n && memcmp(table.files[i]->path, path, n) == 0)
            return table.files[i];
    return NULL;
}

/* The rest of the file's path below the folder, after the slash; NULL: it lies elsewhere. */
static const char *below(const struct memory_file *f, const char *dir)
{
    size_t n = length_of(dir);

    return strncmp(f->path, dir, n) == 0 && f->path[n] == '/' && f->path[n + 1] ? f->path + n + 1 : NULL;
}

/* With the lock. */
static bool is_folder(const char *path)
{
    bool any = false;

    for (int i = 0; i < table.n && !any; i++)
        any = below(table.files[i], path) != NULL;
    return any;
}

/* --- adding, writing --- */

static void free_file(struct memory_file *f)
{
    if (f && f->fd >= 0)
        (void)close(f->fd);
    if (f) {
        free(f->arrived.list);
        free(f->dropped.list);
        free(f->path);
    }
    free(f);
}

/* With the lock. */
static enum err_code add(const char *path, int64_t bytes, struct memory_file **ret, struct err *err)
{
    struct memory_file *f;

    if (table.n == MEMORY_FILES_MAX)
        return err_set(err, ERR_TOO_LARGE, "%s: more than %d files in memory", path, MEMORY_FILES_MAX);
    if (find(path))
        return err_set(err, ERR_INVALID, "%s is in memory twice", path);
    f = calloc(1, sizeof *f);
    if (f)
        *f = (struct memory_file){ .path = strdup(path), .bytes = bytes, .fd = -1 };
    if (!f || !f->path) {
        free_file(f);
        return err_set(err, ERR_NOMEM, "%s: no memory for its record", path);
    }
    table.files[table.n++] = *ret = f;
    return ERR_OK;
}

enum err_code memory_file_add(const char *path, int64_t bytes, struct memory_file **ret, struct err *err)
{
    enum err_code rc;

    if (!memory_file_is_path(path) || strlen(path) > PATH_BYTES_MAX || path[strlen(path) - 1] == '/' || bytes < 0)
        return err_set(err, ERR_INVALID, "'%.200s' is not a path of a file in memory", path);
    (void)pthread_mutex_lock(&table.lock);
    rc = add(path, bytes, ret, err);
    (void)pthread_mutex_unlock(&table.lock);
    return rc;
}

void memory_files_remove(void)
{
    (void)pthread_mutex_lock(&table.lock);
    while (table.n)
        free_file(table.files[--table.n]);
    table.n_arriving = 0;
    table.failed = (struct err){ 0 };
    (void)pthread_mutex_unlock(&table.lock);
}

/* With the lock. */
static enum err_code make_room(struct memory_file *f, struct err *err)
{
    int fd;

    if (f->fd >= 0)
        return ERR_OK;
    fd = memfd_create("model-file", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)f->bytes)) {
        enum err_code rc =
            err_set(err, ERR_NOMEM, "%s: there is no memory for its %lld bytes: %m", f->path, (long long)f->bytes);

        if (fd >= 0)
            (void)close(fd);
        return rc;
    }
    f->fd = fd;
    return ERR_OK;
}

enum err_code memory_file_write(struct memory_file *f, int64_t at, const void *bytes, size_t n, struct err *err)
{
    enum err_code rc;

    if (at < 0 || at > f->bytes || (int64_t)n > f->bytes - at)
        return err_set(err, ERR_INTERNAL, "%s: %zu bytes at %lld do not lie in it", f->path, n, (long long)at);
    (void)pthread_mutex_lock(&table.lock);
    rc = make_room(f, err);
    (void)pthread_mutex_unlock(&table.lock);
    for (size_t done = 0; !rc && done < n;) {
        ssize_t put = pwrite(f->fd, (const char *)bytes + done, n - done, (off_t)at + (off_t)done);

        if (put >= 0)
            done += (size_t)put;
        else if (errno != EINTR)
            rc = err_set(err, errno == ENOSPC || errno == ENOMEM ? ERR_NOMEM : ERR_IO,
                         "%s cannot be kept in memory: %m", f->path);
    }
    return rc;
}

/* --- reading --- */

static void fill_in(struct stat *st, bool folder, int64_t bytes)
{
    memset(st, 0, sizeof *st);
    st->st_mode = folder ? S_IFDIR | 0555 : S_IFREG | 0444;
    st->st_size = (off_t)bytes;
}

bool memory_file_stat(const char *path, struct stat *ret)
{
    const struct memory_file *f;
    bool folder = false;

    (void)pthread_mutex_lock(&table.lock);
    f = find(path);
    folder = !f && is_folder(path);
    if (f || folder)
        fill_in(ret, folder, f ? f->bytes : 0);
    (void)pthread_mutex_unlock(&table.lock);
    return f || folder;
}

/* With the lock. */
static enum err_code open_found(struct memory_file *f, const char *path, int *ret_fd, struct err *err)
{
    if (!f && is_folder(path))
        return err_set(err, ERR_INVALID, "%s is a folder, not a regular file", path);
    if (!f)
        return err_set(err, ERR_NOT_FOUND, "%s: %s", path, strerror(ENOENT));
    if (f->fd < 0 && f->bytes > 0)
        return err_set(err, ERR_IO, "%s has not been fetched", path);
    TRY(make_room(f, err));
    *ret_fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
    return *ret_fd < 0 ? err_set(err, ERR_IO, "%s: %m", path) : ERR_OK;
}

enum err_code memory_file_open(const char *path, int *ret_fd, struct stat *ret_stat, struct err *err)
{
    struct memory_file *f;
    enum err_code rc;

    (void)pthread_mutex_lock(&table.lock);
    f = find(path);
    rc = open_found(f, path, ret_fd, err);
    if (!rc)
        fill_in(ret_stat, false, f->bytes);
    (void)pthread_mutex_unlock(&table.lock);
    return rc;
}

/* The files of the table stay where they are until all are removed, so `take` is called without the lock. */
enum err_code memory_file_list(const char *dir, enum err_code (*take)(void *ctx, const char *name, struct err *err),
                               void *ctx, struct err *err)
{
    bool any = false;
    int n;

    (void)pthread_mutex_lock(&table.lock);
    n = table.n;
    (void)pthread_mutex_unlock(&table.lock);
    for (int i = 0; i < n; i++) {
        const char *name = below(table.files[i], dir);

        any |= name != NULL;
        if (name && !strchr(name, '/'))
            TRY(take(ctx, name, err));
    }
    return any ? ERR_OK : err_set(err, ERR_NOT_FOUND, "%s: the folder cannot be read: %s", dir, strerror(ENOENT));
}

/* --- ranges --- */

/* Joined to one that it continues, or which continues it. false: no memory. */
static bool add_range(struct ranges *r, struct range one)
{
    for (int i = 0; i < r->n; i++) {
        if (r->list[i].end == one.from)
            one.from = r->list[i].from;
        else if (r->list[i].from == one.end)
            one.end = r->list[i].end;
        else
            continue;
        r->list[i--] = r->list[--r->n];
    }
    if (r->n == r->room) {
        int room = r->room ? 2 * r->room : 64;
        struct range *more = realloc(r->list, (size_t)room * sizeof *more);

        if (!more)
            return false;
        r->list = more;
        r->room = room;
    }
    r->list[r->n++] = one;
    return true;
}

/* --- arriving --- */

void memory_file_begin(struct memory_file *f)
{
    (void)pthread_mutex_lock(&table.lock);
    if (!f->arriving)
        table.n_arriving++;
    f->arriving = true;
    (void)pthread_mutex_unlock(&table.lock);
}

/* Where there is no memory for the note, whoever waits goes on at the end of the file. */
void memory_file_arrived(struct memory_file *f, int64_t at, int64_t bytes)
{
    (void)pthread_mutex_lock(&table.lock);
    (void)add_range(&f->arrived, (struct range){ at, at + bytes });
    (void)pthread_cond_broadcast(&table.changed);
    (void)pthread_mutex_unlock(&table.lock);
}

void memory_file_end(struct memory_file *f)
{
    (void)pthread_mutex_lock(&table.lock);
    if (f->arriving)
        table.n_arriving--;
    f->arriving = false;
    (void)pthread_cond_broadcast(&table.changed);
    (void)pthread_mutex_unlock(&table.lock);
}

void memory_files_fail(const struct err *why)
{
    (void)pthread_mutex_lock(&table.lock);
    if (!table.failed.code) {
        table.failed = *why;
        table.n_arriving++;
    }
    (void)pthread_cond_broadcast(&table.changed);
    (void)pthread_mutex_unlock(&table.lock);
}

bool memory_files_arriving(void)
{
    return table.n_arriving > 0;
}

/* With the lock. */
static bool has_arrived(const struct memory_file *f, int64_t at, int64_t bytes)
{
    bool has = !f || !f->arriving;

    for (int i = 0; !has && i < f->arrived.n; i++)
        has = f->arrived.list[i].from <= at && at + bytes <= f->arrived.list[i].end;
    return has;
}

enum err_code memory_file_wait(const char *path, int64_t at, int64_t bytes, struct err *err)
{
    const struct memory_file *f;
    enum err_code rc;

    if (!memory_files_arriving())
        return ERR_OK;
    (void)pthread_mutex_lock(&table.lock);
    f = find(path);
    while (!table.failed.code && !has_arrived(f, at, bytes))
        (void)pthread_cond_wait(&table.changed, &table.lock);
    rc = f && table.failed.code ? err_set(err, table.failed.code, "%s", table.failed.msg) : ERR_OK;
    (void)pthread_mutex_unlock(&table.lock);
    return rc;
}

/* --- giving back --- */

/* Where there is no memory to note it, the bytes stay. */
void memory_file_drop(const char *path, int64_t at, int64_t bytes)
{
    struct memory_file *f;

    (void)pthread_mutex_lock(&table.lock);
    f = find(path);
    if (f && at >= 0 && bytes > 0 && at <= f->bytes - bytes)
        (void)add_range(&f->dropped, (struct range){ at, at + bytes });
    (void)pthread_mutex_unlock(&table.lock);
}

/* A page that two ranges share stays. */
static int64_t free_range(const struct memory_file *f, struct range r)
{
    int64_t from = (r.from + PAGE - 1) & ~(int64_t)(PAGE - 1), end = r.end & ~(int64_t)(PAGE - 1);

    if (f->fd < 0 || from >= end ||
        fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(end - from)))
        return 0;
    return end - from;
}

int64_t memory_files_free_dropped(void)
{
    int64_t bytes = 0;

    (void)pthread_mutex_lock(&table.lock);
    for (int i = 0; i < table.n; i++) {
        struct memory_file *f = table.files[i];

        for (int k = 0; k < f->dropped.n; k++)
            bytes += free_range(f, f->dropped.list[k]);
        f->dropped.n = 0;
    }
    (void)pthread_mutex_unlock(&table.lock);
    return bytes;
}
