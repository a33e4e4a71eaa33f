#include "worker/serve/job_queue.h"

#include <string.h>

#include "worker/base/wait.h"

enum err_code job_queue_init(struct job_queue *q, int depth, struct err *err)
{
    *q = (struct job_queue){ .depth = depth };
    if (pthread_mutex_init(&q->lock, NULL) || wait_cond_init(&q->changed))
        return err_set(err, ERR_NOMEM, "job queue: no lock");
    return ERR_OK;
}

void job_queue_done(struct job_queue *q)
{
    (void)pthread_cond_destroy(&q->changed);
    (void)pthread_mutex_destroy(&q->lock);
}

static void unlink_entry(struct job_queue *q, struct job_queue_entry *entry)
{
    struct job_queue_entry **p = &q->first;

    while (*p && *p != entry)
        p = &(*p)->next;
    if (*p)
        *p = entry->next;
}

/* Whether the entry may join the queue at all, and where; with the lock held. */
static enum outcome admit(struct job_queue *q, const struct job_queue_entry *entry, struct job_queue_entry ***ret_tail)
{
    struct job_queue_entry **tail = &q->first;
    int n = 0;

    if (q->closed)
        return OUTCOME_QUEUE_CLOSED;
    for (; *tail; tail = &(*tail)->next, n++) {
        if (!strcmp((*tail)->message_id, entry->message_id))
            return OUTCOME_SAME_MESSAGE;
        if (!strcmp((*tail)->session, entry->session))
            return OUTCOME_SAME_SESSION;
    }
    *ret_tail = tail;
    return n > q->depth ? OUTCOME_QUEUE_FULL : OUTCOME_OPEN;
}

enum outcome job_queue_check(struct job_queue *q, const struct job_queue_entry *entry)
{
    struct job_queue_entry **tail = NULL;
    enum outcome outcome;

    (void)pthread_mutex_lock(&q->lock);
    outcome = admit(q, entry, &tail);
    (void)pthread_mutex_unlock(&q->lock);
    return outcome == OUTCOME_QUEUE_FULL ? OUTCOME_OPEN : outcome;
}

/* With the lock held. */
static bool is_its_turn(const struct job_queue *q, const struct job_queue_entry *entry)
{
    return !q->closed && q->open && !q->held && !q->running && q->first == entry;
}

enum outcome job_queue_enter(struct job_queue *q, struct job_queue_entry *entry, int64_t max_wait_ms)
{
    struct timespec until = wait_deadline(max_wait_ms);
    struct job_queue_entry **tail = NULL;
    enum outcome outcome;
    bool in_time = true;

    (void)pthread_mutex_lock(&q->lock);
    outcome = admit(q, entry, &tail);
    if (outcome != OUTCOME_OPEN)
        goto out;
    entry->next = NULL;
    *tail = entry;
    while (!q->closed && in_time && !is_its_turn(q, entry))
        in_time = wait_until(&q->changed, &q->lock, &until);
    if (is_its_turn(q, entry)) {
        q->running = true;
        goto out;
    }
    outcome = q->closed ? OUTCOME_QUEUE_CLOSED : OUTCOME_QUEUE_TIMEOUT;
    unlink_entry(q, entry);
    (void)pthread_cond_broadcast(&q->changed);
out:
    (void)pthread_mutex_unlock(&q->lock);
    return outcome;
}

void job_queue_leave(struct job_queue *q, struct job_queue_entry *entry)
{
    (void)pthread_mutex_lock(&q->lock);
    unlink_entry(q, entry);
    q->running = false;
    (void)pthread_cond_broadcast(&q->changed);
    (void)pthread_mutex_unlock(&q->lock);
}

static void set_flag(struct job_queue *q, bool *flag, bool value)
{
    (void)pthread_mutex_lock(&q->lock);
    *flag = value;
    (void)pthread_cond_broadcast(&q->changed);
    (void)pthread_mutex_unlock(&q->lock);
}

void job_queue_open(struct job_queue *q)
{
    set_flag(q, &q->open, true);
}

void job_queue_hold(struct job_queue *q, bool held)
{
    set_flag(q, &q->held, held);
}

void job_queue_close(struct job_queue *q)
{
    set_flag(q, &q->closed, true);
}

int job_queue_waiting(struct job_queue *q)
{
    int n = 0;

    (void)pthread_mutex_lock(&q->lock);
    for (const struct job_queue_entry *e = q->first; e; e = e->next)
        n++;
    n -= q->running;
    (void)pthread_mutex_unlock(&q->lock);
    return n;
}

int64_t job_queue_oldest_ms(struct job_queue *q)
{
    int64_t oldest = INT64_MAX;

    (void)pthread_mutex_lock(&q->lock);
    for (const struct job_queue_entry *e = q->first; e; e = e->next)
        if (!(q->running && e == q->first) && e->since_ms < oldest)
            oldest = e->since_ms;
    (void)pthread_mutex_unlock(&q->lock);
    return oldest;
}

bool job_queue_busy(struct job_queue *q)
{
    bool busy;

    (void)pthread_mutex_lock(&q->lock);
    busy = q->running;
    (void)pthread_mutex_unlock(&q->lock);
    return busy;
}
