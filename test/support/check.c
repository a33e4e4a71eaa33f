#include "test/support/check.h"

#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "test/support/child.h"

enum { N_REASONS = 32 };

#if defined __SANITIZE_ADDRESS__
enum { TIMEOUT_S = 600, DEVICE_TIMEOUT_S = 600 };
#else
enum { TIMEOUT_S = 120, DEVICE_TIMEOUT_S = 600 };
#endif

static struct test *tests;
static jmp_buf leave;
static char reason[sizeof((struct result *)0)->reason];
static enum test_go (*may_go)(const char **ret_why);
static struct {
    const char *word;
    int (*run)(void);
} own_command;

void test_register(struct test *t)
{
    struct test **p = &tests;

    while (*p && (strcmp((*p)->file, t->file) < 0 || !strcmp((*p)->file, t->file)))
        p = &(*p)->next;
    t->next = *p;
    *p = t;
}

void test_gate(enum test_go (*gate)(const char **ret_why))
{
    may_go = gate;
}

void test_own_command(const char *word, int (*run)(void))
{
    own_command.word = word;
    own_command.run = run;
}

void test_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(reason, sizeof reason, "%s:%d: ", file, line);

    va_start(ap, fmt);
    (void)vsnprintf(reason + n, sizeof reason - (size_t)n, fmt, ap);
    va_end(ap);
    longjmp(leave, FAILED);
}

void test_skip(const char *why)
{
    (void)snprintf(reason, sizeof reason, "%s", why);
    longjmp(leave, SKIPPED);
}

bool check_is_ci(void)
{
    const char *ci = getenv("CI");

    return ci && *ci;
}

double check_rel(const float *got, const float *want, size_t n)
{
    double diff = 0, norm = 0;

    for (size_t i = 0; i < n; i++) {
        double d = (double)got[i] - (double)want[i];
        diff += d * d;
        norm += (double)want[i] * (double)want[i];
    }
    return sqrt(diff) / sqrt(norm);
}

