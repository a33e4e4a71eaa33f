#include "models/jail/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "models/jail/reply.h"
#include "models/jail/request.h"
#include "models/jail/sandbox.h"

#define MARK        "INPAINT_JAIL" /* in the environment of the jailed process: it starts no other */
#define THE_DECODER "jail: the decoder"

enum { ENVIRONMENT_MAX = 8, NAMED_SIGNAL = 16 };

struct jailed {
    int request, answer; /* files in memory; -1: none */
    pid_t pid;           /* 0: not started, or reaped */
    int status;          /* of wait() */
    bool is_late;        /* it was killed because its time was over */
};

struct jail_limits jail_limits_for(int64_t max_pixels)
{
    enum { PLAIN = 64 << 20, HEAP = 512 << 20 };
    int64_t n = max_pixels > 0 && max_pixels < IMAGE_MAX_PIXELS ? max_pixels : IMAGE_MAX_PIXELS;
    /* bytes a pixel: in the arena 4 as decoded with alpha, 3 as RGB, 1 of alpha, 1 to spare; on the decoders' own
     * heaps up to 16, for the 10-bit planes of HEIC on their way to RGB */
    int64_t arena = 9 * n + PLAIN;

    return (struct jail_limits){ arena, arena + 16 * n + HEAP, 4 * n + PLAIN, JAIL_WALL_MS, JAIL_CPU_S };
}

/* --- the request --- */

static enum err_code write_all(int fd, const char *from, size_t n, struct err *err)
{
    while (n) {
        ssize_t done = write(fd, from, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return err_set(err, ERR_NOMEM, "jail: the file cannot be handed to its decoder: %s", strerror(errno));
        from += done;
        n -= (size_t)done;
    }
    return ERR_OK;
}

static enum err_code new_file(const char *name, int *ret, struct err *err)
{
    *ret = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*ret < 0)
        return err_set(err, errno == ENOSYS || errno == EPERM ? ERR_UNAVAILABLE : ERR_NOMEM,
                       "the system gives no file in memory: %s", strerror(errno));
    return ERR_OK;
}

static enum err_code seal(int fd, int seals, struct err *err)
{
    if (fcntl(fd, F_ADD_SEALS, seals) != 0)
        return err_set(err, ERR_UNAVAILABLE, "the system does not seal a file in memory: %s", strerror(errno));
    return ERR_OK;
}

static enum err_code write_request(struct jailed *j, struct jail_request *r, struct span file, struct err *err)
{
    char head[REQUEST_FILE_AT] = { 0 };

    memcpy(r->magic, REQUEST_MAGIC, sizeof r->magic);
    r->parent = getpid();
    r->file_len = file.len;
    memcpy(head, r, sizeof *r);
    TRY(new_file("picture file", &j->request, err));
    TRY(write_all(j->request, head, sizeof head, err));
    TRY(write_all(j->request, file.ptr, file.len, err));
    return seal(j->request, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL, err);
}

/* --- its start --- */

/* What the loader and a sanitizer need, and nothing else. The decoders start no threads by OpenMP. */
static void fill_environment(char texts[ENVIRONMENT_MAX][4096], char *ret[ENVIRONMENT_MAX + 1])
{
    static const char *const kept[] = { "LD_LIBRARY_PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS" };
    static const char *const set[] = { MARK "=1", "TZ=UTC0", "OMP_NUM_THREADS=1" };
    int n = 0;

    for (size_t i = 0; i < sizeof set / sizeof *set; i++, n++)
        (void)snprintf(texts[n], sizeof texts[n], "%s", set[i]);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (getenv(kept[i]))
            (void)snprintf(texts[n++], sizeof *texts, "%s=%s", kept[i], getenv(kept[i]));
    for (int i = 0; i <= n; i++)
        ret[i] = i < n ? texts[i] : NULL;
}

/* The standard streams are the request, the answer and nowhere: what a decoder prints must not come into the log. A
 * sanitizer's report is wanted. */
