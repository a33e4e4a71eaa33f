#include "models/file/file_map.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "kernels/base/memory_file.h"

enum { PATH_KEPT = 160 };

/* One mapped file. Where `start` is 0 the slot is free. The handler reads start, end and path; everything else belongs
 * to the threads, under the lock. */
struct file_map {
    atomic_uintptr_t start, end;
    char path[PATH_KEPT]; /* its end, where it is longer */
    int fd;
    const char *in_memory; /* the path of a file of this process (memory_file.h), borrowed; NULL: it is on a disk */
    off_t bytes;
    struct timespec modified;
};

enum lost { LOST_NOTHING, LOST_IS_BEING_WRITTEN, LOST_SOMETHING };

/* A signal handler has no arguments of ours, so what it needs is here. */
static struct {
    pthread_mutex_t lock;
    struct file_map slots[FILE_MAP_MAX];
    struct sigaction before; /* what happens at a SIGBUS that is not ours */
    bool catches;
    atomic_int lost; /* enum lost; set once */
    char lost_path[PATH_KEPT];
    uintptr_t lost_at; /* offset in the file, bytes */
} maps = { .lock = PTHREAD_MUTEX_INITIALIZER };

_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_POINTER_LOCK_FREE == 2, "a signal handler may use them");

/* --- the signal --- */

/* The slot that the address lies in; NULL: it is not in a mapping of ours. */
static struct file_map *find(uintptr_t address)
{
    for (int i = 0; i < FILE_MAP_MAX; i++) {
        uintptr_t start = maps.slots[i].start;

        if (start && address >= start && address < maps.slots[i].end)
            return &maps.slots[i];
    }
    return NULL;
}

/* Keeps the first loss. memcpy() is safe in a signal handler (POSIX.1-2017, 2.4.3). */
static void keep_lost(const struct file_map *m, uintptr_t address)
{
    int nothing = LOST_NOTHING;

    if (!atomic_compare_exchange_strong(&maps.lost, &nothing, LOST_IS_BEING_WRITTEN))
        return;
    memcpy(maps.lost_path, m->path, sizeof maps.lost_path);
    maps.lost_at = address - m->start;
    maps.lost = LOST_SOMETHING;
}

/*
 * Puts zeros in the place of the rest of the mapping, from the page of the fault on: a file that was shortened has
 * nothing behind it, and the file is given up in any case. mmap() is a bare system call. Where it is refused, or the
 * fault is not ours, the signal comes again under its former action: with the access that is tried again, or by raise()
 * where there was none, because somebody sent the signal.
 */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    uintptr_t address = (uintptr_t)info->si_addr, page = (uintptr_t)sysconf(_SC_PAGESIZE), from = address & ~(page - 1);
    bool is_access = info->si_code == BUS_ADRALN || info->si_code == BUS_ADRERR || info->si_code == BUS_OBJERR ||
                     info->si_code == BUS_MCEERR_AR;
    struct file_map *m = is_access ? find(address) : NULL;
    int saved = errno;

    (void)context;
    if (m) {
        keep_lost(m, address);
        if (mmap((void *)from, m->end - from, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
                 0) == MAP_FAILED)
            m = NULL;
    }
    if (!m)
        (void)sigaction(number, &maps.before, NULL);
    if (!is_access)
        (void)raise(number);
    errno = saved;
}

/* With the lock. */
static enum err_code catch_signal(struct err *err)
{
    struct sigaction action = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

    if (maps.catches)
        return ERR_OK;
    (void)sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, &maps.before))
        return err_set(err, ERR_INTERNAL, "the signal of a lost file cannot be caught: %m");
    maps.catches = true;
    return ERR_OK;
}

/* --- mapping --- */

static void unmap(void *slot)
{
    struct file_map *m = slot;
    uintptr_t start = m->start, end = m->end;

    (void)pthread_mutex_lock(&maps.lock);
    m->start = 0; /* before the address range can become something else's */
    (void)munmap((void *)start, end - start);
    (void)close(m->fd);
    (void)pthread_mutex_unlock(&maps.lock);
}

static void keep_path(struct file_map *m, const char *path)
{
    size_t n = strlen(path), skipped = n < sizeof m->path ? 0 : n + 1 - sizeof m->path;

    memcpy(m->path, path + skipped, n - skipped + 1);
}

/* With the lock: takes a free slot for a mapping. */
static enum err_code take_slot(void *start, int fd, const struct stat *st, const char *path, struct file_map **ret,
                               struct err *err)
{
    struct file_map *m = maps.slots;

    TRY(catch_signal(err));
    while (m < maps.slots + FILE_MAP_MAX && m->start)
        m++;
    if (m == maps.slots + FILE_MAP_MAX)
        return err_set(err, ERR_TOO_LARGE, "%s: more than %d model files are open at a time", path, FILE_MAP_MAX);
    keep_path(m, path);
    m->fd = fd;
    m->in_memory = memory_file_is_path(path) ? path : NULL;
    m->bytes = st->st_size;
    m->modified = st->st_mtim;
    m->end = (uintptr_t)start + (uintptr_t)st->st_size;
    m->start = (uintptr_t)start; /* last: from here on the handler knows the mapping */
    *ret = m;
    return ERR_OK;
}

