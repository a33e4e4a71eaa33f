/* What anybody may ask: GET /, the probes, the metrics, and routes that are not there. */
#include <stdio.h>
#include <string.h>

#include "worker/base/json.h"
#include "worker/remote/answer.h"
#include "worker/remote/conform_check.h"

enum { DEPTH_MAX = 16, READY_EVERY_MS = 2000, SAY_EVERY_MS = 10000, REASON_SIZE = 300 };

/*
 * Sends a request without a token; where Cloud Run's IAM check refuses that, and the caller has a token, once more with
 * it. A worker answers no probe with 401 or 403, and the answer to HEAD has no page that would tell.
 */
static bool ask(struct conform *c, const char *method, const char *path, int64_t timeout_ms, struct http_reply *ret,
                struct conform_result *r)
{
    struct http_request req;
    struct err err = { 0 };

    if (conform_request(c, method, path, c->arena, &req, &err)) {
        conform_broken(r, &err);
        return false;
    }
    req.timeout_ms = timeout_ms;
    if (!conform_send(c, &req, ret, r))
        return false;
    if ((ret->status != 401 && ret->status != 403) || !c->authorization)
        return true;
    conform_note(r, "Cloud Run's IAM check wants a token, so it was sent");
    http_request_header(&req, "Authorization", c->authorization);
    return conform_send(c, &req, ret, r);
}

/* "loading, transformer, 40 %": what the body says, for people. */
static void reason_of(struct arena *a, const struct http_reply *reply, char ret[REASON_SIZE])
{
    const struct json *root = NULL;
    const char *status, *why;
    int64_t percent;

    if (json_parse(a, reply->body, DEPTH_MAX, &root, NULL))
        root = NULL;
    status = json_text(json_get(root, "status"));
    why = json_text(json_get(root, "reason"));
    if (!*why)
        why = json_text(json_get(root, "stage"));
    if (json_integer(json_get(root, "progress"), &percent))
        (void)snprintf(ret, REASON_SIZE, "%s, %s, %d %%", status, why, (int)percent);
    else
        (void)snprintf(ret, REASON_SIZE, "%s%s%s", *status ? status : "without a reason", *why ? ": " : "", why);
    conform_show(ret);
}

/* As conform_expect(), whose words are about pushes: of a probe its own body says more. */
static bool expect(const struct conform *c, const struct conform_check *k, const struct http_reply *reply,
                   struct conform_result *r)
{
    char reason[REASON_SIZE];

    if (conform_expect(reply, k->status, r))
        return true;
    if (answer_judge(reply).by != ANSWER_BY_WORKER || reply->status < 400)
        return false;
    reason_of(c->arena, reply, reason);
    if (reply->status == 401 || reply->status == 403)
        conform_fail(r, "a worker answers no probe so: what stands before it wants a token, or a better one");
    else
        conform_fail(r, "it says: %s", reason);
    return false;
}

static void run_status(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    struct http_reply reply;

    if (ask(c, k->method, k->path, CONFORM_CALL_MS, &reply, r))
        (void)expect(c, k, &reply, r);
}

/* ---- waiting ---- */

static void say_waiting(const struct conform *c, const char *path, int status, const char *reason, int64_t ms)
{
    char line[REASON_SIZE + 100];

    (void)snprintf(line, sizeof line, "GET %s: %d (%s); %lld of %lld s", path, status, reason, (long long)(ms / 1000),
                   (long long)(c->timeout_ms / 1000));
    if (c->say)
        c->say(line);
}

/* Whether it is worth asking again: the worker's own 503, and Cloud Run's while it starts one. */
static bool may_become_ready(const struct http_reply *reply)
{
    const enum answer_by by = answer_judge(reply).by;

    return (by == ANSWER_BY_WORKER && reply->status == 503) ||
           (by == ANSWER_BY_CLOUD_RUN && http_status_is_transient(reply->status));
}

/*
 * Asks until the answer is one that stays, or the time is over: then it is failed, and says why. A service that has no
 * instance starts one at the first request, and Cloud Run lets that wait, or turns it away for a while.
 */
static bool ask_patiently(struct conform *c, const struct conform_check *k, int64_t timeout_ms, struct http_reply *ret,
                          struct conform_result *r)
{
    const int64_t began = sys_mono_ms(c->sys);
    const struct arena_mark mark = arena_mark(c->arena);
    int64_t said = began - SAY_EVERY_MS, now;
    char reason[REASON_SIZE];

