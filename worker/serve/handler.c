#include "worker/serve/handler.h"

#include <stdio.h>
#include <string.h>

enum {
    AUTH_BUDGET_MS = 15000,     /* verify, parse, claim */
    QUEUE_RESERVE_PERCENT = 43, /* of the deadline a job wants for itself: 120 s of 280 */
    MAX_AUTHORIZATION = 4
};

/* ---- the token, before a byte of the body is read ---- */

static void log_refused(const struct http_server_request *req, const struct oidc_result *r)
{
    log_event(LOG_WARNING, &req->log, "push refused", log_str("reason", r->text), log_str("kid", r->kid),
              log_str("email", r->email), log_int("status", r->status), log_end());
}

static bool check_token(void *ctx, struct http_server_request *req, struct http_server_reply *reply)
{
    struct handler *h = ctx;
    struct span values[MAX_AUTHORIZATION];
    struct budget budget = { .sys = h->sys, .deadline_mono_ms = sys_mono_ms(h->sys) + AUTH_BUDGET_MS };
    int n = http_server_values(req, "authorization", values, MAX_AUTHORIZATION);
    struct oidc_result r = oidc_check(h->oidc, values, n, &budget);

    if (r.status == 204)
        return true;
    log_refused(req, &r);
    reply->status = r.status;
    if (r.status == 401)
        http_server_reply_header(reply, "WWW-Authenticate", "Bearer error=\"invalid_token\"");
    metrics_answer(h->metrics, r.status);
    return false;
}

/* ---- the push ---- */

static int poison(const struct handler *h, const struct http_server_request *req, const char *why)
{
    log_event(LOG_ERROR, &req->log, "poison message: acknowledged and dropped", log_str("error", why), log_end());
    metrics_add(h->metrics, METRICS_POISON, 1);
    return 204;
}

static bool subscription_fits(const struct handler *h, const struct push_message *msg)
{
    return !h->subscription || !strcmp(h->subscription, msg->subscription);
}

static int turn_away(enum job_queue_verdict verdict)
{
    static const int status[] = {
        [JOB_QUEUE_SAME_MESSAGE] = 409, [JOB_QUEUE_SAME_SESSION] = 204, [JOB_QUEUE_FULL] = 429,
        [JOB_QUEUE_TIMEOUT] = 503,      [JOB_QUEUE_CLOSED] = 503,
    };

    return status[verdict];
}

static void log_outcome(const struct handler *h, const struct http_server_request *req,
                        const struct pipeline_outcome *o)
{
    log_event(o->http_status < 500 ? LOG_INFO : LOG_WARNING, &req->log, "push answered",
              log_str("outcome", pipeline_end_name(o->end)),
              log_str("code", o->has_error ? job_error_info(o->error)->code : ""), log_int("status", o->http_status),
              log_int("ms", sys_mono_ms(h->sys) - req->arrived_mono_ms), log_end());
}

static void count_outcome(const struct handler *h, const struct http_server_request *req,
                          const struct pipeline_outcome *o)
{
    enum { NONE = -1 };
    static const struct {
        int outcome, counter;
    } what[PIPELINE_ENDS] = {
        [PIPELINE_COMPLETED] = { METRICS_COMPLETED, NONE },
        [PIPELINE_FAILED] = { METRICS_FAILED, NONE },
        [PIPELINE_RELEASED] = { METRICS_RELEASED, NONE },
        [PIPELINE_GONE] = { METRICS_VANISHED, NONE },
        [PIPELINE_LOST] = { NONE, METRICS_LEASES_LOST },
        [PIPELINE_UNCLAIMED] = { NONE, NONE },
        [PIPELINE_MISSING] = { NONE, NONE },
        [PIPELINE_DUPLICATE] = { NONE, METRICS_DUPLICATES },
        [PIPELINE_BUSY] = { NONE, METRICS_DUPLICATES },
        [PIPELINE_SUPERSEDED] = { NONE, METRICS_DUPLICATES },
        [PIPELINE_EXHAUSTED] = { METRICS_FAILED, NONE },
        [PIPELINE_REFUSED] = { NONE, NONE },
    };

    if (what[o->end].outcome != NONE)
        metrics_job(h->metrics, (enum metrics_outcome)what[o->end].outcome,
                    1e-3 * (double)(sys_mono_ms(h->sys) - req->arrived_mono_ms));
    if (what[o->end].counter != NONE)
        metrics_add(h->metrics, (enum metrics_counter)what[o->end].counter, 1);
    if (o->has_error)
        metrics_error(h->metrics, o->error);
    metrics_add(h->metrics, METRICS_RETRIES, (uint64_t)o->retries);
    metrics_add(h->metrics, METRICS_MODULATION_REREADS, o->rereads_modulation);
    for (int s = 0; s < STAGES; s++)
        if (o->times.has_run[s])
            metrics_stage_took(h->metrics, (enum stage)s, 1e-3 * (double)o->times.ms[s]);
}

static void show_queue(const struct handler *h)
{
    metrics_set(h->metrics, METRICS_QUEUE_DEPTH, job_queue_waiting(h->queue));
    metrics_set(h->metrics, METRICS_JOB_RUNNING, job_queue_busy(h->queue));
}

