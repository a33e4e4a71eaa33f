#include "test/support/fake/script.h"

#include <stdio.h>
#include <stdlib.h>

#include "test/support/check.h"

static int64_t wall_us(void *ctx)
{
    struct script *s = ctx;
    int64_t now;

    (void)pthread_mutex_lock(&s->lock);
    now = s->wall_us;
    (void)pthread_mutex_unlock(&s->lock);
    return now;
}

static int64_t mono_ms(void *ctx)
{
    struct script *s = ctx;
    int64_t now;

    (void)pthread_mutex_lock(&s->lock);
    now = s->mono_ms;
    (void)pthread_mutex_unlock(&s->lock);
    return now;
}

static void pass(struct script *s, int64_t ms)
{
    s->mono_ms += ms;
    s->wall_us += ms * 1000;
}

void script_pass(struct script *s, int64_t ms)
{
    (void)pthread_mutex_lock(&s->lock);
    pass(s, ms);
    (void)pthread_mutex_unlock(&s->lock);
}

static void sleep_ms(void *ctx, int64_t ms)
{
    struct script *s = ctx;

    script_pass(s, ms);
    s->slept_ms += ms;
}

/* splitmix64: different every time, the same in every run. */
static void random_bytes(void *ctx, void *buf, size_t n)
{
    struct script *s = ctx;
    unsigned char *p = buf;

    for (size_t i = 0; i < n; i++) {
        uint64_t z = s->random += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        p[i] = (unsigned char)(z >> 56);
    }
}

static struct span copy_of(struct span s)
{
    char *bytes = malloc(s.len + 1);

    CHECK(bytes);
    if (s.len)
        memcpy(bytes, s.ptr, s.len);
    bytes[s.len] = 0;
    return (struct span){ bytes, s.len };
}

static const struct script_request *record(struct script *s, const struct http_request *req)
{
    struct script_request *r;
    size_t at = 0;

    CHECK(s->n_requests < SCRIPT_MAX);
    r = &s->requests[s->n_requests++];
    (void)snprintf(r->method, sizeof r->method, "%s", req->method);
    (void)snprintf(r->url, sizeof r->url, "%s", req->url);
    for (int i = 0; i < req->n_headers; i++)
        at += (size_t)snprintf(r->header_text + at, sizeof r->header_text - at, "%s: %s\n", req->headers[i].name,
                               req->headers[i].value);
    r->body = copy_of(req->body);
    r->at_mono_ms = s->mono_ms;
    r->timeout_ms = req->timeout_ms;
    r->low_speed_ms = req->low_speed_ms;
    r->has_budget = req->budget;
    return r;
}

/* The body of a reply, handed over in pieces as one from the network is. */
static void hand_over(struct script_reply *from, const struct http_request *req)
{
    enum { PIECE = 100000 };
    size_t n;

    for (size_t at = 0; at < from->body.len; at += n) {
        n = from->body.len - at < PIECE ? from->body.len - at : PIECE;
        if (at + n > req->max_reply_bytes || !req->take(req->take_ctx, from->status, from->body.ptr + at, n)) {
            from->rc = ERR_TOO_LARGE;
            break;
        }
    }
    from->body = (struct span){ 0 };
}

static enum err_code give(const struct script_reply *from, struct arena *a, struct http_reply *ret, struct err *err)
{
    char *body;

    *ret = (struct http_reply){ .status = from->status };
    if (span_dup(a, from->body, &body, err))
        return ERR_NOMEM;
    ret->body = (struct span){ body, from->body.len };
    for (int i = 0; i < 6 && from->headers[i].name; i++)
        ret->headers[ret->n_headers++] = from->headers[i];
    return from->rc ? err_set(err, from->rc, "scripted: %s", from->why ? from->why : err_name(from->rc)) : ERR_OK;
}

static enum err_code send_scripted(void *ctx, const struct http_request *req, struct arena *a, struct http_reply *ret,
                                   struct err *err)
{
    struct script *s = ctx;
    const struct script_request *recorded;
    struct script_reply reply = { .rc = ERR_UNAVAILABLE };

    if (strncmp(req->url, "https://", 8) != 0 && !req->allow_plain)
        return err_set(err, ERR_INVALID, "scripted: plain http");
    (void)pthread_mutex_lock(&s->lock);
    recorded = record(s, req);
    (void)pthread_mutex_unlock(&s->lock);
    if (s->handle)
        reply = s->handle(s->handle_ctx, recorded);
    (void)pthread_mutex_lock(&s->lock);
    if (!s->handle && s->next_reply < s->n_replies)
        reply = s->replies[s->next_reply++];
    pass(s, reply.takes_ms);
    (void)pthread_mutex_unlock(&s->lock);
    if (req->take && (reply.status == 200 || reply.status == 206))
        hand_over(&reply, req);
    if (!reply.rc && reply.body.len > req->max_reply_bytes)
        reply.rc = ERR_TOO_LARGE;
    return give(&reply, a, ret, err);
}

void script_init(struct script *s)
{
    *s = (struct script){ .wall_us = INT64_C(1700000100) * 1000000, .mono_ms = 5000 };
    s->http = (struct http){ s, send_scripted };
    s->sys = (struct sys){ s, wall_us, mono_ms, sleep_ms, random_bytes };
    s->budget = (struct budget){ .sys = &s->sys, .deadline_mono_ms = s->mono_ms + 600000 };
    (void)pthread_mutex_init(&s->lock, NULL);
}

void script_done(struct script *s)
{
    for (int i = 0; i < s->n_requests; i++)
        free((void *)(uintptr_t)s->requests[i].body.ptr);
    (void)pthread_mutex_destroy(&s->lock);
    s->n_requests = 0;
}

void script_will(struct script *s, struct script_reply reply)
{
    CHECK(s->n_replies < SCRIPT_MAX);
    s->replies[s->n_replies++] = reply;
}

bool script_sent_header(const struct script *s, int request, const char *line)
{
    const char *text, *at;

    CHECK(request < s->n_requests);
    text = s->requests[request].header_text;
    at = strstr(text, line);
    return at && (at == text || at[-1] == '\n') && at[strlen(line)] == '\n';
}
