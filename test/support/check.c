#include "test/support/check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static struct test *tests;
static jmp_buf leave;
static char reason[400];
static enum test_go (*may_go)(const char **ret_why);

enum outcome { PASSED, FAILED, SKIPPED };

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

/* Apart from the loop of main, so that no variable of it is alive across the jump. */
static enum outcome run(const struct test *t)
{
    int way_out = setjmp(leave);

    if (way_out == PASSED)
        t->fn();
    return (enum outcome)way_out;
}

/* Whether to go on with t; says why not. */
static enum test_go ask(const struct test *t, double begin)
{
    const char *why = "";
    enum test_go go = may_go ? may_go(&why) : TEST_GO;

    if (go != TEST_GO)
        printf("%s: %s\n", go == TEST_NONE ? "skipped" : "stopped", why);
    else if (may_go)
        printf("[%6.1f s] %s\n", seconds() - begin, t->name);
    (void)fflush(stdout);
    return go;
}

/* Any of the filters, or there is none. */
static bool is_wanted(const struct test *t, char **filters)
{
    for (char **f = filters; *f; f++)
        if (strstr(t->name, *f))
            return true;
    return !*filters;
}

int main(int argc, char **argv)
{
    static const char *const words[] = { "ok  ", "FAIL", "skip" };
    enum test_go go = TEST_GO;
    int count[3] = { 0 };
    double begin = seconds();

    (void)setvbuf(stdout, NULL, _IOLBF, 0);

    for (struct test *t = tests; t; t = t->next) {
        double start = seconds();
        enum outcome result;

        if (argc > 1 && !is_wanted(t, argv + 1))
            continue;
        go = ask(t, begin);
        if (go != TEST_GO)
            break;
        reason[0] = 0;
        result = run(t);
        count[result]++;
        printf("%s %s (%.0f ms)%s%s\n", words[result], t->name, 1e3 * (seconds() - start), *reason ? "  " : "", reason);
        (void)fflush(stdout);
    }
    if (go == TEST_NONE)
        return 0;
    printf("%d passed, %d failed, %d skipped", count[PASSED], count[FAILED], count[SKIPPED]);
    printf(may_go ? " in %.0f s\n" : "\n", seconds() - begin);
    return go == TEST_STOP || count[FAILED] > 0 || count[PASSED] + count[SKIPPED] == 0;
}