/* Waits for the turn and runs the job. */
static int run_job(struct handler *h, struct http_server_request *req, const struct push_message *msg,
                   const struct job *job)
{
    struct job_queue_entry entry = { msg->message_id, job->document, NULL };
    int64_t waited = sys_mono_ms(h->sys) - req->arrived_mono_ms;
    int64_t latest = h->job_deadline_ms - h->job_deadline_ms * QUEUE_RESERVE_PERCENT / 100;
    enum job_queue_verdict verdict;
    struct pipeline_outcome o;

    verdict = job_queue_enter(h->queue, &entry, latest - waited);
    if (verdict != JOB_QUEUE_RUN) {
        log_event(LOG_INFO, &req->log, "push turned away", log_int("status", turn_away(verdict)), log_end());
        if (verdict == JOB_QUEUE_SAME_MESSAGE || verdict == JOB_QUEUE_SAME_SESSION)
            metrics_add(h->metrics, METRICS_DUPLICATES, 1);
        return turn_away(verdict);
    }
    if (h->fault) { /* the job before found the device broken: not worth a claim */
        job_queue_leave(h->queue, &entry);
        return 503;
    }
    show_queue(h);
    o = pipeline_run(h->pipeline, msg, job, req->arrived_mono_ms, &req->log);
    if (o.fault)
        h->fault = true;
    job_queue_leave(h->queue, &entry);
    show_queue(h);
    log_outcome(h, req, &o);
    count_outcome(h, req, &o);
    return o.http_status;
}

static int answer_push(struct handler *h, struct http_server_request *req)
{
    struct push_message msg = { 0 };
    struct job job = { 0 };
    struct err err = { 0 };
    enum err_code rc;

    if (req->body_too_large)
        return poison(h, req, "the body is larger than a message may be");
    rc = pubsub_parse(req->body, req->arena, &msg, &err);
    if (rc == ERR_NOMEM)
        return 503;
    if (rc)
        return poison(h, req, err.msg);
    (void)snprintf(req->log.message_id, sizeof req->log.message_id, "%s", msg.message_id);
    if (!subscription_fits(h, &msg)) {
        log_event(LOG_ERROR, &req->log, "push of another subscription: acknowledged and dropped", log_end());
        return 204;
    }
    rc = job_parse(msg.data, &job, &err);
    if (rc == ERR_NOMEM)
        return 503;
    if (rc)
        return poison(h, req, err.msg);
    (void)snprintf(req->log.session, sizeof req->log.session, "%s", job.document);
    return h->draining || h->fault ? 503 : run_job(h, req, &msg, &job);
}

static void push(void *ctx, struct http_server_request *req, struct http_server_reply *reply)
{
    struct handler *h = ctx;

    reply->status = answer_push(h, req);
    metrics_answer(h->metrics, reply->status);
}

/* ---- probes ---- */

static void reply_text(struct http_server_request *req, struct http_server_reply *reply, int status, const char *type,
                       const char *text)
{
    (void)req;
    reply->status = status;
    reply->content_type = type;
    reply->body = span_of(text);
}

static void ready(void *ctx, struct http_server_request *req, struct http_server_reply *reply)
{
    struct handler *h = ctx;
    struct engine_status s = engine_status(h->engine);
    char *text = NULL;

    if (h->draining)
        reply_text(req, reply, 503, "application/json", "{\"status\":\"draining\"}");
    else if (s.state == ENGINE_READY && !h->fault)
        reply_text(req, reply, 200, "application/json", "{\"status\":\"ready\"}");
    else if (s.state != ENGINE_LOADING)
        reply_text(req, reply, 503, "application/json", "{\"status\":\"failed\"}");
    else if (!arena_printf(req->arena, &text, NULL, "{\"status\":\"loading\",\"stage\":\"%s\",\"progress\":%d}",
                           s.stage, s.percent))
        reply_text(req, reply, 503, "application/json", text);
    else
        reply->status = 503;
}

static void health(void *ctx, struct http_server_request *req, struct http_server_reply *reply)
{
    struct handler *h = ctx;
    bool broken = h->fault || engine_status(h->engine).state > ENGINE_READY;

    reply_text(req, reply, broken ? 503 : 200, "application/json",
               broken ? "{\"status\":\"broken\"}" : "{\"status\":\"ok\"}");
}

static void metrics(void *ctx, struct http_server_request *req, struct http_server_reply *reply)
{
    struct handler *h = ctx;

    show_queue(h);
    reply->status = metrics_print(h->metrics, req->arena, &reply->body, NULL) ? 500 : 200;
    reply->content_type = METRICS_CONTENT_TYPE;
}

void handler_routes(struct handler *h, struct http_server_route ret[HANDLER_ROUTES])
{
    const struct http_server_route routes[HANDLER_ROUTES] = {
        { "POST", "/inpaint", false, check_token, push, h }, { "POST", "/", false, check_token, push, h },
        { "GET", "/ready", true, NULL, ready, h },           { "GET", "/health", true, NULL, health, h },
        { "GET", "/metrics", true, NULL, metrics, h },
    };

    memcpy(ret, routes, sizeof routes);
}
