/*
 * Pushes that can never be a job, with a good token. All are answered alike: 204 with POISON=ack, 400 with POISON=nack.
 * No job begins, whatever they hold.
 */
#include <stdio.h>

#include "worker/base/rfc3339.h"
#include "worker/remote/answer.h"
#include "worker/remote/conform_check.h"
#include "worker/remote/message.h"

enum { DEEP = 100000, LARGE_BYTES = (1 << 20) + (64 << 10) };

#define EXPECTED "204 (POISON=ack) or 400 (POISON=nack)"
/* {"userId":"conform","sessionId":"conform-x"}, but for the last characters of its base64: 0= */
#define PART     "eyJ1c2VySWQiOiJjb25mb3JtIiwic2Vzc2lvbklkIjoiY29uZm9ybS14In"

static void judge(struct conform *c, const struct http_reply *reply, struct conform_result *r)
{
    const struct answer answer = answer_judge(reply);

    (void)snprintf(r->got, sizeof r->got, "%d", reply->status);
    if (answer.by == ANSWER_BY_WORKER && reply->status == 404)
        conform_fail(r, "it was read as a good message, about a session that does not exist");
    else if (answer.by != ANSWER_BY_WORKER || (reply->status != 204 && reply->status != 400))
        conform_fail(r, "%s", answer.words);
    else if (c->poison_status && c->poison_status != reply->status)
        conform_fail(r, "other poison was answered with %d", c->poison_status);
    else
        c->poison_status = reply->status;
}

static void send(struct conform *c, struct span body, struct conform_result *r)
{
    struct http_request req;
    struct http_reply reply;
    struct err err = { 0 };

    if (conform_request(c, "POST", "/inpaint", c->arena, &req, &err)) {
        conform_broken(r, &err);
        return;
    }
    http_request_header(&req, "Authorization", c->authorization);
    req.body = body;
    if (conform_send(c, &req, &reply, r))
        judge(c, &reply, r);
}

/* k->text is the body. */
static void run_body(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    send(c, span_of(k->text), r);
}

/*
 * An envelope with `data` as JSON, and `tail` behind it. The data that a check damages is a message about a session
 * that does not exist: whoever reads it all the same looks for that, and answers 404.
 */
static void send_envelope(struct conform *c, const char *data, const char *tail, struct conform_result *r)
{
    char at[RFC3339_SIZE], *body = NULL, *subscription = "";
    const char *id;
    struct err err = { 0 };

    rfc3339_format(sys_wall_us(c->sys), at);
    if (message_new_id(CONFORM_PREFIX, c->sys, c->arena, &id, &err) ||
        (*c->subscription &&
         arena_printf(c->arena, &subscription, &err, ",\"subscription\":\"%s\"", c->subscription)) ||
        arena_printf(c->arena, &body, &err,
                     "{\"message\":{\"data\":%s,\"messageId\":\"%s\",\"publishTime\":\"%s\",\"attributes\":{\"%s\":"
                     "\"1\"}}%s}%s",
                     data, id, at, CONFORM_ATTRIBUTE, subscription, tail))
        conform_broken(r, &err);
    else
        send(c, span_of(body), r);
}

static void run_data(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    send_envelope(c, k->text, "", r);
}

static void run_tail(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    send_envelope(c, k->text, "x", r);
}

/* k->text is the payload, in an envelope that is right. */
static void run_payload(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    struct message m = { .data = span_of(k->text),
                         .attributes = SPAN("{\"" CONFORM_ATTRIBUTE "\":\"1\"}"),
                         .published_us = sys_wall_us(c->sys),
                         .subscription = c->subscription };
    struct err err = { 0 };
    char *body;

    if (message_new_id(CONFORM_PREFIX, c->sys, c->arena, &m.id, &err) || message_wrap(&m, c->arena, &body, &err))
        conform_broken(r, &err);
    else
        send(c, span_of(body), r);
}

static void run_filled(struct conform *c, char with, size_t n, struct conform_result *r)
{
    struct err err = { 0 };
    char *body;

    if (conform_fill(c->arena, with, n, &body, &err))
        conform_broken(r, &err);
    else
        send(c, (struct span){ body, n }, r);
}

static void run_deep(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    (void)k;
    run_filled(c, '[', DEEP, r);
}

static void run_large(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    (void)k;
    run_filled(c, ' ', LARGE_BYTES, r);
}

#define ROW(name, sent, run, body) { "poison-" name, sent, EXPECTED, CONFORM_POISON, run, .text = (body) }

static const struct conform_check checks[] = {
    ROW("empty", "an empty body", run_body, ""),
    ROW("null", "the body null", run_body, "null"),
    ROW("list", "the body []", run_body, "[]"),
    ROW("no-json", "a body that is not JSON", run_body, "{"),
    ROW("no-message", "the body {}", run_body, "{}"),
    ROW("tail", "an envelope with text behind it", run_tail, "\"" PART "0=\""),
    ROW("no-data", "an envelope with data null", run_data, "null"),
    ROW("base64", "data that is not base64", run_data, "\"*\""),
    ROW("base64-padding", "base64 without its padding", run_data, "\"" PART "0\""),
    ROW("base64-bits", "base64 with bits behind its end", run_data, "\"" PART "1=\""),
    ROW("twice", "an envelope with the member data twice", run_data, "\"" PART "0=\",\"data\":\"" PART "0=\""),
    ROW("deep", "100000 brackets", run_deep, NULL),
    ROW("large", "a body of 1.1 MB", run_large, NULL),
    ROW("no-ids", "a payload without ids", run_payload, "{\"hello\":\"world\"}"),
    ROW("id-up", "the session id ../x", run_payload, "{\"userId\":\"conform\",\"sessionId\":\"../x\"}"),
    ROW("id-slash", "the session id a/b", run_payload, "{\"userId\":\"conform\",\"sessionId\":\"a/b\"}"),
    ROW("id-encoded", "the session id a%2Fb", run_payload, "{\"userId\":\"conform\",\"sessionId\":\"a%2Fb\"}"),
    ROW("id-dot", "the session id .", run_payload, "{\"userId\":\"conform\",\"sessionId\":\".\"}"),
    ROW("id-reserved", "the session id __x__", run_payload, "{\"userId\":\"conform\",\"sessionId\":\"__x__\"}"),
    ROW("id-empty", "an empty session id", run_payload, "{\"userId\":\"conform\",\"sessionId\":\"\"}"),
};

const struct conform_table conform_poisons = { checks, CONFORM_COUNT(checks) };
