#include "worker/remote/conform_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "worker/remote/answer.h"
#include "worker/remote/message.h"

/* ---- sending ---- */

enum err_code conform_request(const struct conform *c, const char *method, const char *path, struct arena *a,
                              struct http_request *ret, struct err *err)
{
    char *url;

    TRY(arena_printf(a, &url, err, "%s%s", c->base, path));
    *ret = (struct http_request){ .method = method,
                                  .url = url,
                                  .timeout_ms = CONFORM_CALL_MS,
                                  .max_reply_bytes = CONFORM_REPLY_MAX,
                                  .allow_plain = true /* remote_check_url has looked */ };
    http_request_header(ret, "User-Agent", CONFORM_AGENT);
    if (strcmp(method, "POST") == 0)
        http_request_header(ret, "Content-Type", "application/json");
    for (int i = 0; i < c->n_headers; i++)
        http_request_header(ret, c->headers[i].name, c->headers[i].value);
    return ERR_OK;
}

enum err_code conform_push(const struct conform *c, const char *user, const char *session, int64_t age_s,
                           struct arena *a, struct http_request *ret, struct err *err)
{
    struct message m = { .attributes = SPAN("{\"" CONFORM_ATTRIBUTE "\":\"1\"}"),
                         .published_us = sys_wall_us(c->sys) - age_s * 1000000,
                         .subscription = c->subscription };
    char *payload, *body;

    TRY(message_new_id(CONFORM_PREFIX, c->sys, a, &m.id, err));
    TRY(message_payload(user ? user : m.id, session ? session : m.id, a, &payload, err));
    m.data = span_of(payload);
    TRY(message_wrap(&m, a, &body, err));
    TRY(conform_request(c, "POST", "/inpaint", a, ret, err));
    ret->body = span_of(body);
    return ERR_OK;
}

enum err_code conform_fill(struct arena *a, char with, size_t n, char **ret, struct err *err)
{
    TRY(arena_alloc(a, n + 1, 1, ret, err));
    memset(*ret, with, n);
    return ERR_OK;
}

bool conform_send(const struct conform *c, const struct http_request *req, struct http_reply *ret,
                  struct conform_result *r)
{
    struct err err = { 0 };

    if (http_send(c->http, req, c->arena, ret, &err) == ERR_OK)
        return true;
    *ret = (struct http_reply){ 0 }; /* not the part that came */
    (void)snprintf(r->got, sizeof r->got, "no answer");
    conform_fail(r, "%s", err.msg);
    return false;
}

void conform_show(char *text)
{
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || (unsigned char)*p >= 0x7F)
            *p = '?';
}

/* ---- judging ---- */

static void set_note(struct conform_result *r, const char *fmt, va_list args)
{
    (void)vsnprintf(r->note, sizeof r->note, fmt, args);
}

void conform_fail(struct conform_result *r, const char *fmt, ...)
{
    va_list args;

    r->verdict = CONFORM_FAILED;
    va_start(args, fmt);
    set_note(r, fmt, args);
    va_end(args);
}

void conform_note(struct conform_result *r, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    set_note(r, fmt, args);
    va_end(args);
}

void conform_broken(struct conform_result *r, const struct err *err)
{
    (void)snprintf(r->got, sizeof r->got, "nothing was sent");
    conform_fail(r, "%s", err->msg);
}

bool conform_expect(const struct http_reply *reply, int status, struct conform_result *r)
{
    const struct answer answer = answer_judge(reply);

    (void)snprintf(r->got, sizeof r->got, "%d", reply->status);
    if (reply->status == status && answer.by == ANSWER_BY_WORKER)
        return true;
    conform_fail(r, "%s", answer.words);
    return false;
}

void conform_expect_refusal(const struct http_reply *reply, struct conform_result *r)
{
    const struct answer answer = answer_judge(reply);
    const char *challenge = http_reply_header(reply, "www-authenticate");

    (void)snprintf(r->got, sizeof r->got, "%d", reply->status);
    if (answer.by == ANSWER_BY_IAM)
        conform_note(r, "refused by Cloud Run's IAM check, so the worker has not seen it");
    else if (answer.by != ANSWER_BY_WORKER && (reply->status == 400 || reply->status == 413))
        conform_note(r, "refused as a request by what stands before the worker, so the worker has not seen it");
    else if (answer_is_ack(reply->status) || (answer.by == ANSWER_BY_WORKER && reply->status == 404))
        conform_fail(r, "accepted: whoever sends this may push (is it PUSH_AUTH=none, or another program?)");
    else if (reply->status != 401 || answer.by != ANSWER_BY_WORKER)
        conform_fail(r, "%s", answer.words);
    else if (!challenge || strncmp(challenge, "Bearer", 6) != 0)
        conform_fail(r, "the 401 has no header WWW-Authenticate: Bearer");
}