static int set_streams(posix_spawn_file_actions_t *files, const struct jailed *j)
{
    int rc = posix_spawn_file_actions_adddup2(files, j->request, STDIN_FILENO);

    rc = rc ? rc : posix_spawn_file_actions_adddup2(files, j->answer, STDOUT_FILENO);
    if (SANDBOX_IS_WHOLE)
        rc = rc ? rc : posix_spawn_file_actions_addopen(files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    return rc ? rc : posix_spawn_file_actions_addclosefrom_np(files, STDERR_FILENO + 1);
}

/* A process group of its own, so that Ctrl-C, which ends the worker in order, does not end the decoder before; and
 * signals as every process has them at first. */
static int set_signals(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    int rc;

    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    rc = posix_spawnattr_setsigmask(attributes, &none);
    rc = rc ? rc : posix_spawnattr_setsigdefault(attributes, &all);
    rc = rc ? rc : posix_spawnattr_setpgroup(attributes, 0);
    return rc ? rc
              : posix_spawnattr_setflags(attributes,
                                         POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

static int spawn(struct jailed *j, posix_spawn_file_actions_t *files, posix_spawnattr_t *attributes)
{
    char name[] = "inpaint-worker", word[] = JAIL_WORD, *argv[] = { name, word, NULL };
    char texts[ENVIRONMENT_MAX][4096], *environment[ENVIRONMENT_MAX + 1];
    int rc = set_streams(files, j);

    rc = rc ? rc : set_signals(attributes);
    fill_environment(texts, environment);
    return rc ? rc : posix_spawn(&j->pid, "/proc/self/exe", files, attributes, argv, environment);
}

static enum err_code start(struct jailed *j, struct err *err)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    int rc = posix_spawn_file_actions_init(&files);

    if (rc == 0) {
        rc = posix_spawnattr_init(&attributes);
        if (rc == 0) {
            rc = spawn(j, &files, &attributes);
            (void)posix_spawnattr_destroy(&attributes);
        }
        (void)posix_spawn_file_actions_destroy(&files);
    }
    if (rc == 0)
        return ERR_OK;
    j->pid = 0;
    return err_set(err, rc == ENOMEM || rc == EAGAIN ? ERR_NOMEM : ERR_UNAVAILABLE,
                   "the process of a decoder cannot be started: %s", strerror(rc));
}

/* --- its end --- */

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* False: it could not be waited for by a descriptor, as before Linux 5.3. */
static bool wait_until(const struct jailed *j, int64_t end_ms, bool *ret_ended)
{
    int fd = (int)syscall(SYS_pidfd_open, j->pid, 0), n = 0;
    int64_t left = end_ms - now_ms();

    if (fd < 0)
        return false;
    while (left > 0 && n <= 0) {
        n = poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, (int)left);
        left = end_ms - now_ms();
        if (n < 0 && errno != EINTR)
            break;
    }
    (void)close(fd);
    *ret_ended = n > 0;
    return true;
}

/* Nobody else waits for this process, so that its number stays its own until it is reaped here. */
static enum err_code reap(struct jailed *j, int wall_ms, struct err *err)
{
    bool ended = false, waited = wait_until(j, now_ms() + wall_ms, &ended);
    pid_t got;

    if (!ended)
        (void)kill(j->pid, SIGKILL);
    j->is_late = waited && !ended;
    do
        got = waitpid(j->pid, &j->status, 0);
    while (got < 0 && errno == EINTR);
    j->pid = 0;
    if (!waited)
        return err_set(err, ERR_UNAVAILABLE, "the system has no descriptors of processes (Linux 5.3)");
    if (got < 0)
        return err_set(err, ERR_UNAVAILABLE, "the end of a decoder's process is not reported: SIGCHLD is ignored");
    return ERR_OK;
}

static const char *signal_name(int number, char text[NAMED_SIGNAL])
{
    const char *name = sigabbrev_np(number);

    (void)snprintf(text, NAMED_SIGNAL, name ? "SIG%s" : "%s", name ? name : "a signal");
    return text;
}

/* A decoder that crashes is the file's fault; a signal from elsewhere is not. */
static enum err_code judge_signal(int number, const struct jail_limits *limits, struct err *err)
{
    char name[NAMED_SIGNAL];

    switch (number) {
    case SIGXCPU:
        return err_set(err, ERR_TOO_LARGE, THE_DECODER " took more than %d s of processor time", limits->cpu_s);
    case SIGXFSZ:
        return err_set(err, ERR_TOO_LARGE, THE_DECODER " answered with more than %lld MB",
                       (long long)(limits->answer_bytes >> 20));
    case SIGSYS:
        return err_set(err, ERR_CORRUPT, THE_DECODER " made a system call that it may not make, and was killed");
    case SIGSEGV:
    case SIGBUS:
    case SIGILL:
    case SIGFPE:
    case SIGABRT:
    case SIGTRAP:
        return err_set(err, ERR_CORRUPT, THE_DECODER " crashed (%s) while it read the file", signal_name(number, name));
    case SIGKILL:
        return err_set(err, ERR_NOMEM, THE_DECODER " was killed (SIGKILL), as a system does that has no memory left");
    default:
        return err_set(err, ERR_UNAVAILABLE, THE_DECODER " was ended from elsewhere (%s)", signal_name(number, name));
    }
}

static enum err_code judge_end(const struct jailed *j, const struct jail_limits *limits, struct err *err)
{
    if (j->is_late)
        return err_set(err, ERR_TOO_LARGE, THE_DECODER " took longer than %g s", 1e-3 * limits->wall_ms);
    if (WIFSIGNALED(j->status))
        return judge_signal(WTERMSIG(j->status), limits, err);
    if (WEXITSTATUS(j->status) == JAIL_NO_ROOM)
        return err_set(err, ERR_NOMEM, THE_DECODER " found no memory for its answer");
    if (WEXITSTATUS(j->status) != JAIL_ANSWERED)
        return err_set(err, ERR_CORRUPT, THE_DECODER " ended with status %d and without an answer",
                       WEXITSTATUS(j->status));
    return ERR_OK;
}

/* --- its answer --- */

struct mapping {
    void *bytes;
    size_t len;
};

static void unmap(void *mapping)
{
    const struct mapping *m = mapping;

    if (m->bytes)
        (void)munmap(m->bytes, m->len);
}

/* The mapping is shared with nobody: the one other process that had the file has ended. Sealed, it does not shrink. */
static enum err_code map_answer(struct arena *a, const struct jailed *j, int64_t most, struct mapping **ret,
                                struct err *err)
{
    struct mapping *m = NULL;
    struct stat s;

    TRY(seal(j->answer, F_SEAL_GROW | F_SEAL_SHRINK, err));
    if (fstat(j->answer, &s) != 0 || s.st_size < REPLY_PIXELS_AT || s.st_size > most)
        return err_set(err, ERR_CORRUPT, THE_DECODER " gave no answer");
    TRY(arena_alloc(a, 1, sizeof *m, &m, err));
    TRY(arena_defer(a, unmap, m, err));
    m->len = (size_t)s.st_size;
    m->bytes = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_SHARED, j->answer, 0);
    if (m->bytes == MAP_FAILED) {
        m->bytes = NULL;
        return err_set(err, ERR_NOMEM, "jail: there is no address space for a picture of %zu bytes", m->len);
    }
    *ret = m;
    return ERR_OK;
}

