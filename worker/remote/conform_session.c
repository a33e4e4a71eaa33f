/*
 * One real job, of the session that the caller names, and the same message beside it and after it.
 *
 * The job's push is sent by a thread of its own; a moment later the same message goes out on a second connection, which
 * the worker answers with 409 while it works. The results of all three are kept until their checks are asked for.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "worker/remote/answer.h"
#include "worker/remote/conform_check.h"

enum {
    BESIDE_AFTER_MS = 700,
    GRACE_MS = 2000,
    LOOK_EVERY_MS = 50,
    SAY_EVERY_MS = 10000,
    AGAIN_MS = 20000,
    AT_ONCE_MS = 1000,
    JOB_ARENA = 4 << 20
};

struct job_push {
    struct conform conform; /* with an arena of its own */
    struct arena arena;
    struct http_request req;
    struct http_reply reply;
    struct conform_result result;
    bool answered;
    atomic_bool over;
};

static void *push_job(void *ctx)
{
    struct job_push *p = ctx;
    const int64_t began = sys_mono_ms(p->conform.sys);

    p->answered = conform_send(&p->conform, &p->req, &p->reply, &p->result);
    p->result.ms = sys_mono_ms(p->conform.sys) - began;
    p->over = true;
    return NULL;
}

/* ---- waiting ---- */

static void say_working(const struct conform *c, int64_t ms)
{
    char line[100];

    (void)snprintf(line, sizeof line, "the job: %lld of %lld s", (long long)(ms / 1000),
                   (long long)(c->timeout_ms / 1000));
    if (c->say)
        c->say(line);
}

static void wait_for(const struct conform *c, struct job_push *p, int64_t at_most_ms)
{
    const int64_t began = sys_mono_ms(c->sys);
    int64_t said = began, now = began;

    while (!p->over && now - began < at_most_ms) {
        sys_sleep_ms(c->sys, LOOK_EVERY_MS);
        now = sys_mono_ms(c->sys);
        if (now - said >= SAY_EVERY_MS) {
            say_working(c, now - began);
            said = now;
        }
    }
}

/* ---- the three answers ---- */

/* was_done: the job was acknowledged before this was sent. */
static void judge_beside(const struct conform *c, struct job_push *p, bool was_done, const struct http_reply *reply,
                         struct conform_result *r)
{
    if (reply->status != 204) {
        if (conform_expect(reply, 409, r) && was_done)
            conform_fail(r,
                         "it was acknowledged, and is worked on still: if the worker dies now, nobody does it again");
        return;
    }
    (void)snprintf(r->got, sizeof r->got, "204");
    wait_for(c, p, GRACE_MS); /* it may have waited for the job's last moment */
    if (p->over)
        conform_note(r, "the job was over by then: a session that takes longer shows more");
    else
        conform_fail(r, "acknowledged while the job still runs: if the worker dies now, nobody does it again");
}

static void run_beside(const struct conform *c, struct job_push *p, struct conform_result *r)
{
    const bool was_done = p->over && p->answered && answer_is_ack(p->reply.status);
    struct http_reply reply;

    if (conform_send(c, &p->req, &reply, r))
        judge_beside(c, p, was_done, &reply, r);
}

static void judge_job(const struct conform *c, const struct job_push *p, struct conform_result *r)
{
    *r = p->result;
    if (!p->answered || !conform_expect(&p->reply, 204, r)) {
        if (p->answered && p->reply.status == 404 && answer_judge(&p->reply).by == ANSWER_BY_WORKER)
            conform_fail(r, "there is no session users/%.100s/sessions/%.100s", c->user, c->session);
        return;
    }
    if (r->ms < AT_ONCE_MS)
        conform_note(r, "at once: the session had ended before, or its job takes no time");
    else
        conform_note(r, "the session's document says whether it is completed or failed");
}

static void run_again(const struct conform *c, const struct job_push *p, struct conform_result *r)
{
    const int64_t began = sys_mono_ms(c->sys);
    struct http_reply reply;
    int64_t ms;

    if (!conform_send(c, &p->req, &reply, r) || !conform_expect(&reply, 204, r))
        return;
    ms = sys_mono_ms(c->sys) - began;
    if (ms > AGAIN_MS)
        conform_fail(r, "it took %.1f s: was it done twice?", 1e-3 * (double)ms);
}

static enum err_code begin(const struct conform *c, struct job_push *p, pthread_t *ret, struct err *err)
{
    TRY(arena_init(&p->arena, JOB_ARENA, err));
    p->conform = *c;
    p->conform.arena = &p->arena;
    TRY(conform_push(c, c->user, c->session, 0, &p->arena, &p->req, err));
    http_request_header(&p->req, "Authorization", c->authorization);
    p->req.timeout_ms = c->timeout_ms;
    if (pthread_create(ret, NULL, push_job, p) != 0)
        return err_set(err, ERR_NOMEM, "no thread for the job's push");
    return ERR_OK;
}

/* Does all three; the two behind it take theirs from c->job_beside and c->job_again. */
static void run_job(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    struct job_push p = { 0 };
    struct err err = { 0 };
    pthread_t thread;

    (void)k;
    c->job_beside = c->job_again =
        (struct conform_result){ .verdict = CONFORM_SKIPPED, .note = "the job was not done" };
    if (begin(c, &p, &thread, &err)) {
        conform_broken(r, &err);
    } else {
        wait_for(c, &p, BESIDE_AFTER_MS);
        c->job_beside = (struct conform_result){ 0 };
        run_beside(c, &p, &c->job_beside);
        wait_for(c, &p, c->timeout_ms + GRACE_MS);
        (void)pthread_join(thread, NULL);
        judge_job(c, &p, r);
        if (r->verdict == CONFORM_OK) {
            c->job_again = (struct conform_result){ 0 };
            run_again(c, &p, &c->job_again);
        }
    }
    arena_done(&p.arena);
}

static void take_beside(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    (void)k;
    *r = c->job_beside;
}

static void take_again(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    (void)k;
    *r = c->job_again;
}

static const struct conform_check checks[] = {
    { "job", "a message about the session", "204 when its job has ended", CONFORM_SESSION, .run = run_job },
    { "job-beside", "the same message on a second connection meanwhile", "409", CONFORM_SESSION, .run = take_beside },
    { "job-again", "the same message afterwards", "204 at once", CONFORM_SESSION, .run = take_again },
};

const struct conform_table conform_sessions = { checks, CONFORM_COUNT(checks) };
