#include "test/support/fake/fake_cloud.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/base64.h"
#include "kernels/base/crc32c.h"
#include "test/support/check.h"

/* ---- the clock ---- */

static int64_t wall_us(void *ctx)
{
    struct fake_cloud *c = ctx;
    int64_t now;

    (void)pthread_mutex_lock(&c->clock_lock);
    now = sys_wall_us(&c->clock.sys);
    (void)pthread_mutex_unlock(&c->clock_lock);
    return now;
}

static int64_t mono_ms(void *ctx)
{
    struct fake_cloud *c = ctx;
    int64_t now;

    if (c->on_clock)
        c->on_clock(c->ctx);
    (void)pthread_mutex_lock(&c->clock_lock);
    now = sys_mono_ms(&c->clock.sys);
    (void)pthread_mutex_unlock(&c->clock_lock);
    return now;
}

static void sleep_ms(void *ctx, int64_t ms)
{
    struct fake_cloud *c = ctx;

    (void)pthread_mutex_lock(&c->clock_lock);
    sys_sleep_ms(&c->clock.sys, ms);
    (void)pthread_mutex_unlock(&c->clock_lock);
}

static void random_bytes(void *ctx, void *buf, size_t n)
{
    struct fake_cloud *c = ctx;

    (void)pthread_mutex_lock(&c->clock_lock);
    sys_random(&c->clock.sys, buf, n);
    (void)pthread_mutex_unlock(&c->clock_lock);
}

void fake_cloud_pass(struct fake_cloud *c, int64_t ms)
{
    (void)pthread_mutex_lock(&c->clock_lock);
    fake_sys_pass(&c->clock, ms);
    (void)pthread_mutex_unlock(&c->clock_lock);
}

/* ---- objects ---- */

static struct span copy_of(struct span s)
{
    char *bytes = malloc(s.len + 1);

    if (!bytes)
        abort();
    if (s.len)
        memcpy(bytes, s.ptr, s.len);
    bytes[s.len] = 0;
    return (struct span){ bytes, s.len };
}

static void drop(struct span *s)
{
    free((void *)(uintptr_t)s->ptr);
    *s = (struct span){ 0 };
}

static struct fake_object *find(struct fake_cloud *c, const char *name)
{
    for (int i = 0; i < FAKE_CLOUD_OBJECTS; i++)
        if (c->objects[i].generation && !strcmp(c->objects[i].name, name))
            return &c->objects[i];
    return NULL;
}

static struct fake_object *store(struct fake_cloud *c, const char *name, struct span body, const char *job_id)
{
    struct fake_object *o = find(c, name);
    struct span copy = copy_of(body);

    for (int i = 0; !o && i < FAKE_CLOUD_OBJECTS; i++)
        if (!c->objects[i].generation)
            o = &c->objects[i];
    if (!o)
        abort();
    drop(&o->body);
    *o = (struct fake_object){ .body = copy, .generation = ++c->last_generation };
    (void)snprintf(o->name, sizeof o->name, "%s", name);
    (void)snprintf(o->job_id, sizeof o->job_id, "%s", job_id);
    return o;
}

/* ---- answers ---- */

static enum err_code answer(struct arena *a, int status, struct span body, struct http_reply *ret, struct err *err)
{
    char *copy = NULL;
    enum err_code rc = span_dup(a, body, &copy, err);

    *ret = (struct http_reply){ .status = status, .body = { copy, body.len } };
    return rc;
}

static enum err_code answer_meta(const struct fake_object *o, struct arena *a, struct http_reply *ret, struct err *err)
{
    uint32_t crc = crc32c(0, o->body.ptr, o->body.len);
    const unsigned char b[4] = { (unsigned char)(crc >> 24), (unsigned char)(crc >> 16), (unsigned char)(crc >> 8),
                                 (unsigned char)crc };
    char crc_text[12], *text = NULL;
    enum err_code rc = base64_encode((struct span){ (const char *)b, sizeof b }, BASE64_STANDARD, crc_text,
                                     sizeof crc_text, NULL, err);

