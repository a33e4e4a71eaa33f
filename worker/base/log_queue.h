/*
 * log_queue - lines on their way to a file descriptor. A thread of the queue writes them, so that nobody who logs waits
 * for the reader of the log, who may be slow, stopped or gone.
 *
 *   1. lines leave in the order in which they came, each whole and by one write(): a pipe takes a line of up to
 *      PIPE_BUF (4096) bytes at once or not at all, so nothing else that is written to it can get in between
 *   2. a line for which there is no room is dropped. At its place in the order stands a report: how many lines are
 *      missing, and since when. Until half of the queue is free again all lines are dropped, so that there is one
 *      report for many of them
 *   3. a line that cannot be written (no reader, no space on the device) counts as dropped, too. The queue tries again
 *      with the next line, and never by itself: a descriptor that is closed costs one call a line
 *   4. what follows a line that was written in part begins on a new line
 */
#ifndef WORKER_BASE_LOG_QUEUE_H
#define WORKER_BASE_LOG_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum {
    LOG_QUEUE_BYTES = 1 << 20,
    LOG_QUEUE_LINE_MAX = 8192 + 64 /* the longest line, its newline included */
};

struct log_gap { /* lines that are missing; n 0: none */
    uint64_t n;
    struct timespec since; /* of the first of them, wall clock */
};

/* Makes the line that reports a gap, with its newline; returns its length, at most LOG_QUEUE_LINE_MAX. */
typedef size_t log_queue_report(char *ret, const struct log_gap *gap);

struct log_queue {
    int fd;
    log_queue_report *report;

    pthread_mutex_t lock; /* held for a copy of a line, never for a write() */
    pthread_cond_t filled;
    size_t first, used; /* of `ring` */
    size_t last;        /* where the newest record begins */
    bool ends_with_gap;
    bool has_thread;
    atomic_int pending;           /* records in the ring, and the one that is being written */
    atomic_uint_fast64_t dropped; /* lines in all */

    struct log_gap lost; /* the writer's: gaps whose report has not been written yet */
    bool is_cut;         /* the writer's: the last line was written in part */
    char *ring;          /* LOG_QUEUE_BYTES */
};

#define LOG_QUEUE_INIT(fd_, report_, ring_) \
    { .fd = (fd_),                          \
      .report = (report_),                  \
      .lock = PTHREAD_MUTEX_INITIALIZER,    \
      .filled = PTHREAD_COND_INITIALIZER,   \
      .ring = (ring_) }

/* Starts the thread, which never ends. Without one (the system refuses it) lines are written at once where that is
 * possible without waiting, and dropped elsewhere. */
void log_queue_start(struct log_queue *q);

/* Never waits. `line` ends with its newline and has at most LOG_QUEUE_LINE_MAX bytes. */
void log_queue_put(struct log_queue *q, const char *line, size_t len);

/* Waits up to wait_ms until everything is written. For handlers of signals, too, while other threads still run. */
bool log_queue_flush(struct log_queue *q, int64_t wait_ms);

#endif
