#include "worker/serve/handler.h"

#include <stdio.h>
#include <string.h>

#include "worker/base/json.h"
#include "worker/push/printable.h"

enum {
    AUTH_BUDGET_MS = 15000,     /* time to verify the token, which may need keys from the network */
    QUEUE_RESERVE_PERCENT = 43, /* of the deadline, kept for the job after its wait in the queue: 120 s of 280 */
    MAX_AUTHORIZATION = 4
};

/* ---- the end of a push ---- */

/* Counts the outcome; returns its answer. */
static int settle(const struct handler *h, const struct http_server_request *req, enum outcome outcome)
{
    metrics_outcome(h->metrics, outcome, 1e-3 * (double)(sys_mono_ms(h->sys) - req->arrived_mono_ms));
    return outcome_info(outcome)->http_status;
}

static int poison(const struct handler *h, const struct http_server_request *req, const struct push_message *msg,
                  const char *why)
{
    return settle(h, req, poison_end(&h->poison, &(struct poison){ OUTCOME_POISON, why, msg }, req));
}

static int other_subscription(const struct handler *h, const struct http_server_request *req,
                              const struct push_message *msg)
{
    struct err why = { 0 };

    (void)err_set(&why, ERR_INVALID, "the push comes from the subscription '%.90s', and PUBSUB_SUBSCRIPTION is '%.90s'",
                  msg->subscription, h->subscription);
    return settle(h, req, poison_end(&h->poison, &(struct poison){ OUTCOME_OTHER_SUBSCRIPTION, why.msg, msg }, req));
}

static int turn_away(const struct handler *h, const struct http_server_request *req, enum outcome outcome)
{
    const struct outcome_info *o = outcome_info(outcome);

    log_event(o->level, &req->log, o->message, log_int("status", o->http_status), log_end());
    return settle(h, req, outcome);
}

static int end_job(const struct handler *h, const struct http_server_request *req, const struct pipeline_result *r)
{
    const struct outcome_info *o = outcome_info(r->outcome);
    const char *remedy = outcome_remedy(r->outcome);

    log_event(o->level, &req->log, o->message, log_str("outcome", o->name),
              log_str("code", r->has_error ? job_error_info(r->error)->code : ""), log_int("status", o->http_status),
              log_int("ms", sys_mono_ms(h->sys) - req->arrived_mono_ms),
              *remedy ? log_str("remedy", remedy) : log_end(), log_end());
    if (r->has_error)
        metrics_error(h->metrics, r->error);
    if (r->was_claimed)
        metrics_claimed(h->metrics, 1e-3 * (double)r->wait_ms, 1e-3 * (double)r->age_ms);
    metrics_add(h->metrics, METRICS_MODULATION_REREADS, r->rereads_modulation);
    for (int s = 0; s < STAGES; s++)
        if (r->times.has_run[s])
            metrics_stage_took(h->metrics, (enum stage)s, 1e-3 * (double)r->times.ms[s]);
    return settle(h, req, r->outcome);
}

/* ---- the token, before a byte of the body is read ---- */

static void log_refused(const struct http_server_request *req, const struct oidc_result *r)
{
    const struct outcome_info *o = outcome_info(OUTCOME_UNAUTHORISED);

    log_event(o->level, &req->log, o->message, log_str("reason", r->text), log_str("kid", r->kid),
              log_str("email", r->email), log_int("status", r->status),
              *r->received ? log_str("received", r->received) : log_end(), log_str("wanted", r->wanted), log_end());
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
    metrics_refusal(h->metrics, r.reason);
    (void)settle(h, req, OUTCOME_UNAUTHORISED);
    reply->status = r.status;
    if (r.status == 401)
        http_server_reply_header(reply, "WWW-Authenticate", "Bearer error=\"invalid_token\"");
    metrics_answer(h->metrics, r.status);
    return false;
}

/* ---- the push ---- */

static bool subscription_fits(const struct handler *h, const struct push_message *msg)
{
    return !h->subscription || !strcmp(h->subscription, msg->subscription);
}

/* What a result says about jobs that come after it; noted before one of them gets its turn. */
static void note_result(struct handler *h, const struct pipeline_result *r)
{
    metrics_add(h->metrics, METRICS_RETRIES, (uint64_t)r->retries);
    if (r->has_error && job_error_info(r->error)->outcome == OUTCOME_DEVICE_FAULT)
        h->fault = true;
    if (r->has_error && r->error == JOB_BACKEND_UNAVAILABLE && h->cloud)
        cloud_check_doubt(h->cloud);
}