    if (!rc)
        rc = arena_printf(a, &text, err,
                          "{\"name\":\"%s\",\"generation\":\"%" PRId64 "\",\"size\":\"%zu\",\"crc32c\":\"%s\","
                          "\"metadata\":{\"jobId\":\"%s\"}}",
                          o->name, o->generation, o->body.len, crc_text, o->job_id);
    return rc ? rc : answer(a, 200, span_of(text), ret, err);
}

/* The name of the object in .../o/NAME?..., decoded. */
static void name_in(const char *url, char ret[FAKE_CLOUD_NAME_SIZE])
{
    const char *p = strstr(url, "/o/");
    size_t n = 0;

    for (p += 3; *p && *p != '?' && n + 1 < FAKE_CLOUD_NAME_SIZE; p++) {
        bool is_slash = !strncmp(p, "%2F", 3);

        ret[n++] = is_slash ? '/' : *p;
        p += is_slash ? 2 : 0;
    }
    ret[n] = 0;
}

static int64_t number_in(const char *url, const char *parameter)
{
    const char *p = strstr(url, parameter);

    return p ? atoll(p + strlen(parameter)) : -1;
}

/* A string member of the metadata in a multipart body. */
static void member_in(struct span body, const char *member, char *ret, size_t size)
{
    const char *p = memmem(body.ptr, body.len, member, strlen(member));
    size_t n = p ? strcspn(p + strlen(member), "\"") : 0;

    (void)snprintf(ret, size, "%.*s", (int)n, p ? p + strlen(member) : "");
}

static struct span content_in(struct span body)
{
    const char *end = body.ptr + body.len, *at = body.ptr;
    size_t boundary = strcspn(body.ptr, "\r");

    for (int part = 0; part < 2; part++)
        at = (const char *)memmem(at, (size_t)(end - at), "\r\n\r\n", 4) + 4;
    return (struct span){ at, (size_t)(end - at) - boundary - 6 }; /* CR LF, the boundary, "--", CR LF */
}

static enum err_code upload(struct fake_cloud *c, const struct http_request *req, struct arena *a,
                            struct http_reply *ret, struct err *err)
{
    char name[FAKE_CLOUD_NAME_SIZE], job_id[40];
    const struct fake_object *there;

    member_in(req->body, "\"name\":\"", name, sizeof name);
    member_in(req->body, "\"jobId\":\"", job_id, sizeof job_id);
    there = find(c, name);
    if (number_in(req->url, "ifGenerationMatch=") != (there ? there->generation : 0))
        return answer(a, 412, SPAN("{}"), ret, err);
    return answer_meta(store(c, name, content_in(req->body), job_id), a, ret, err);
}

static enum err_code storage(struct fake_cloud *c, const struct http_request *req, struct arena *a,
                             struct http_reply *ret, struct err *err)
{
    char name[FAKE_CLOUD_NAME_SIZE];
    struct fake_object *o;

    if (strstr(req->url, "/upload/"))
        return upload(c, req, a, ret, err);
    if (!strstr(req->url, "/o/")) /* the bucket */
        return answer(a, 200, SPAN("{}"), ret, err);
    name_in(req->url, name);
    o = find(c, name);
    if (!o)
        return answer(a, 404, SPAN("No such object: bucket/it"), ret, err);
    if (!strcmp(req->method, "DELETE")) {
        if (number_in(req->url, "ifGenerationMatch=") != o->generation)
            return answer(a, 412, SPAN("{}"), ret, err);
        o->generation = 0;
        return answer(a, 204, SPAN(""), ret, err);
    }
    if (strstr(req->url, "alt=media"))
        fake_cloud_pass(c, c->takes_ms);
    if (strstr(req->url, "alt=media"))
        return number_in(req->url, "generation=") == o->generation ? answer(a, 200, o->body, ret, err)
                                                                   : answer(a, 404, SPAN("Not Found"), ret, err);
    return answer_meta(o, a, ret, err);
}