/* Maps an open file; `fd` is closed when this fails, and with the mapping. */
static enum err_code map_open_file(int fd, const struct stat *st, const char *path, struct file_map **ret,
                                   struct err *err)
{
    void *start = mmap(NULL, (size_t)st->st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    enum err_code rc;

    if (start == MAP_FAILED) {
        rc = err_set(err, ERR_IO, "%s cannot be mapped into memory: %m", path);
        (void)close(fd);
        return rc;
    }
    (void)pthread_mutex_lock(&maps.lock);
    rc = take_slot(start, fd, st, path, ret, err);
    (void)pthread_mutex_unlock(&maps.lock);
    if (rc) {
        (void)munmap(start, (size_t)st->st_size);
        (void)close(fd);
    }
    return rc;
}

static enum err_code open_file(const char *path, int *ret, struct stat *st, struct err *err)
{
    struct err why = { 0 };
    enum err_code rc = file_open(path, ret, st, &why);

    if (rc)
        return err_set(err, rc == ERR_INVALID ? ERR_IO : rc, "%s", why.msg);
    if (st->st_size > 0)
        return ERR_OK;
    (void)close(*ret);
    return err_set(err, ERR_CORRUPT, "%s is empty; fetch it again", path);
}

enum err_code file_map_open(const char *path, struct arena *a, struct span *ret, struct err *err)
{
    struct file_map *slot = NULL;
    struct stat st;
    enum err_code rc;
    int fd = -1;

    TRY(open_file(path, &fd, &st, err));
    TRY(map_open_file(fd, &st, path, &slot, err));
    rc = arena_defer(a, unmap, slot, err);
    if (rc)
        unmap(slot);
    else
        *ret = (struct span){ (const char *)slot->start, (size_t)st.st_size };
    return rc;
}

/* The path lives as long as the mapping, which the caller holds. */
enum err_code file_map_wait(const void *p, size_t bytes, struct err *err)
{
    const struct file_map *m;
    const char *path = NULL;
    int64_t at = 0;

    if (!memory_files_arriving())
        return ERR_OK;
    (void)pthread_mutex_lock(&maps.lock);
    m = find((uintptr_t)p);
    if (m) {
        path = m->in_memory;
        at = (int64_t)((uintptr_t)p - m->start);
    }
    (void)pthread_mutex_unlock(&maps.lock);
    return path ? memory_file_wait(path, at, (int64_t)bytes, err) : ERR_OK;
}

void file_map_drop(const void *p, size_t bytes)
{
    const struct file_map *m;

    (void)pthread_mutex_lock(&maps.lock);
    m = find((uintptr_t)p);
    if (m && m->in_memory)
        memory_file_drop(m->in_memory, (int64_t)((uintptr_t)p - m->start), (int64_t)bytes);
    (void)pthread_mutex_unlock(&maps.lock);
}

/* --- the check --- */

static const char remedy[] = "start the worker again with a whole file; files in use are replaced by renaming others";

/* With the lock. A file that is renamed or removed stays what it was, for those who have it open. */
static enum err_code check_unchanged(const struct file_map *m, struct err *err)
{
    struct stat st;

    if (m->in_memory)
        return ERR_OK;
    if (fstat(m->fd, &st))
        return err_set(err, ERR_IO, "%s cannot be read any more: %m: %s", m->path, remedy);
    if (st.st_size != m->bytes)
        return err_set(err, ERR_IO, "%s was changed while it was in use, from %lld bytes to %lld: %s", m->path,
                       (long long)m->bytes, (long long)st.st_size, remedy);
    if (st.st_mtim.tv_sec != m->modified.tv_sec || st.st_mtim.tv_nsec != m->modified.tv_nsec)
        return err_set(err, ERR_IO, "%s was written to while it was in use: %s", m->path, remedy);
    return ERR_OK;
}

enum err_code file_map_check(struct err *err)
{
    enum err_code rc = ERR_OK;

    if (maps.lost == LOST_SOMETHING)
        return err_set(err, ERR_IO, "%s cannot be read any more at byte %llu, it was shortened or its disk failed: %s",
                       maps.lost_path, (unsigned long long)maps.lost_at, remedy);
    if (maps.lost)
        return err_set(err, ERR_IO, "a model file cannot be read any more: %s", remedy);
    (void)pthread_mutex_lock(&maps.lock);
    for (int i = 0; i < FILE_MAP_MAX && !rc; i++)
        if (maps.slots[i].start)
            rc = check_unchanged(&maps.slots[i], err);
    (void)pthread_mutex_unlock(&maps.lock);
    return rc;
}

enum err_code file_map_verdict(enum err_code rc, struct err *err)
{
    struct err lost = { 0 };

    if (!file_map_check(&lost))
        return rc;
    if (err)
        *err = lost;
    return lost.code;
}
