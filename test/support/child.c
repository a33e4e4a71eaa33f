#include "test/support/child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A child's death closes the link at once, unless a process that a test left running holds it open; so the child is
 * also polled. */
enum { LOOK_MS = 200 };

enum news { ANSWERED, DIED, LATE };

/* --- in the child --- */

static const struct test *next_test(int link)
{
    const struct test *t = NULL;
    ssize_t n;

    do
        n = recv(link, &t, sizeof t, 0);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof t ? t : NULL;
}

__attribute__((noreturn)) static void serve(int link, pid_t parent, void (*run)(const struct test *, struct result *))
{
    pid_t self = getpid();

    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    for (const struct test *t; (t = next_test(link));) {
        struct result result = { PASSED, "" };

        run(t, &result);
        (void)fflush(stdout);
        if (getpid() != self) { /* a process that the test forked must not answer in its place */
            (void)fprintf(stderr, "a process that the test forked has left the test: %s\n",
                          *result.reason ? result.reason : "it returned");
            _exit(1);
        }
        if (send(link, &result, sizeof result, MSG_NOSIGNAL) != (ssize_t)sizeof result)
            _exit(1);
    }
    exit(0);
}

/* --- in the parent --- */

bool child_start(struct child *c, void (*run)(const struct test *t, struct result *ret))
{
    pid_t parent = getpid();
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        return false;
    (void)fflush(NULL);
    c->pid = fork();
    if (c->pid == 0) {
        (void)close(ends[0]);
        serve(ends[1], parent, run);
    }
    (void)close(ends[1]);
    c->is_dead = false;
    if (c->pid < 0) {
        (void)close(ends[0]);
        c->pid = 0;
        return false;
    }
    (void)setpgid(c->pid, c->pid); /* the child does this too, because either may run first */
    c->link = ends[0];
    return true;
}

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Kills the processes that the tests of the reaped child left running. */
static void forget(struct child *c)
{
    (void)kill(-c->pid, SIGKILL);
    (void)close(c->link);
    c->pid = 0;
}

static bool look_whether_dead(struct child *c)
{
    if (!c->is_dead)
        c->is_dead = waitpid(c->pid, &c->status, WNOHANG) == c->pid;
    return c->is_dead;
}

/* Waits for a result, or for the child's death. */
static enum news wait_for_news(struct child *c, int limit_s, struct result *ret)
{
    int64_t end = now_ms() + (int64_t)limit_s * 1000;
    bool open = true;

    for (;;) {
        struct pollfd p = { .fd = open ? c->link : -1, .events = POLLIN };
        int64_t left = limit_s ? end - now_ms() : LOOK_MS;
        bool dead = look_whether_dead(c);

        /* read after waitpid(): a result that was sent before the death is then on the link */
        if (open) {
            ssize_t n = recv(c->link, ret, sizeof *ret, MSG_DONTWAIT);

            if (n == (ssize_t)sizeof *ret)
                return ANSWERED;
            open = n < 0 && (errno == EAGAIN || errno == EINTR);
        }
        if (dead)
            return DIED;
        if (left <= 0)
            return LATE;
        (void)poll(&p, 1, (int)(left < LOOK_MS ? left : open ? LOOK_MS : 1));
    }
}

static void say_how(int status, const char *when, struct result *ret)
{
    ret->outcome = FAILED;
    if (WIFSIGNALED(status))
        (void)snprintf(ret->reason, sizeof ret->reason, "killed by signal %d (%s)%s", WTERMSIG(status),
                       strsignal(WTERMSIG(status)), when);
    else
        (void)snprintf(ret->reason, sizeof ret->reason, "the process ended with status %d%s", WEXITSTATUS(status),
                       when);
}

static void give_up(struct child *c, int limit_s, const char *when, struct result *ret)
{
    int status;

    (void)kill(-c->pid, SIGKILL);
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
        ;
    ret->outcome = FAILED;
    (void)snprintf(ret->reason, sizeof ret->reason, "killed after the time limit of %d s%s (CHECK_TIMEOUT_S)", limit_s,
                   when);
}

void child_run(struct child *c, const struct test *t, int limit_s, struct result *ret)
{
    enum news news;

    (void)send(c->link, &t, sizeof t, MSG_NOSIGNAL); /* if it fails, the child is dead, which the next line finds */
    news = wait_for_news(c, limit_s, ret);
    if (news == ANSWERED)
        return;
    if (news == DIED)
        say_how(c->status, " in the test", ret);
    else
        give_up(c, limit_s, "", ret);
    forget(c);
}

void child_end(struct child *c, int limit_s, struct result *ret)
{
    struct result last = *ret, ignored;
    enum news news;

    (void)shutdown(c->link, SHUT_WR);
    do
        news = wait_for_news(c, limit_s, &ignored);
    while (news == ANSWERED);
    if (news == LATE)
        give_up(c, limit_s, " when it left", ret);
    else if (c->status != 0)
        say_how(c->status, " when it left: see its last lines", ret);
    if (last.outcome == FAILED)
        *ret = last;
    forget(c);
}
