#include "worker/base/log_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "test/support/check.h"
#include "worker/base/sys.h"

enum { THREADS = 4, LINES_EACH = 3000, READ_MAX = 8 << 20 };

static char ring[LOG_QUEUE_BYTES];
static char text[READ_MAX + 1]; /* everything that was read */
static size_t n_text;
static int ends[2]; /* of the pipe: the reader's and the queue's */

static size_t report(char *ret, const struct log_gap *gap)
{
    CHECK(gap->since.tv_sec > 0);
    return (size_t)snprintf(ret, LOG_QUEUE_LINE_MAX, "gap %llu\n", (unsigned long long)gap->n);
}

static struct log_queue q = LOG_QUEUE_INIT(-1, report, ring);

static void start(void)
{
    CHECK(pipe(ends) == 0);
    q.fd = ends[1];
    log_queue_start(&q);
    CHECK(q.has_thread);
}

static void put(const char *line)
{
    log_queue_put(&q, line, strlen(line));
}

static void put_number(int i)
{
    char line[64];

    (void)snprintf(line, sizeof line, "line %d of those that are numbered\n", i);
    put(line);
}

/* false: the pipe is closed. */
static bool read_some(size_t most)
{
    ssize_t m = read(ends[0], text + n_text, most < READ_MAX - n_text ? most : READ_MAX - n_text);

    n_text += m > 0 ? (size_t)m : 0;
    text[n_text] = 0;
    return m > 0;
}

/* Reads until nothing has come for 200 ms. */
static const char *read_all(void)
{
    struct pollfd p = { .fd = ends[0], .events = POLLIN };

    while (poll(&p, 1, 200) > 0 && read_some(READ_MAX))
        ;
    return text;
}

/* Checks that lines come in their order, and that each gap counts exactly what is missing; returns the gaps. */
static int check_numbered(const char *from, int want)
{
    int next = 0, gaps = 0, i;
    unsigned long long n;

    for (const char *p = from; *p; p = strchr(p, '\n') + 1) {
        CHECK(strchr(p, '\n'));
        if (sscanf(p, "gap %llu\n", &n) == 1) {
            gaps++;
            next += (int)n;
        } else {
            CHECK(sscanf(p, "line %d of those that are numbered\n", &i) == 1);
            CHECK_INT(i, next);
            next++;
        }
    }
    CHECK_INT(next, want);
    return gaps;
}

TEST(log_queue__lines_come_out_in_their_order)
{
    start();
    for (int i = 0; i < 100; i++)
        put_number(i);
    CHECK(log_queue_flush(&q, 5000));
    CHECK_INT(check_numbered(read_all(), 100), 0);
    CHECK_INT(q.dropped, 0);
}

TEST(log_queue__nobody_waits_for_a_pipe_that_nobody_reads)
{
    int64_t begin_ms = sys_mono_ms(&sys_real);
    char line[256];

    start();
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    for (int i = 0; i < 10000; i++)
        log_queue_put(&q, line, sizeof line);
    CHECK(!log_queue_flush(&q, 50));
    CHECK(sys_mono_ms(&sys_real) - begin_ms < 2000);
    CHECK(q.dropped > 4000 && q.dropped < 10000);
}

TEST(log_queue__a_reader_who_comes_back_learns_what_is_missing_and_where)
{
    start();
    for (int i = 0; i < 40000; i++)
        put_number(i);
    CHECK(q.dropped > 0);
    (void)read_all();
    put_number(40000);
    CHECK_INT(check_numbered(read_all(), 40001), 1);
    CHECK(strstr(text, "line 40000"));
}

TEST(log_queue__a_slow_reader_gets_few_reports_for_many_lines)
{
    unsigned seed = 7;
    int i = 0, gaps;

    start();
    while (i < 60000) {
        for (int k = (int)(rand_r(&seed) % 400); k > 0 && i < 60000; k--)
            put_number(i++);
        CHECK(read_some((size_t)rand_r(&seed) % 8192 + 1));
    }
    gaps = check_numbered(read_all(), 60000);
    CHECK(gaps > 0 && gaps < 20);
}

static void *put_many(void *arg)
{
    char line[9000];
    int me = (int)(intptr_t)arg;

    for (int i = 0; i < LINES_EACH; i++) {
        size_t n = (size_t)snprintf(line, sizeof line, "%d %d ", me, i), more = (size_t)(i * 37 % 300);

        if (i % 500 == 0)
            more = 8000; /* more than a pipe takes at once */
        memset(line + n, 'a' + me, more);
        line[n + more] = '\n';
        log_queue_put(&q, line, n + more + 1);
    }
    return NULL;
}

static void *read_slowly(void *arg)
{
    (void)arg;
    while (read_some(10000))
        if (n_text % 7 == 0)
            sys_sleep_ms(&sys_real, 1);
    return NULL;
}