/* Waits for the turn and runs the job. */
static int run_in_turn(struct handler *h, struct http_server_request *req, const struct push_message *msg,
                       const struct job *job, struct job_queue_entry *entry)
{
    int64_t waited = sys_mono_ms(h->sys) - req->arrived_mono_ms;
    int64_t latest = h->job_deadline_ms - h->job_deadline_ms * QUEUE_RESERVE_PERCENT / 100;
    enum outcome outcome = job_queue_enter(h->queue, entry, latest - waited);
    struct pipeline_result r;

    if (outcome != OUTCOME_OPEN)
        return turn_away(h, req, outcome);
    if (h->fault) { /* the device broke during the previous job: a claim would be useless */
        job_queue_leave(h->queue, entry);
        return settle(h, req, OUTCOME_DEVICE_BROKEN);
    }
    r = pipeline_run(h->pipeline, msg, job, req->arrived_mono_ms, &req->log);
    note_result(h, &r);
    job_queue_leave(h->queue, entry);
    return end_job(h, req, &r);
}

/* Only what has to be claimed takes a place in the queue: a redelivery of finished work is answered beside the job. */
static int run_job(struct handler *h, struct http_server_request *req, const struct push_message *msg,
                   const struct job *job)
{
    struct job_queue_entry entry = { msg->message_id, job->document, NULL, req->arrived_mono_ms };
    enum outcome outcome = job_queue_check(h->queue, &entry);
    struct pipeline_result r;

    if (outcome != OUTCOME_OPEN)
        return turn_away(h, req, outcome);
    if (!h->cloud || cloud_check_has_database(h->cloud)) {
        r = pipeline_screen(h->pipeline, msg, job, &req->log);
        note_result(h, &r);
        if (r.outcome != OUTCOME_OPEN)
            return end_job(h, req, &r);
        if (r.age_ms >= 0)
            entry.since_ms = sys_mono_ms(h->sys) - r.age_ms;
    }
    return run_in_turn(h, req, msg, job, &entry);
}

/* msg holds what could be read even where the push is poison. */
static enum err_code read_push(const struct http_server_request *req, struct push_message *msg, struct err *err)
{
    struct push_header headers[HTTP_SERVER_MAX_HEADERS];
    const struct push_request push_request = { headers, req->n_headers, req->body };

    for (int i = 0; i < req->n_headers; i++) {
        char *value;

        /* White space around it is no part of it (RFC 9110 5.5), and libmicrohttpd leaves what is behind. */
        TRY(span_dup(req->arena, span_trimmed(span_of(req->headers[i].value)), &value, err));
        headers[i] = (struct push_header){ req->headers[i].name, value };
    }
    if (!req->body_too_large)
        return push_parse(&push_request, req->arena, msg, err);
    TRY(push_parse_headers(&push_request, req->arena, msg, err));
    return err_set(err, ERR_TOO_LARGE, "the body is larger than a message may be: more than %d bytes", PUBSUB_BODY_MAX);
}

static int answer_push(struct handler *h, struct http_server_request *req)
{
    struct push_message msg = pubsub_unknown();
    struct job job = { 0 };
    struct err err = { 0 };
    enum err_code rc = read_push(req, &msg, &err);

    (void)snprintf(req->log.message_id, sizeof req->log.message_id, "%s", msg.message_id);
    if (rc)
        return rc == ERR_NOMEM ? settle(h, req, OUTCOME_NO_MEMORY) : poison(h, req, &msg, err.msg);
    if (!subscription_fits(h, &msg))
        return other_subscription(h, req, &msg);
    rc = job_parse(msg.data, &job, &err);
    if (rc)
        return rc == ERR_NOMEM ? settle(h, req, OUTCOME_NO_MEMORY) : poison(h, req, &msg, err.msg);
    (void)snprintf(req->log.session, sizeof req->log.session, "%s", job.document);
    if (h->draining)
        return settle(h, req, OUTCOME_DRAINING);
    if (h->fault || engine_status(h->engine).state == ENGINE_TOO_SLOW)
        return settle(h, req, OUTCOME_DEVICE_BROKEN);
    return run_job(h, req, &msg, &job);
}

static void push(void *ctx, struct http_server_request *req, struct http_server_reply *reply)
{
    struct handler *h = ctx;

    reply->status = answer_push(h, req);
    metrics_answer(h->metrics, reply->status);
}

/* ---- probes ---- */

static void reply_text(struct http_server_reply *reply, int status, const char *json)
{
    reply->status = status;
    reply->content_type = "application/json";
    reply->body = span_of(json);
}

/* What is more than a word is built, with its escapes; without memory the status has to do. */
static void reply_json(struct http_server_request *req, struct http_server_reply *reply, const struct json *root)
{
    char *text = NULL;

    if (json_print(req->arena, root, &text, NULL))
        reply->status = 503;
    else
        reply_text(reply, 503, text);
}

static void reply_reason(struct http_server_request *req, struct http_server_reply *reply, const char *status,
                         const char *reason)
{
    struct json *root = json_new_object(req->arena);
    char *text;

    json_add_string(root, "status", status);
    if (*reason && !printable_text(reason, req->arena, &text, NULL)) /* it may end in the middle of a character */
        json_add_string(root, "reason", text);
    reply_json(req, reply, root);
}

