/*
 * check - the test harness: TEST(module__behaviour_in_words) { ... CHECK(...); }
 *
 * Tests register themselves. The program takes filters (parts of names, any of them) as arguments, prints a line for
 * each test, a line for each reason why tests were skipped, and closes with "N passed, N failed, N skipped". The exit
 * status is 0 when a test has passed and none has failed: a run in which every test was skipped, or that no test
 * matches, is a failure.
 *
 * CHECK leaves the test at the first failure. SKIP says why a test cannot run on this machine.
 *
 * Each test runs in a process of its own, so that a crash, a leak or a hang ends only that test. Tests that need a
 * device share one process, which is replaced when it dies, because opening a device takes seconds. From the
 * environment:
 *   CHECK_TESTS_PER_CHILD=N  tests that one process runs; 0: none is started, which debuggers and profilers want
 *   CHECK_TIMEOUT_S=N        a test is killed after this many seconds (120; 600 with a sanitizer or a device); 0: never
 */
#ifndef TEST_SUPPORT_CHECK_H
#define TEST_SUPPORT_CHECK_H

#include <stdbool.h>
#include <stddef.h>

struct test {
    const char *name, *file;
    void (*fn)(void);
    struct test *next;
};

void test_register(struct test *t);

/*
 * For programs whose tests need a device: the gate is called before every test, in the process that runs it. TEST_NONE
 * means that this machine has no device: every test is skipped. TEST_STOP means that the device does not work: the run
 * fails, and goes on only if a new process can use the device again. Such programs also print the time since their
 * start before each test, so that the output of a run that is cut short says where it was.
 */
enum test_go { TEST_GO, TEST_NONE, TEST_STOP };
void test_gate(enum test_go (*gate)(const char **ret_why));
void test_fail(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4), noreturn));
void test_skip(const char *why) __attribute__((noreturn));

/*
 * For tests that start their own program again with a word as its only argument: run() is then called instead of the
 * tests, with the word, and its result is the exit status. One such word.
 */
void test_own_command(const char *word, int (*run)(void));
bool check_is_ci(void); /* CI is set in the environment: files of the repository must not be missing */

#define TEST(ident)                                                       \
    static void ident(void);                                              \
    static struct test ident##_entry = { #ident, __FILE__, ident, NULL }; \
    __attribute__((constructor)) static void ident##_register(void)       \
    {                                                                     \
        test_register(&ident##_entry);                                    \
    }                                                                     \
    static void ident(void)

#define CHECK(cond)                                     \
    do {                                                \
        if (!(cond))                                    \
            test_fail(__FILE__, __LINE__, "%s", #cond); \
    } while (0)
#define CHECK_OK(expr, err)                                            \
    do {                                                               \
        if ((expr) != 0)                                               \
            test_fail(__FILE__, __LINE__, "%s: %s", #expr, (err).msg); \
    } while (0)
#define CHECK_INT(got, want)                                                     \
    do {                                                                         \
        long long g_ = (long long)(got), w_ = (long long)(want);                 \
        if (g_ != w_)                                                            \
            test_fail(__FILE__, __LINE__, "%s = %lld, want %lld", #got, g_, w_); \
    } while (0)
#define CHECK_STR(got, want)                                                                         \
    do {                                                                                             \
        const char *g_ = (got), *w_ = (want);                                                        \
        if (!g_ || __builtin_strcmp(g_, w_) != 0)                                                    \
            test_fail(__FILE__, __LINE__, "%s = \"%s\", want \"%s\"", #got, g_ ? g_ : "(null)", w_); \
    } while (0)
#define SKIP(why) test_skip(why)

/* ||got - want|| / ||want|| over n values, in double. NaN anywhere gives NaN, and a zero reference infinity,
 * so write !(check_rel(...) <= limit), or use CHECK_REL, which also refuses an all-zero result. */
double check_rel(const float *got, const float *want, size_t n);
#define CHECK_REL(got, want, n, limit)                                                                       \
    do {                                                                                                     \
        double r_ = check_rel((got), (want), (n));                                                           \
        if (!(r_ <= (limit)))                                                                                \
            test_fail(__FILE__, __LINE__, "%s: relative error %.3g, limit %.3g", #got, r_, (double)(limit)); \
    } while (0)

/* Every value within atol + rtol * |want|; NaN fails. */
#define CHECK_NEAR(got, want, n, atol, rtol)                                                            \
    do {                                                                                                \
        for (size_t i_ = 0; i_ < (size_t)(n); i_++)                                                     \
            if (!(__builtin_fabs((double)(got)[i_] - (double)(want)[i_]) <=                             \
                  (atol) + (rtol) * __builtin_fabs((double)(want)[i_])))                                \
                test_fail(__FILE__, __LINE__, "%s[%zu] = %.9g, want %.9g", #got, i_, (double)(got)[i_], \
                          (double)(want)[i_]);                                                          \
    } while (0)

#endif