static enum err_code take_answer(struct arena *a, const struct jailed *j, const struct jail_limits *limits,
                                 struct reply *ret, struct err *err)
{
    struct mapping *m = NULL;
    const char *wrong;

    TRY(judge_end(j, limits, err));
    TRY(map_answer(a, j, limits->answer_bytes, &m, err));
    wrong = reply_read(m->bytes, m->len, ret);
    if (wrong)
        return err_set(err, ERR_CORRUPT, THE_DECODER " answered with %s", wrong);
    return ret->err.code ? err_set(err, ret->err.code, "%s", ret->err.msg) : ERR_OK;
}

/* --- all of it --- */

static enum err_code ask(struct arena *a, struct jailed *j, struct jail_request *r, struct span file, struct reply *ret,
                         struct err *err)
{
    TRY(write_request(j, r, file, err));
    TRY(new_file("picture", &j->answer, err));
    TRY(start(j, err));
    TRY(reap(j, r->limits.wall_ms, err));
    return take_answer(a, j, &r->limits, ret, err);
}

static enum err_code ask_and_close(struct arena *a, struct jailed *j, struct jail_request *r, struct span file,
                                   struct reply *ret, struct err *err)
{
    enum err_code rc = ask(a, j, r, file, ret, err);

    if (j->request >= 0)
        (void)close(j->request);
    if (j->answer >= 0)
        (void)close(j->answer);
    return rc;
}

