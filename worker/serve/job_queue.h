/*
 * job_queue - one job at a time, a short queue in front of it, and a register of the pushes in both.
 *
 * A push enters with its message and session. It is turned away at once when the same message is queued or running
 * (the first delivery stays responsible), when another message of the same session is, or when the queue is full; else
 * it waits for its turn, in order of arrival. No turn comes before job_queue_open(): pushes that arrive while the model
 * loads wait; so do those that arrive while job_queue_hold() holds the queue. After job_queue_close() waiting and new
 * pushes are turned away. Thread-safe; entries live on the caller's stack.
 */
#ifndef WORKER_SERVE_JOB_QUEUE_H
#define WORKER_SERVE_JOB_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "worker/job/outcome.h"

struct job_queue_entry {
    const char *message_id, *session; /* borrowed until job_queue_leave(), or until job_queue_enter() turned it away */
    struct job_queue_entry *next;
    int64_t since_ms; /* monotonic: when its message was published */
};

struct job_queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct job_queue_entry *first; /* the entry that has the turn, or gets it next */
    int depth;                     /* how many may wait behind the entry that has the turn */
    bool open, held, closed, running;
};

MUST_CHECK enum err_code job_queue_init(struct job_queue *q, int depth, struct err *err);
void job_queue_done(struct job_queue *q);

/* What job_queue_enter() would say of the entry at once, but for QUEUE_FULL. */
enum outcome job_queue_check(struct job_queue *q, const struct job_queue_entry *entry);
/* OUTCOME_OPEN: it is our turn, and job_queue_leave() ends it. Else SAME_MESSAGE, SAME_SESSION, QUEUE_FULL,
 * QUEUE_TIMEOUT or QUEUE_CLOSED. */
enum outcome job_queue_enter(struct job_queue *q, struct job_queue_entry *entry, int64_t max_wait_ms);
void job_queue_leave(struct job_queue *q, struct job_queue_entry *entry);

void job_queue_open(struct job_queue *q);
void job_queue_hold(struct job_queue *q, bool held); /* a job that has the turn already goes on */
void job_queue_close(struct job_queue *q);
int job_queue_waiting(struct job_queue *q);       /* how many wait for a turn */
int64_t job_queue_oldest_ms(struct job_queue *q); /* the least since_ms of those that wait; INT64_MAX: none waits */
bool job_queue_busy(struct job_queue *q);         /* whether a job has the turn */

#endif
