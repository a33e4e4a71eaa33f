/* Pushes without a good token: each must be refused, before its body is read. Nobody's session is named in them. */
#include <stdio.h>
#include <string.h>

#include "kernels/base/base64.h"
#include "worker/base/json.h"
#include "worker/remote/conform_check.h"

enum {
    HUGE_BYTES = 8000000,
    BIG_HEADER_BYTES = 40 << 10 /* of two */,
    SIGNATURE_CHARACTERS = 342 /* of 2048 bits */,
    HOUR_S = 3600
};

/* A push that would harm nothing if it were accepted: of an hour ago, about a session that does not exist. */
static enum err_code harmless(const struct conform *c, struct http_request *ret, struct err *err)
{
    return conform_push(c, NULL, NULL, HOUR_S, c->arena, ret, err);
}

static void refuse(struct conform *c, const struct http_request *req, struct conform_result *r)
{
    struct http_reply reply;

    if (conform_send(c, req, &reply, r))
        conform_expect_refusal(&reply, r);
}

/* k->text: the value of the header Authorization; NULL: none. */
static void run_header(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    struct http_request req;
    struct err err = { 0 };

    if (harmless(c, &req, &err)) {
        conform_broken(r, &err);
        return;
    }
    if (k->text)
        http_request_header(&req, "Authorization", k->text);
    refuse(c, &req, r);
}

static void run_query(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    struct http_request req;
    struct err err = { 0 };
    char *url = NULL;

    if (harmless(c, &req, &err) || arena_printf(c->arena, &url, &err, "%s%s", req.url, k->text)) {
        conform_broken(r, &err);
        return;
    }
    req.url = url;
    refuse(c, &req, r);
}

/* ---- forged tokens ---- */

static enum err_code encode(struct arena *a, const struct json *root, char **ret, struct err *err)
{
    char *text;
    size_t size;

    TRY(json_print(a, root, &text, err));
    size = BASE64_ENCODED_SIZE(strlen(text));
    TRY(arena_alloc(a, size, 1, ret, err));
    return base64_encode(span_of(text), BASE64_URL | BASE64_NO_PADDING, *ret, size, NULL, err);
}

/* A token as Google makes it, but for its signature, which has no key. */
static enum err_code forge(const struct conform *c, const char *algorithm, int64_t age_s, int signature_characters,
                           char **ret, struct err *err)
{
    struct json *header = json_new_object(c->arena), *claims = json_new_object(c->arena);
    const int64_t now = sys_wall_us(c->sys) / 1000000;
    char *audience, *head, *body, signature[SIGNATURE_CHARACTERS + 1];

    TRY(arena_printf(c->arena, &audience, err, "%s/inpaint", c->base));
    json_add_string(header, "alg", algorithm);
    json_add_string(header, "kid", "conform");
    json_add_string(header, "typ", "JWT");
    json_add_string(claims, "iss", "https://accounts.google.com");
    json_add_string(claims, "aud", audience);
    json_add_string(claims, "email", "conform@example.iam.gserviceaccount.com");
    json_add_bool(claims, "email_verified", true);
    json_add_int(claims, "iat", now - age_s);
    json_add_int(claims, "exp", now - age_s + HOUR_S);
    TRY(encode(c->arena, header, &head, err));
    TRY(encode(c->arena, claims, &body, err));
    memset(signature, 'A', sizeof signature);
    return arena_printf(c->arena, ret, err, "Bearer %s.%s.%.*s", head, body, signature_characters, signature);
}

static void send_forged(struct conform *c, const char *algorithm, int64_t age_s, int signature_characters, int times,
                        struct conform_result *r)
{
    struct http_request req;
    struct err err = { 0 };
    char *value = NULL;

    if (harmless(c, &req, &err) || forge(c, algorithm, age_s, signature_characters, &value, &err)) {
        conform_broken(r, &err);
        return;
    }
    for (int i = 0; i < times; i++)
        http_request_header(&req, "Authorization", value);
    refuse(c, &req, r);
}

static void run_unsigned(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    send_forged(c, k->text, 0, 0, 1, r);
}

static void run_hmac(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    send_forged(c, k->text, 0, 43, 1, r); /* 256 bits */
}

static void run_forged(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    send_forged(c, k->text, 0, SIGNATURE_CHARACTERS, 1, r);
}

static void run_expired(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    send_forged(c, k->text, 2 * HOUR_S, SIGNATURE_CHARACTERS, 1, r);
}

static void run_two_headers(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    send_forged(c, k->text, 0, SIGNATURE_CHARACTERS, 2, r);
}

/* ---- much of it ---- */