static void reply_loading(struct http_server_request *req, struct http_server_reply *reply,
                          const struct engine_status *s)
{
    struct json *root = json_new_object(req->arena);

    json_add_string(root, "status", "loading");
    json_add_string(root, "stage", s->stage);
    json_add_int(root, "progress", s->percent);
    reply_json(req, reply, root);
}

/* What the cloud has to say before a job may run; false: nothing. The reason holds no secret. */
static bool not_ready_by_cloud(const struct handler *h, bool loading, struct http_server_request *req,
                               struct http_server_reply *reply)
{
    static const char *const words[] = {
        [CLOUD_ASKING] = "asking", [CLOUD_WAITING] = "waiting", [CLOUD_REFUSED] = "refused"
    };
    char reason[ACCESS_REASON_SIZE];
    enum cloud_state state = h->cloud ? cloud_check_state(h->cloud, reason) : CLOUD_HOLDS;

    if (state == CLOUD_HOLDS || (loading && state != CLOUD_REFUSED))
        return false;
    reply_reason(req, reply, words[state], reason);
    return true;
}

static void ready(void *ctx, struct http_server_request *req, struct http_server_reply *reply)
{
    struct handler *h = ctx;
    struct engine_status s = engine_status(h->engine);

    if (h->draining)
        reply_text(reply, 503, "{\"status\":\"draining\"}");
    else if (s.state > ENGINE_READY || h->fault)
        reply_text(reply, 503, "{\"status\":\"failed\"}");
    else if (s.state == ENGINE_TOO_SLOW)
        reply_reason(req, reply, "too slow", s.why);
    else if (not_ready_by_cloud(h, s.state == ENGINE_LOADING, req, reply))
        return;
    else if (s.state == ENGINE_READY)
        reply_text(reply, 200, "{\"status\":\"ready\"}");
    else
        reply_loading(req, reply, &s);
}

static void health(void *ctx, struct http_server_request *req, struct http_server_reply *reply)
{
    struct handler *h = ctx;
    bool broken = h->fault || engine_status(h->engine).state > ENGINE_READY;

    (void)req;
    reply_text(reply, broken ? 503 : 200, broken ? "{\"status\":\"broken\"}" : "{\"status\":\"ok\"}");
}

static void show_queue(const struct handler *h)
{
    int64_t oldest_ms = job_queue_oldest_ms(h->queue);

    metrics_set(h->metrics, METRICS_OLDEST_MESSAGE,
                oldest_ms < INT64_MAX ? 1e-3 * (double)(sys_mono_ms(h->sys) - oldest_ms) : 0);
    metrics_set(h->metrics, METRICS_QUEUE_DEPTH, job_queue_waiting(h->queue));
    metrics_set(h->metrics, METRICS_JOB_RUNNING, job_queue_busy(h->queue));
}

static void metrics(void *ctx, struct http_server_request *req, struct http_server_reply *reply)
{
    struct handler *h = ctx;

    show_queue(h);
    reply->status = metrics_print(h->metrics, req->arena, &reply->body, NULL) ? 500 : 200;
    reply->content_type = METRICS_CONTENT_TYPE;
}

/* ---- which program this is ---- */

static void about(void *ctx, struct http_server_request *req, struct http_server_reply *reply);

static const struct http_server_route all_routes[HANDLER_ROUTES] = {
    /* without ctx */
    { "POST", "/inpaint", false, check_token, push, NULL },
    { "POST", "/", false, check_token, push, NULL },
    { "GET", "/", true, NULL, about, NULL },
    { "HEAD", "/", true, NULL, about, NULL }, /* the server leaves the body out */
    { "GET", "/ready", true, NULL, ready, NULL },
    { "GET", "/health", true, NULL, health, NULL },
    { "GET", "/metrics", true, NULL, metrics, NULL },
};

/* Anybody may ask, so it says nothing of settings, model or cloud. */
static void about(void *ctx, struct http_server_request *req, struct http_server_reply *reply)
{
    const struct handler *h = ctx;
    struct json *root = json_new_object(req->arena), *routes;
    char *text = NULL, *route;

    json_add_string(root, "name", HANDLER_PROGRAM);
    json_add_string(root, "version", h->version ? h->version : "");
    routes = json_add_array(root, "routes");
    for (int i = 0; i < HANDLER_ROUTES; i++) {
        if (arena_printf(req->arena, &route, NULL, "%s %s", all_routes[i].method, all_routes[i].path) == ERR_OK)
            json_add_string(routes, NULL, route);
    }
    json_add_string(root, "documentation", HANDLER_DOCUMENTATION);
    if (json_print(req->arena, root, &text, NULL) == ERR_OK)
        reply_text(reply, 200, text);
    else
        reply->status = 503;
}

void handler_routes(struct handler *h, struct http_server_route ret[HANDLER_ROUTES])
{
    memcpy(ret, all_routes, sizeof all_routes);
    for (int i = 0; i < HANDLER_ROUTES; i++)
        ret[i].ctx = h;
}