enum err_code jail_decode(struct arena *a, struct span file, struct span options, const struct jail_limits *limits,
                          struct image *ret, struct image_notes *ret_notes, struct err *err)
{
    struct jail_request request = { .limits = *limits, .options_len = options.len };
    struct jailed j = { .request = -1, .answer = -1 };
    struct reply reply;

    if (options.len > sizeof request.options)
        return err_set(err, ERR_INVALID, "jail: options of %zu bytes; at most %d", options.len, JAIL_OPTIONS_MAX);
    if (jail_unavailable_reason())
        return err_set(err, ERR_UNAVAILABLE, "there is no process of its own for a decoder: %s",
                       jail_unavailable_reason());
    if (options.len)
        memcpy(request.options, options.ptr, options.len);
    TRY(ask_and_close(a, &j, &request, file, &reply, err));
    *ret = reply.image;
    if (ret_notes)
        *ret_notes = reply.notes;
    return ERR_OK;
}

/* --- whether it works here --- */

/* A white pixel. */
static const char pixel[] =
    "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\10\0\0\0\0:~\x9bU\0\0\0\nIDATx\x9c\x63\xf8\x0f"
    "\0\1\1\1\0\xb1\x38\xf6\x14\0\0\0\0IEND\xae\x42\x60\x82";

/* What a jailed process does when it may, and when it may not. The probe's decoder gets no options: zeros. */
static enum err_code probe(struct arena *a, bool try_the_door, struct jailed *j, struct err *err)
{
    struct jail_request request = { .limits = jail_limits_for(1), .try_the_door = try_the_door };
    struct reply reply;

    return ask_and_close(a, j, &request, (struct span){ pixel, sizeof pixel - 1 }, &reply, err);
}

static enum err_code try_it(struct arena *a, struct err *err)
{
    struct jailed j = { .request = -1, .answer = -1 }, other = { .request = -1, .answer = -1 };
    struct err ignored = { 0 };

    if (getenv(MARK))
        return err_set(err, ERR_UNAVAILABLE, "this is such a process itself");
    TRY(probe(a, false, &j, err));
    if (!SANDBOX_IS_WHOLE)
        return ERR_OK;
    err_ignore(probe(a, true, &other, &ignored)); /* its status counts */
    if (!WIFSIGNALED(other.status) || WTERMSIG(other.status) != SIGSYS)
        return err_set(err, ERR_UNAVAILABLE, "the system does not stop a process that opens a connection");
    return ERR_OK;
}

static struct err *the_verdict(void)
{
    static struct err err; /* of this process, found once */

    return &err;
}

static void find_verdict(void)
{
    struct arena a;

    if (arena_init(&a, 1 << 20, the_verdict()))
        return;
    err_ignore(try_it(&a, the_verdict()));
    arena_done(&a);
}

const char *jail_unavailable_reason(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, find_verdict);
    return the_verdict()->code ? the_verdict()->msg : NULL;
}