static enum err_code serve(struct fake_cloud *c, const struct http_request *req, struct arena *a,
                           struct http_reply *ret, struct err *err)
{
    if (strstr(req->url, "/storage/v1/"))
        return storage(c, req, a, ret, err);
    if (strstr(req->url, ":commit") && c->n_commits < FAKE_CLOUD_COMMITS)
        c->commits[c->n_commits++] = copy_of(req->body);
    return http_send(&c->firestore.http, req, a, ret, err);
}

static enum err_code send(void *ctx, const struct http_request *req, struct arena *a, struct http_reply *ret,
                          struct err *err)
{
    struct fake_cloud *c = ctx;
    enum err_code rc;
    int status;

    if (req->budget && budget_cancelled(req->budget))
        return err_set(err, ERR_CANCELLED, "fake: cancelled");
    if (req->budget && budget_left_ms(req->budget) == 0)
        return err_set(err, ERR_DEADLINE, "fake: no time left");
    status = c->on_request ? c->on_request(c->ctx, req) : 0;
    if (status < 0)
        return err_set(err, ERR_UNKNOWN_OUTCOME, "fake: reset");
    if (status)
        return answer(a, status, SPAN("fake"), ret, err);
    (void)pthread_mutex_lock(&c->lock);
    rc = serve(c, req, a, ret, err);
    (void)pthread_mutex_unlock(&c->lock);
    return rc;
}

/* ---- what tests see ---- */

void fake_cloud_init(struct fake_cloud *c, int64_t wall_s)
{
    *c = (struct fake_cloud){ .http = { c, send }, .sys = { c, wall_us, mono_ms, sleep_ms, random_bytes } };
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_mutex_init(&c->clock_lock, NULL);
    fake_firestore_init(&c->firestore);
    c->firestore.now_us = wall_us;
    c->firestore.now_ctx = c;
    fake_sys_init(&c->clock, wall_s, 1);
}

void fake_cloud_done(struct fake_cloud *c)
{
    for (int i = 0; i < FAKE_CLOUD_OBJECTS; i++)
        drop(&c->objects[i].body);
    for (int i = 0; i < c->n_commits; i++)
        drop(&c->commits[i]);
    fake_firestore_done(&c->firestore);
    (void)pthread_mutex_destroy(&c->clock_lock);
    (void)pthread_mutex_destroy(&c->lock);
}

void fake_cloud_document(struct fake_cloud *c, const char *fields_json)
{
    (void)pthread_mutex_lock(&c->lock);
    fake_firestore_put(&c->firestore, fields_json);
    (void)pthread_mutex_unlock(&c->lock);
}

const char *fake_cloud_text(struct fake_cloud *c, const char *path)
{
    const char *text;

    (void)pthread_mutex_lock(&c->lock);
    text = fake_firestore_text(&c->firestore, path);
    (void)pthread_mutex_unlock(&c->lock);
    return text;
}

void fake_cloud_put(struct fake_cloud *c, const char *name, struct span body)
{
    (void)pthread_mutex_lock(&c->lock);
    (void)store(c, name, body, "");
    (void)pthread_mutex_unlock(&c->lock);
}

const struct fake_object *fake_cloud_object(struct fake_cloud *c, const char *name)
{
    const struct fake_object *o;

    (void)pthread_mutex_lock(&c->lock);
    o = find(c, name);
    (void)pthread_mutex_unlock(&c->lock);
    return o;
}

int fake_cloud_commits(struct fake_cloud *c)
{
    int n;

    (void)pthread_mutex_lock(&c->lock);
    n = c->n_commits;
    (void)pthread_mutex_unlock(&c->lock);
    return n;
}