static void run_huge(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    struct http_request req;
    struct http_reply reply;
    struct err err = { 0 };
    char *body = NULL;

    if (conform_request(c, k->method, k->path, c->arena, &req, &err) ||
        conform_fill(c->arena, ' ', HUGE_BYTES, &body, &err)) {
        conform_broken(r, &err);
        return;
    }
    req.body = (struct span){ body, HUGE_BYTES };
    if (!conform_send(c, &req, &reply, r))
        return;
    conform_expect_refusal(&reply, r);
    if (r->verdict == CONFORM_OK && reply.sent_bytes == HUGE_BYTES)
        conform_note(r, "after all of it: what stands before the worker has taken it");
    else if (r->verdict == CONFORM_OK && !*r->note)
        conform_note(r, "after %.1f of %.1f MB", 1e-6 * (double)reply.sent_bytes, 1e-6 * HUGE_BYTES);
}

/* The connection was closed, or the worker has died of it: which one the next request shows. */
static void judge_closed(struct conform *c, const struct conform_check *k, const struct err *why, int64_t ms,
                         struct conform_result *r)
{
    struct http_request req;
    struct http_reply reply;
    struct err err = { 0 };

    (void)snprintf(r->got, sizeof r->got, "no answer");
    if (why->code != ERR_UNKNOWN_OUTCOME || ms >= CONFORM_CALL_MS)
        conform_fail(r, "%s", why->msg);
    else if (conform_request(c, k->method, k->path, c->arena, &req, &err))
        conform_broken(r, &err);
    else if (conform_send(c, &req, &reply, r))
        (void)snprintf(r->got, sizeof r->got, "the connection was closed");
}

/* Google's front end has a limit of its own, below the worker's. */
static void run_big_header(struct conform *c, const struct conform_check *k, struct conform_result *r)
{
    const int64_t began = sys_mono_ms(c->sys);
    struct http_request req;
    struct http_reply reply;
    struct err err = { 0 };
    char *value = NULL;

    if (conform_request(c, k->method, k->path, c->arena, &req, &err) ||
        conform_fill(c->arena, 'x', BIG_HEADER_BYTES, &value, &err)) {
        conform_broken(r, &err);
        return;
    }
    http_request_header(&req, "X-Conform", value);
    http_request_header(&req, "X-Conform-More", value);
    if (http_send(c->http, &req, c->arena, &reply, &err)) {
        judge_closed(c, k, &err, sys_mono_ms(c->sys) - began, r);
        return;
    }
    (void)snprintf(r->got, sizeof r->got, "%d", reply.status);
    if (reply.status != 400 && reply.status != 413 && reply.status != 431)
        conform_fail(r, "headers of 80 KB were not refused as such");
}

#define NONE "401 (403 from Cloud Run's IAM check)"

static const struct conform_check checks[] = {
    { "token-none", "POST /inpaint without a token", NONE, CONFORM_NOTHING, .run = run_header },
    { "token-basic", "POST /inpaint with Authorization: Basic", NONE, CONFORM_NOTHING, .run = run_header,
      .text = "Basic dTpw" },
    { "token-malformed", "POST /inpaint with a token that is no JWT", NONE, CONFORM_NOTHING, .run = run_header,
      .text = "Bearer conform" },
    { "token-query", "POST /inpaint with a token in the query", NONE, CONFORM_NOTHING, .run = run_query,
      .text = "?access_token=conform" },
    { "token-alg-none", "POST /inpaint with a token of alg none", NONE, CONFORM_NOTHING, .run = run_unsigned,
      .text = "none" },
    { "token-hs256", "POST /inpaint with a token of alg HS256", NONE, CONFORM_NOTHING, .run = run_hmac,
      .text = "HS256" },
    { "token-signature", "POST /inpaint with a token that Google has not signed", NONE, CONFORM_NOTHING,
      .run = run_forged, .text = "RS256" },
    { "token-expired", "POST /inpaint with an expired token that Google has not signed", NONE, CONFORM_NOTHING,
      run_expired, .text = "RS256" },
    { "token-headers", "POST /inpaint with two Authorization headers", NONE, CONFORM_NOTHING, .run = run_two_headers,
      .text = "RS256" },
    { "body-huge", "POST /inpaint with 8 MB and without a token", NONE, CONFORM_NOTHING, .run = run_huge,
      .method = "POST", .path = "/inpaint" },
    { "headers-big", "GET /health with headers of 80 KB", "431, 413, 400 or a closed connection", CONFORM_NOTHING,
      .run = run_big_header, .method = "GET", .path = "/health" },
};

const struct conform_table conform_refusals = { checks, CONFORM_COUNT(checks) };