static double seconds(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- one test, in the process that runs it --- */

/* Asks the gate, then runs the test. No variable that is set here is read after the jump. */
static void run_here(const struct test *t, struct result *ret)
{
    const char *why = "";
    enum test_go go = may_go ? may_go(&why) : TEST_GO;
    int way_out = PASSED;

    if (go != TEST_GO) {
        ret->outcome = go == TEST_NONE ? NO_DEVICE : STOPPED;
        (void)snprintf(ret->reason, sizeof ret->reason, "%s", why);
        return;
    }
    reason[0] = 0;
    way_out = setjmp(leave);
    if (way_out == PASSED)
        t->fn();
    ret->outcome = (enum outcome)way_out;
    memcpy(ret->reason, reason, sizeof reason);
}

/* --- the run --- */

struct skips { /* tests that were skipped for one reason */
    int n;
    char why[sizeof((struct result *)0)->reason];
};

struct run {
    char **filters; /* none: every test */
    int per_child;  /* tests that one child runs; 0: no child, this process runs them */
    int timeout_s;  /* 0: none */
    struct child child;
    int n_in_child; /* tests that the child has begun */
    int count[N_OUTCOMES];
    struct skips skips[N_REASONS]; /* the last one also takes all reasons after the table is full */
    bool is_over;
    double begin;
};

/* Whether t matches any of the filters, or there are none. */
static bool is_wanted(const struct run *r, const struct test *t)
{
    for (char **f = r->filters; *f; f++)
        if (strstr(t->name, *f))
            return true;
    return !*r->filters;
}

/* The first wanted test from t on. */
static struct test *wanted_from(const struct run *r, struct test *t)
{
    while (t && !is_wanted(r, t))
        t = t->next;
    return t;
}

static void add_skips(struct run *r, int n, const char *why)
{
    struct skips *s = r->skips;

    while (s->n && strcmp(s->why, why) != 0 && s < r->skips + N_REASONS - 1)
        s++;
    if (!s->n)
        (void)snprintf(s->why, sizeof s->why, "%s", why);
    s->n += n;
    r->count[SKIPPED] += n;
}

static void run_in_child(struct run *r, const struct test *t, bool is_last, struct result *ret)
{
    if (!r->child.pid) {
        r->n_in_child = 0;
        if (!child_start(&r->child, run_here)) {
            *ret = (struct result){ STOPPED, "the system refuses another process" };
            return;
        }
    }
    child_run(&r->child, t, r->timeout_s, ret);
    r->n_in_child++;
    if (ret->outcome == STOPPED && r->n_in_child > 1) { /* an earlier test broke the device for this process */
        struct result unused = { PASSED, "" };

        r->count[STOPPED]++;
        printf("stopped: %s; a new process goes on\n", ret->reason);
        child_end(&r->child, r->timeout_s, &unused);
        run_in_child(r, t, is_last, ret);
        return;
    }
    if (r->child.pid && (is_last || r->n_in_child >= r->per_child))
        child_end(&r->child, r->timeout_s, ret);
}

static void run_one(struct run *r, const struct test *t, bool is_last, struct result *ret)
{
    if (r->per_child)
        run_in_child(r, t, is_last, ret);
    else
        run_here(t, ret);
}

static void report(struct run *r, const struct test *t, const struct result *result, double took)
{
    static const char *const words[] = { "ok  ", "FAIL", "skip" };

    if (result->outcome == SKIPPED)
        add_skips(r, 1, result->reason);
    else
        r->count[result->outcome]++;
    printf("%s %s (%.0f ms)%s%s\n", words[result->outcome], t->name, 1e3 * took, *result->reason ? "  " : "",
           result->reason);
    (void)fflush(stdout);
}

/* Without a device nothing can run, so all tests are skipped, t and those after it. A device that earlier tests had is
 * lost, not absent. */
static void end_early(struct run *r, struct test *t, const struct result *result)
{
    struct result unused = { PASSED, "" };
    int n_left = 0;

    r->is_over = true;
    if (r->child.pid)
        child_end(&r->child, r->timeout_s, &unused);
    if (result->outcome == STOPPED || r->count[PASSED] + r->count[FAILED] + r->count[SKIPPED] > 0) {
        r->count[STOPPED]++;
        printf("stopped: %s\n", result->reason);
        return;
    }
    for (; t; t = wanted_from(r, t->next))
        n_left++;
    add_skips(r, n_left, result->reason);
}

/* Prints the closing lines; returns the exit status. */
static int conclude(const struct run *r)
{
    for (const struct skips *s = r->skips; s < r->skips + N_REASONS && s->n; s++)
        printf("skipped %d: %s\n", s->n, s->why);
    if (r->count[PASSED] + r->count[FAILED] + r->count[STOPPED] == 0)
        printf("nothing was tested: %s\n",
               r->count[SKIPPED] ? "every test was skipped" : "no test has such a part in its name");
    printf("%d passed, %d failed, %d skipped", r->count[PASSED], r->count[FAILED], r->count[SKIPPED]);
    printf(may_go ? " in %.0f s\n" : "\n", seconds() - r->begin);
    return r->count[FAILED] > 0 || r->count[STOPPED] > 0 || r->count[PASSED] == 0;
}

/* Without a child a test could end the run with status 0 by exit(). */
static pid_t pid_of_run;

static void fail_if_not_over(void)
{
    if (pid_of_run != getpid())
        return;
    (void)fprintf(stderr, "a test has ended the process\n");
    (void)fflush(NULL);
    _exit(1);
}

static int setting(const char *name, int otherwise)
{
    const char *value = getenv(name);

    return value && *value ? atoi(value) : otherwise;
}

int main(int argc, char **argv)
{
    struct run r = {
        .filters = argv + (argc > 0),
        /* a device is expensive to open, so its tests share a process as long as it lives */
        .per_child = setting("CHECK_TESTS_PER_CHILD", may_go ? INT_MAX : 1),
        .timeout_s = setting("CHECK_TIMEOUT_S", may_go ? DEVICE_TIMEOUT_S : TIMEOUT_S),
        .begin = seconds(),
    };

    if (argc == 2 && own_command.word && strcmp(argv[1], own_command.word) == 0)
        _exit(own_command.run());
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    pid_of_run = r.per_child ? 0 : getpid();
    if (pid_of_run)
        (void)atexit(fail_if_not_over);
    for (struct test *t = wanted_from(&r, tests), *next; t && !r.is_over; t = next) {
        struct result result = { PASSED, "" };
        double start = seconds();

        next = wanted_from(&r, t->next);
        if (may_go)
            printf("[%6.1f s] %s\n", start - r.begin, t->name);
        (void)fflush(stdout);
        run_one(&r, t, !next, &result);
        if (result.outcome == NO_DEVICE || result.outcome == STOPPED)
            end_early(&r, t, &result);
        else
            report(&r, t, &result, seconds() - start);
    }
    pid_of_run = 0;
    return conclude(&r);
}