/* What one line of put_many must look like. */
static void check_of_many(const char *p, const char *end, int next[THREADS])
{
    int me, i, head;

    CHECK(sscanf(p, "%d %d%n", &me, &i, &head) == 2 && me >= 0 && me < THREADS);
    head++; /* the space */
    CHECK(i >= next[me]);
    next[me] = i + 1;
    CHECK_INT(strspn(p + head, (char[]){ (char)('a' + me), 0 }), end - p - head);
    CHECK_INT(end - p - head, i % 500 == 0 ? 8000 : i * 37 % 300);
}

TEST(log_queue__lines_of_many_threads_stay_whole)
{
    pthread_t threads[THREADS], reader;
    int next[THREADS] = { 0 };
    uint64_t seen = 0, gap;

    start();
    CHECK(pthread_create(&reader, NULL, read_slowly, NULL) == 0);
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, put_many, (void *)i) == 0);
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    CHECK(log_queue_flush(&q, 20000));
    (void)close(ends[1]);
    (void)pthread_join(reader, NULL);
    for (char *p = text, *end; (end = strchr(p, '\n')); p = end + 1) {
        if (sscanf(p, "gap %lu", &gap) == 1) {
            seen += gap;
            continue;
        }
        seen++;
        check_of_many(p, end, next);
    }
    CHECK_INT(seen, THREADS * LINES_EACH);
}

TEST(log_queue__a_descriptor_that_does_not_block_loses_nothing)
{
    start();
    CHECK(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    for (int i = 0; i < 10000; i++)
        put_number(i);
    CHECK_INT(q.dropped, 0);
    CHECK_INT(check_numbered(read_all(), 10000), 0);
    CHECK(log_queue_flush(&q, 1000));
}

static double processor_seconds(void)
{
    struct rusage u;

    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

TEST(log_queue__without_a_reader_it_neither_dies_nor_spins)
{
    double before;

    start();
    (void)close(ends[0]);
    for (int i = 0; i < 1000; i++)
        put_number(i);
    CHECK(log_queue_flush(&q, 5000));
    CHECK_INT(q.dropped, 1000);
    before = processor_seconds();
    sys_sleep_ms(&sys_real, 300);
    CHECK(processor_seconds() - before < 0.1);
    CHECK(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    before = processor_seconds();
    put_number(1000);
    sys_sleep_ms(&sys_real, 300);
    CHECK(processor_seconds() - before < 0.1);
    CHECK(log_queue_flush(&q, 5000));
}

TEST(log_queue__a_closed_descriptor_loses_lines_and_says_so_once_it_is_open_again)
{
    int again;

    start();
    put_number(0);
    CHECK(log_queue_flush(&q, 5000));
    again = dup(ends[1]);
    (void)close(ends[1]);
    for (int i = 1; i < 51; i++)
        put_number(i);
    CHECK(log_queue_flush(&q, 5000));
    CHECK_INT(q.dropped, 50);
    CHECK(dup2(again, ends[1]) == ends[1]);
    put_number(51);
    CHECK(log_queue_flush(&q, 5000));
    CHECK_INT(check_numbered(read_all(), 52), 1);
}

TEST(log_queue__what_follows_half_a_line_begins_on_a_new_line)
{
    struct rlimit small = { 100, RLIM_INFINITY }, large = { RLIM_INFINITY, RLIM_INFINITY };
    char line[81], whole[512], *p;
    FILE *file = tmpfile();

    CHECK(file);
    (void)signal(SIGXFSZ, SIG_IGN);
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = 0;
    line[sizeof line - 2] = '\n';
    q.fd = fileno(file);
    log_queue_start(&q);
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0); /* the second line is written in part */
    for (int i = 0; i < 3; i++)
        put(line);
    CHECK(log_queue_flush(&q, 5000));
    CHECK(setrlimit(RLIMIT_FSIZE, &large) == 0);
    put("the last\n");
    CHECK(log_queue_flush(&q, 5000));
    whole[pread(q.fd, whole, sizeof whole - 1, 0)] = 0;
    p = strchr(whole, '\n') + 1;
    CHECK_INT(strspn(p, "x"), 20);
    CHECK_STR(p + 20, "\ngap 2\nthe last\n");
    (void)fclose(file);
}

TEST(log_queue__without_a_thread_lines_are_written_where_nobody_must_wait)
{
    CHECK(pipe(ends) == 0);
    q.fd = ends[1];
    for (int i = 0; i < 20000; i++)
        put_number(i);
    CHECK(q.dropped > 0);
    (void)read_all();
    put_number(20000);
    CHECK_INT(check_numbered(read_all(), 20001), 1);
}
