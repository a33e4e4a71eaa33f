#include <unistd.h>

#include "test/support/check.h"
#include "worker/serve/job_queue.h"

struct visitor {
    struct job_queue *q;
    struct job_queue_entry entry;
    int64_t wait_ms;
    enum outcome outcome;
    _Atomic int done;
    pthread_t thread;
};

static void *enter(void *arg)
{
    struct visitor *v = arg;

    v->outcome = job_queue_enter(v->q, &v->entry, v->wait_ms);
    v->done = 1;
    return NULL;
}

static void start(struct visitor *v, struct job_queue *q, const char *message, const char *session, int64_t wait_ms)
{
    *v = (struct visitor){ .q = q, .entry = { message, session, NULL }, .wait_ms = wait_ms };
    CHECK_INT(pthread_create(&v->thread, NULL, enter, v), 0);
}

static void until_waiting(struct job_queue *q, int n)
{
    for (int i = 0; i < 5000 && job_queue_waiting(q) != n; i++)
        (void)usleep(1000);
    CHECK_INT(job_queue_waiting(q), n);
}

TEST(job_queue__gives_no_turn_while_it_is_held)
{
    struct job_queue q;
    struct err err = { 0 };
    struct visitor a, b;

    CHECK_OK(job_queue_init(&q, 2, &err), err);
    job_queue_hold(&q, true);
    job_queue_open(&q);
    start(&a, &q, "1", "s1", 5000);
    until_waiting(&q, 1);
    start(&b, &q, "2", "s2", 10);
    (void)pthread_join(b.thread, NULL);
    CHECK_INT(b.outcome, OUTCOME_QUEUE_TIMEOUT);
    CHECK_INT(a.done, 0);
    job_queue_hold(&q, false);
    (void)pthread_join(a.thread, NULL);
    CHECK_INT(a.outcome, OUTCOME_OPEN);
    job_queue_hold(&q, true); /* the job that runs goes on */
    CHECK(job_queue_busy(&q));
    job_queue_leave(&q, &a.entry);
    job_queue_close(&q);
    start(&b, &q, "3", "s3", 5000);
    (void)pthread_join(b.thread, NULL);
    CHECK_INT(b.outcome, OUTCOME_QUEUE_CLOSED);
    job_queue_done(&q);
}

TEST(job_queue__lets_one_run_and_the_next_in_order_of_arrival)
{
    struct job_queue q;
    struct err err = { 0 };
    struct visitor a, b, c;

    CHECK_OK(job_queue_init(&q, 2, &err), err);
    start(&a, &q, "1", "s1", 5000);
    until_waiting(&q, 1); /* not open yet: the model loads */
    job_queue_open(&q);
    (void)pthread_join(a.thread, NULL);
    CHECK_INT(a.outcome, OUTCOME_OPEN);
    start(&b, &q, "2", "s2", 5000);
    until_waiting(&q, 1);
    start(&c, &q, "3", "s3", 5000);
    until_waiting(&q, 2);
    job_queue_leave(&q, &a.entry);
    (void)pthread_join(b.thread, NULL);
    CHECK_INT(b.outcome, OUTCOME_OPEN);
    CHECK_INT(c.done, 0);
    job_queue_leave(&q, &b.entry);
    (void)pthread_join(c.thread, NULL);
    CHECK_INT(c.outcome, OUTCOME_OPEN);
    job_queue_leave(&q, &c.entry);
    CHECK(!job_queue_busy(&q));
    job_queue_done(&q);
}

TEST(job_queue__turns_away_the_same_message_the_same_session_and_the_one_too_many)
{
    struct job_queue q;
    struct err err = { 0 };
    struct visitor waiting;
    struct job_queue_entry running = { "1", "s1", NULL, 0 }, same = { "1", "s9", NULL, 0 }, other = { "2", "s1", NULL, 0 };
    struct job_queue_entry third = { "4", "s4", NULL, 0 };

    CHECK_OK(job_queue_init(&q, 1, &err), err);
    job_queue_open(&q);
    CHECK_INT(job_queue_enter(&q, &running, 0), OUTCOME_OPEN);
    CHECK_INT(job_queue_enter(&q, &same, 1000), OUTCOME_SAME_MESSAGE);
    CHECK_INT(job_queue_enter(&q, &other, 1000), OUTCOME_SAME_SESSION);
    start(&waiting, &q, "3", "s3", 5000);
    until_waiting(&q, 1);
    CHECK_INT(job_queue_enter(&q, &third, 1000), OUTCOME_QUEUE_FULL);
    job_queue_leave(&q, &running);
    (void)pthread_join(waiting.thread, NULL);
    CHECK_INT(waiting.outcome, OUTCOME_OPEN);
    job_queue_leave(&q, &waiting.entry);
    job_queue_done(&q);
}

TEST(job_queue__sends_the_waiting_back_on_timeout_and_when_it_closes)
{
    struct job_queue q;
    struct err err = { 0 };
    struct visitor waiting;
    struct job_queue_entry running = { "1", "s1", NULL, 0 }, late = { "2", "s2", NULL, 0 }, after = { "5", "s5", NULL, 0 };

    CHECK_OK(job_queue_init(&q, 4, &err), err);
    job_queue_open(&q);
    CHECK_INT(job_queue_enter(&q, &running, 0), OUTCOME_OPEN);
    CHECK_INT(job_queue_enter(&q, &late, 20), OUTCOME_QUEUE_TIMEOUT);
    start(&waiting, &q, "3", "s3", 5000);
    until_waiting(&q, 1);
    job_queue_close(&q);
    (void)pthread_join(waiting.thread, NULL);
    CHECK_INT(waiting.outcome, OUTCOME_QUEUE_CLOSED);
    CHECK_INT(job_queue_enter(&q, &after, 1000), OUTCOME_QUEUE_CLOSED);
    job_queue_leave(&q, &running);
    job_queue_done(&q);
}
