#include "worker/base/log_queue.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { WRITER_STACK_BYTES = 256 << 10, FLUSH_POLL_MS = 2 };

/* A record is its head and, for a line, the line's bytes. */
struct record {
    uint32_t len; /* 0: a gap */
    struct log_gap gap;
};

/* A line may be followed by the record of a gap at any time. */
enum { RECORD_BYTES = sizeof(struct record), RESUME_BYTES = LOG_QUEUE_BYTES / 2 };

static_assert((LOG_QUEUE_BYTES & (LOG_QUEUE_BYTES - 1)) == 0, "positions in the ring wrap by a mask");
static_assert(LOG_QUEUE_BYTES >= 4 * (LOG_QUEUE_LINE_MAX + RECORD_BYTES), "half of the ring holds a line and a gap");

/* ---- the ring; its lock is held ---- */

static void ring_copy_in(struct log_queue *q, size_t at, const void *from, size_t n)
{
    size_t whole = LOG_QUEUE_BYTES - at < n ? LOG_QUEUE_BYTES - at : n;

    memcpy(q->ring + at, from, whole);
    memcpy(q->ring, (const char *)from + whole, n - whole);
}

static void ring_copy_out(const struct log_queue *q, size_t at, void *to, size_t n)
{
    size_t whole = LOG_QUEUE_BYTES - at < n ? LOG_QUEUE_BYTES - at : n;

    memcpy(to, q->ring + at, whole);
    memcpy((char *)to + whole, q->ring, n - whole);
}

static size_t ring_at(const struct log_queue *q, size_t offset)
{
    return (q->first + offset) & (LOG_QUEUE_BYTES - 1);
}

static void append(struct log_queue *q, const struct record *r, const char *line)
{
    q->last = ring_at(q, q->used);
    ring_copy_in(q, q->last, r, sizeof *r);
    ring_copy_in(q, ring_at(q, q->used + sizeof *r), line, r->len);
    q->used += sizeof *r + r->len;
    q->ends_with_gap = r->len == 0;
    q->pending++;
}

static void add_gap(struct log_gap *g, uint64_t n, struct timespec since)
{
    if (g->n == 0)
        g->since = since;
    g->n += n;
}

static void drop(struct log_queue *q, struct timespec now)
{
    struct record r = { 0 };

    q->dropped++;
    if (!q->ends_with_gap) {
        add_gap(&r.gap, 1, now);
        append(q, &r, "");
        return;
    }
    ring_copy_out(q, q->last, &r, sizeof r);
    add_gap(&r.gap, 1, now);
    ring_copy_in(q, q->last, &r, sizeof r);
}

static void take(struct log_queue *q, struct record *r, char *line)
{
    ring_copy_out(q, q->first, r, sizeof *r);
    ring_copy_out(q, ring_at(q, sizeof *r), line, r->len);
    q->first = ring_at(q, sizeof *r + r->len);
    q->used -= sizeof *r + r->len;
    if (q->used == 0)
        q->ends_with_gap = false;
}

/* ---- writing; by the thread alone, or under the lock where there is none ---- */

static struct timespec wall_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return now;
}

static void nap_ms(int64_t ms)
{
    const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

    (void)nanosleep(&t, NULL);
}

static bool write_bytes(struct log_queue *q, const char *bytes, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t m = write(q->fd, bytes + done, n - done);

        if (m < 0 && errno == EAGAIN && q->has_thread) { /* somebody who shares the descriptor made it non-blocking */
            (void)poll(&(struct pollfd){ .fd = q->fd, .events = POLLOUT }, 1, -1);
            nap_ms(1); /* poll() may call a descriptor writable that is not */
            continue;
        }
        if (m < 0 && errno == EINTR)
            continue;
        if (m <= 0)
            break;
        done += (size_t)m;
    }
    if (done > 0)
        q->is_cut = done < n;
    return done == n;
}

/* `text` has room for one byte before `line`. */
static bool write_line(struct log_queue *q, char *text, size_t len)
{
    text[0] = '\n';
    return write_bytes(q, text + !q->is_cut, len + q->is_cut);
}

static bool report_lost(struct log_queue *q)
{
    char text[1 + LOG_QUEUE_LINE_MAX];

    if (q->lost.n > 0 && write_line(q, text, q->report(text + 1, &q->lost)))
        q->lost.n = 0;
    return q->lost.n == 0;
}

static void deliver(struct log_queue *q, const struct record *r, char *text)
{
    add_gap(&q->lost, r->gap.n, r->gap.since);
    if (!report_lost(q) || (r->len > 0 && !write_line(q, text, r->len))) {
        q->dropped += r->len > 0;
        add_gap(&q->lost, r->len > 0, wall_now());
    }
}

static void *write_lines(void *arg)
{
    struct log_queue *q = arg;
    char text[1 + LOG_QUEUE_LINE_MAX];
    struct record r;

    for (;;) {
        (void)pthread_mutex_lock(&q->lock);
        while (q->used == 0)
            (void)pthread_cond_wait(&q->filled, &q->lock);
        take(q, &r, text + 1);
        (void)pthread_mutex_unlock(&q->lock);
        deliver(q, &r, text);
        q->pending--;
    }
    return NULL;
}

/* ---- for everybody ---- */

/* The thread gets no signals: SIGPIPE would end the process, and others belong to threads that may be interrupted. */
void log_queue_start(struct log_queue *q)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, WRITER_STACK_BYTES);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    (void)pthread_mutex_lock(&q->lock);
    q->has_thread = true; /* first, as the thread reads it without the lock */
    if (pthread_create(&thread, &attr, write_lines, q))
        q->has_thread = false;
    (void)pthread_mutex_unlock(&q->lock);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static bool is_writable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLOUT };

    return poll(&p, 1, 0) > 0 && p.revents & POLLOUT;
}

static void put_without_thread(struct log_queue *q, const char *line, size_t len, struct timespec now)
{
    struct record r = { .len = (uint32_t)len };
    char text[1 + LOG_QUEUE_LINE_MAX];

    memcpy(text + 1, line, len);
    if (is_writable(q->fd)) {
        deliver(q, &r, text);
        return;
    }
    q->dropped++;
    add_gap(&q->lost, 1, now);
}

void log_queue_put(struct log_queue *q, const char *line, size_t len)
{
    const struct record r = { .len = (uint32_t)len };
    const struct timespec now = wall_now();
    size_t need = sizeof r + len + RECORD_BYTES;

    assert(len > 0 && len <= LOG_QUEUE_LINE_MAX);
    (void)pthread_mutex_lock(&q->lock);
    if (q->ends_with_gap && need < RESUME_BYTES)
        need = RESUME_BYTES;
    if (!q->has_thread)
        put_without_thread(q, line, len, now);
    else if (LOG_QUEUE_BYTES - q->used >= need)
        append(q, &r, line);
    else
        drop(q, now);
    (void)pthread_cond_signal(&q->filled);
    (void)pthread_mutex_unlock(&q->lock);
}

bool log_queue_flush(struct log_queue *q, int64_t wait_ms)
{
    for (int64_t ms = 0; ms < wait_ms && q->pending > 0; ms += FLUSH_POLL_MS)
        nap_ms(FLUSH_POLL_MS);
    return q->pending == 0;
}
