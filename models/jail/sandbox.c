#include "models/jail/sandbox.h"

#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_SECCOMP
#include <seccomp.h>
#endif

enum { STREAMS = 3 }; /* descriptors that stay: 0 to 2 */

/*
 * What the C library would open files for later is done now: it looks for the time zone when a decoder asks for the
 * date, and trims the heaps of other threads only after a look at a file in /proc, so that there is one heap.
 */
static void spare_files_later(void)
{
    tzset();
    (void)mallopt(M_ARENA_MAX, 1);
}

enum err_code sandbox_leave_parent(int64_t parent, struct err *err)
{
    (void)close_range(STREAMS, ~0U, 0);
    (void)clearenv();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return err_set(err, ERR_UNAVAILABLE, "the system does not end a process with its parent: %s", strerror(errno));
    if (getppid() != (pid_t)parent)
        return err_set(err, ERR_UNAVAILABLE, "the process that asked for a picture has ended");
    if (prctl(PR_SET_DUMPABLE, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_set(err, ERR_UNAVAILABLE, "the system does not let a process give up its rights: %s",
                       strerror(errno));
    spare_files_later();
    return ERR_OK;
}

/* Bytes of address space in use; 0 where /proc does not say. */
static int64_t address_space(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    long long pages = 0;
    char line[128];

    if (f && fgets(line, sizeof line, f))
        pages = strtoll(line, NULL, 10);
    if (f)
        (void)fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

/* A limit that is lower already stays: raising it takes a right. At the hard limit of processor time the system kills;
 * at the soft one it says by its signal what was too much. */
static bool limit(__rlimit_resource_t what, int64_t most, int64_t more_if_hard)
{
    struct rlimit now;
    rlim_t soft = (rlim_t)most, hard = (rlim_t)(most + more_if_hard);

    if (getrlimit(what, &now) != 0)
        return false;
    hard = now.rlim_max < hard ? now.rlim_max : hard;
    soft = hard < soft ? hard : soft;
    return setrlimit(what, &(struct rlimit){ soft, hard }) == 0;
}

/* Descriptors come last: /proc is read before. */
static enum err_code set_limits(const struct sandbox_limits *limits, struct err *err)
{
    bool done =
        limit(RLIMIT_CORE, 0, 0) && limit(RLIMIT_CPU, limits->cpu_s, 1) && limit(RLIMIT_FSIZE, limits->output_bytes, 0);

    if (SANDBOX_IS_WHOLE)
        done = done && limit(RLIMIT_AS, address_space() + limits->memory_bytes, 0) && limit(RLIMIT_NOFILE, STREAMS, 0);
    return done ? ERR_OK : err_set(err, ERR_UNAVAILABLE, "the system does not limit a process: %s", strerror(errno));
}

#ifdef HAVE_SECCOMP

/* Calls that are allowed whatever their arguments are. */
static const int allowed[] = {
    SCMP_SYS(munmap),          SCMP_SYS(mremap),       SCMP_SYS(brk),          SCMP_SYS(madvise),
    SCMP_SYS(futex),           SCMP_SYS(exit),         SCMP_SYS(exit_group),   SCMP_SYS(restart_syscall),
    SCMP_SYS(clock_gettime),   SCMP_SYS(gettimeofday), SCMP_SYS(time),         SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),       SCMP_SYS(sched_yield),  SCMP_SYS(getpid),       SCMP_SYS(gettid),
    SCMP_SYS(rt_sigprocmask),  SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
    SCMP_SYS(set_robust_list), SCMP_SYS(rseq),         SCMP_SYS(getrandom),    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(fstat),           SCMP_SYS(close),        SCMP_SYS(sysinfo),      SCMP_SYS(getcpu),
};

/* Calls that fail instead, because libraries make them and can do without: the C library then starts threads by
 * clone(), whose flags a filter can see, and asks a stream whether it is a terminal. */
static const struct {
    int call, error;
} failing[] = {
    { SCMP_SYS(clone3), ENOSYS },
    { SCMP_SYS(ioctl), ENOTTY },
    { SCMP_SYS(newfstatat), EBADF },
    { SCMP_SYS(prctl), EPERM },
};

#define ALLOW_IF(filter, call, ...) (seccomp_rule_add((filter), SCMP_ACT_ALLOW, SCMP_SYS(call), 1, __VA_ARGS__) == 0)

/* Calls that are allowed with some arguments: output to the two streams, memory without code, threads, its own end. */
static bool allow_some(scmp_filter_ctx f)
{
    enum { THREAD = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND };
    const struct scmp_arg_cmp output = SCMP_A0(SCMP_CMP_EQ, STDOUT_FILENO),
                              errors = SCMP_A0(SCMP_CMP_EQ, STDERR_FILENO),
                              no_code = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
                              self = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()),
                              thread = SCMP_A0(SCMP_CMP_MASKED_EQ, THREAD, THREAD);

    return ALLOW_IF(f, pwrite64, output) && ALLOW_IF(f, ftruncate, output) && ALLOW_IF(f, write, output) &&
           ALLOW_IF(f, write, errors) && ALLOW_IF(f, writev, errors) && ALLOW_IF(f, mmap, no_code) &&
           ALLOW_IF(f, mprotect, no_code) && ALLOW_IF(f, tgkill, self) && ALLOW_IF(f, clone, thread);
}

static bool fill(scmp_filter_ctx f)
{
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0) != 0)
            return false;
    for (size_t i = 0; i < sizeof failing / sizeof *failing; i++)
        if (seccomp_rule_add(f, SCMP_ACT_ERRNO((unsigned)failing[i].error), failing[i].call, 0) != 0)
            return false;
    return allow_some(f) && seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) == 0;
}

static enum err_code load_filter(struct err *err)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int refused = -EOPNOTSUPP;

    if (f && fill(f))
        refused = seccomp_load(f);
    seccomp_release(f);
    return refused ? err_set(err, ERR_UNAVAILABLE, "the system has no seccomp filters: %s", strerror(-refused))
                   : ERR_OK;
}

#else

static enum err_code load_filter(struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, "this program was built without libseccomp");
}

#endif

enum err_code sandbox_enter(const struct sandbox_limits *limits, struct err *err)
{
    TRY(set_limits(limits, err));
    return SANDBOX_IS_WHOLE ? load_filter(err) : ERR_OK;
}

void sandbox_try_the_door(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0)
        (void)close(fd);
}
