/*
 * Pushes with the caller's token. All but the damaged ones are about a session that does not exist, of which a worker
 * writes nothing: a young message comes again (404), an old one is dropped (204).
 */
#include <stdio.h>
#include <string.h>

#include "worker/remote/answer.h"
#include "worker/remote/conform_check.h"

enum { HOUR_S = 3600 };

/* A push about nobody's session, with the token. */
static enum err_code push_of(const struct conform *c, int64_t age_s, struct http_request *ret, struct err *err)
{
    TRY(conform_push(c, NULL, NULL, age_s, c->arena, ret, err));
    http_request_header(ret, "Authorization", c->authorization);
    return ERR_OK;
}

/* ---- sessions that do not exist ---- */

static void judge_young(struct conform *c, const struct http_reply *reply, struct conform_result *r)
{
    const struct answer answer = answer_judge(reply);

    if (conform_expect(reply, 404, r))
        return;
    if (reply->status == 401 || reply->status == 403) {
        c->token_refused = true;
        if (answer.by == ANSWER_BY_WORKER && reply->status == 401)
            conform_fail(r, "the token is not accepted: is it fresh, is its audience one of PUSH_AUDIENCE, and was it "
                            "made with --include-email? The worker's line 'push refused' says what it wants");
    } else if ((reply->status == 204 || reply->status == 400) && answer.by == ANSWER_BY_WORKER) {
        c->misdirected = true;
        conform_fail(r, "taken for poison, or for an old message: %s; and is this machine's clock right?",
                     *c->subscription ? "is --subscription the worker's PUBSUB_SUBSCRIPTION"
                                      : "where the worker has PUBSUB_SUBSCRIPTION, give --subscription");
    }
}

static void run_young(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    struct http_request req;
    struct http_reply reply;
    struct err err = { 0 };

    (void)k;
    if (push_of(c, 0, &req, &err))
        conform_broken(r, &err);
    else if (conform_send(c, &req, &reply, r))
        judge_young(c, &reply, r);
}

static void send_old(struct conform *c, bool chunked, int times, struct conform_result *r)
{
    struct http_request req;
    struct http_reply reply;
    struct err err = { 0 };

    if (push_of(c, HOUR_S, &req, &err)) {
        conform_broken(r, &err);
        return;
    }
    req.chunked = chunked;
    for (int i = 0; i < times; i++)
        if (!conform_send(c, &req, &reply, r) || !conform_expect(&reply, 204, r))
            return;
}

static void run_old(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    (void)k;
    send_old(c, false, 1, r);
}

static void run_twice(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    (void)k;
    send_old(c, false, 2, r);
}

static void run_chunked(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    (void)k;
    send_old(c, true, 1, r);
}

/* ---- the token, damaged ---- */

/* A copy in which one character in the middle of the part behind so many dots is another one. */
static enum err_code damaged(const struct conform *c, int dots, char **ret, struct err *err)
{
    char *part;
    size_t n;

    TRY(span_dup(c->arena, span_of(c->authorization), ret, err));
    part = *ret + strlen("Bearer ");
    for (int i = 0; i < dots; i++)
        part += strcspn(part, ".") + (part[strcspn(part, ".")] == '.');
    n = strcspn(part, ".");
    if (n < 2)
        return err_set(err, ERR_INVALID, "the token is no JWT: it has no three parts with dots between them");
    part += n / 2;
    *part = *part == 'A' ? 'B' : 'A';
    return ERR_OK;
}

static void send_damaged(struct conform *c, int dots, struct conform_result *r)
{
    struct http_request req;
    struct http_reply reply;
    struct err err = { 0 };
    char *value;

    if (conform_push(c, NULL, NULL, HOUR_S, c->arena, &req, &err) || damaged(c, dots, &value, &err)) {
        conform_broken(r, &err);
        return;
    }
    http_request_header(&req, "Authorization", value);
    if (conform_send(c, &req, &reply, r))
        conform_expect_refusal(&reply, r);
}

static void run_damaged_claims(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    (void)k;
    send_damaged(c, 1, r);
}

static void run_damaged_signature(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    (void)k;
    send_damaged(c, 2, r);
}

static void run_token_twice(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    struct http_request req;
    struct http_reply reply;
    struct err err = { 0 };

    (void)k;
    if (push_of(c, HOUR_S, &req, &err)) {
        conform_broken(r, &err);
        return;
    }
    http_request_header(&req, "Authorization", c->authorization);
    if (conform_send(c, &req, &reply, r))
        conform_expect_refusal(&reply, r);
}

static const struct conform_check checks[] = {
    { "unknown-young", "a fresh message about a session that does not exist", "404", CONFORM_TOKEN, .run = run_young },
    { "unknown-old", "the same, an hour old", "204", CONFORM_TOKEN, .run = run_old },
    { "unknown-twice", "such a message twice", "204, 204", CONFORM_TOKEN, .run = run_twice },
    { "chunked", "such a message in chunks", "204", CONFORM_TOKEN, .run = run_chunked },
    { "own-claims", "the caller's token with a changed claim", "401", CONFORM_TOKEN, .run = run_damaged_claims },
    { "own-signature", "the caller's token with a changed signature", "401", CONFORM_TOKEN,
      .run = run_damaged_signature },
    { "own-headers", "the caller's token in two headers", "401", CONFORM_TOKEN, .run = run_token_twice },
};

const struct conform_table conform_pushes = { checks, CONFORM_COUNT(checks) };