    for (;;) {
        if (!ask(c, k->method, k->path, timeout_ms, ret, r))
            return false;
        if (!may_become_ready(ret))
            return true;
        now = sys_mono_ms(c->sys);
        reason_of(c->arena, ret, reason);
        if (now - began >= c->timeout_ms)
            break;
        if (now - said >= SAY_EVERY_MS) {
            say_waiting(c, k->path, ret->status, reason, now - began);
            said = now;
        }
        arena_rewind(c->arena, mark);
        sys_sleep_ms(c->sys, READY_EVERY_MS);
    }
    (void)snprintf(r->got, sizeof r->got, "%d", ret->status);
    conform_fail(r, "not ready after %lld s: %s", (long long)((now - began) / 1000), reason);
    return false;
}

/* ---- name and readiness ---- */

static void judge_about(struct conform *c, const struct http_reply *reply, struct conform_result *r)
{
    const struct json *root = NULL;
    const char *name, *version;

    if (json_parse(c->arena, reply->body, DEPTH_MAX, &root, NULL))
        root = NULL;
    name = json_text(json_get(root, "name"));
    version = json_text(json_get(root, "version"));
    if (strcmp(name, "inpaint-worker") != 0) {
        conform_fail(r, "the answer does not name inpaint-worker: this is another program");
        return;
    }
    (void)snprintf(c->version, sizeof c->version, "%s", version);
    (void)snprintf(r->got, sizeof r->got, "200, %s %.100s", name, version);
    if (!*version)
        conform_fail(r, "the answer has no version");
    else if (c->expected_version && !strstr(version, c->expected_version))
        conform_fail(r, "another version than --expect-version '%.100s'", c->expected_version);
}

static void run_about(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    struct http_reply reply = { 0 };

    if (c->say && strncmp(c->base, "https:", 6) == 0)
        c->say("GET /: Cloud Run may let the first answer wait until an instance has started");
    if (!ask_patiently(c, k, c->timeout_ms, &reply, r))
        c->unreachable = !reply.status;
    else if (expect(c, k, &reply, r))
        judge_about(c, &reply, r);
}

static void run_ready(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    struct http_reply reply;

    c->not_ready = !ask_patiently(c, k, CONFORM_CALL_MS, &reply, r) || !expect(c, k, &reply, r);
}

/* ---- the rest ---- */

/* A proxy may well keep the metrics from the world. */
static void run_metrics(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    struct http_reply reply;

    if (!ask(c, k->method, k->path, CONFORM_CALL_MS, &reply, r))
        return;
    (void)snprintf(r->got, sizeof r->got, "%d", reply.status);
    if (reply.status == 401 || reply.status == 403 ||
        (reply.status == 404 && answer_judge(&reply).by != ANSWER_BY_WORKER))
        conform_note(r, "not reachable from here, which is as good");
    else if (expect(c, k, &reply, r) && !memmem(reply.body.ptr, reply.body.len, "inpaint_pushes_total", 20))
        conform_fail(r, "the page lacks inpaint_pushes_total");
}

static void run_method(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    struct http_reply reply;
    const char *allow;

    if (!ask(c, k->method, k->path, CONFORM_CALL_MS, &reply, r) || !expect(c, k, &reply, r))
        return;
    allow = http_reply_header(&reply, "allow");
    if (!allow || !strstr(allow, k->text))
        conform_fail(r, allow ? "its header Allow is '%.100s'" : "it has no header Allow%s", allow ? allow : "");
}

static const struct conform_check checks[] = {
    { "about", "GET /", "200, which names the program and its version", CONFORM_NOTHING, run_about, "GET", "/",
      .status = 200 },
    { "about-head", "HEAD /", "200", CONFORM_NOTHING, run_status, "HEAD", "/", .status = 200 },
    { "health", "GET /health", "200", CONFORM_NOTHING, run_status, "GET", "/health", .status = 200 },
    { "ready", "GET /ready until it is ready", "200", CONFORM_NOTHING, run_ready, "GET", "/ready", .status = 200 },
    { "metrics", "GET /metrics", "200, in Prometheus text, or not reachable", CONFORM_NOTHING, run_metrics, "GET",
      "/metrics", .status = 200 },
    { "path", "GET /conform-no-such-path", "404", CONFORM_NOTHING, run_status, "GET", "/conform-no-such-path",
      .status = 404 },
    { "method-push", "PUT /inpaint", "405 with Allow: POST", CONFORM_NOTHING, run_method, "PUT", "/inpaint", "POST",
      405 },
    { "method-probe", "DELETE /ready", "405 with Allow: GET", CONFORM_NOTHING, run_method, "DELETE", "/ready", "GET",
      405 },
};

const struct conform_table conform_probes = { checks, CONFORM_COUNT(checks) };
