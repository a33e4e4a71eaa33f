#include "test/support/fake/fake_firestore.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "test/support/check.h"
#include "worker/base/rfc3339.h"

enum { PATH_MAX_BYTES = 200 };

static const struct json *parse(struct arena *a, const char *text)
{
    const struct json *v = NULL;
    struct err err = { 0 };

    CHECK_OK(json_parse(a, span_of(text), 32, &v, &err), err);
    return v;
}

static const struct json *value_at(const struct json *fields, const char *path)
{
    const char *dot = strchr(path, '.');
    char head[PATH_MAX_BYTES];
    const struct json *v;

    (void)snprintf(head, sizeof head, "%.*s", dot ? (int)(dot - path) : PATH_MAX_BYTES - 1, path);
    v = json_get(fields, head);
    return dot ? value_at(json_get(json_get(v, "mapValue"), "fields"), dot + 1) : v;
}

/* into: a copy of `fields` with `path` set to `value`, or without it (NULL). */
static void copy_with(struct json *into, const struct json *fields, const char *path, const struct json *value)
{
    const char *dot = strchr(path, '.');
    char head[PATH_MAX_BYTES];

    (void)snprintf(head, sizeof head, "%.*s", dot ? (int)(dot - path) : PATH_MAX_BYTES - 1, path);
    for (int i = 0; i < json_count(fields); i++) {
        const struct json *member = json_at(fields, i);
        if (strcmp(json_key(member), head) != 0)
            json_add_copy(into, json_key(member), member);
    }
    if (!dot) {
        if (value)
            json_add_copy(into, head, value);
        return;
    }
    copy_with(json_add_object(json_add_object(json_add_object(into, head), "mapValue"), "fields"),
              json_get(json_get(json_get(fields, head), "mapValue"), "fields"), dot + 1, value);
}

static const struct json *apply(struct fake_firestore *f, const struct json *mask, const struct json *body)
{
    const struct json *fields = f->fields;

    for (int i = 0; i < json_count(mask); i++) {
        const char *path = json_string(json_at(mask, i));
        struct json *next = json_new_object(&f->arena);
        copy_with(next, fields, path, value_at(body, path));
        fields = next;
    }
    return fields;
}

static char *print(struct fake_firestore *f, const struct json *v)
{
    char *text = NULL;
    struct err err = { 0 };

    CHECK_OK(json_print(&f->arena, v, &text, &err), err);
    return text;
}

static int64_t now_us(const struct fake_firestore *f)
{
    return f->now_us ? f->now_us(f->now_ctx) : (int64_t)FAKE_FIRESTORE_NOW_S * 1000000;
}

/* No update time is given twice, even if the clock stands still. */
static void tick(struct fake_firestore *f)
{
    f->changed_us = now_us(f) > f->changed_us ? now_us(f) : f->changed_us + 1;
}

static enum err_code answer(const struct fake_firestore *f, struct arena *a, int status, struct span text,
                            struct http_reply *ret, struct err *err)
{
    time_t now = (time_t)(now_us(f) / 1000000);
    char *copy = NULL, *date = NULL, text_of_date[40];
    struct tm tm;
    enum err_code rc = span_dup(a, text, &copy, err);

    (void)strftime(text_of_date, sizeof text_of_date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    rc = rc ? rc : span_dup(a, span_of(text_of_date), &date, err);
    *ret = (struct http_reply){
        .status = status, .body = { copy, text.len }, .headers = { { "date", date } }, .n_headers = !f->without_date
    };
    return rc;
}

static enum err_code answer_text(const struct fake_firestore *f, struct arena *a, int status, const char *text,
                                 struct http_reply *ret, struct err *err)
{
    return answer(f, a, status, span_of(text), ret, err);
}

/* Appends the wild members that the mask has; the name of one is in quotes at its start. */
static char *add_wild(const struct fake_firestore *f, const char *url, char *to)
{
    for (int i = 0; i < f->n_wild; i++) {
        struct span w = f->wild[i];
        char wanted[80];

        (void)snprintf(wanted, sizeof wanted, "fieldPaths=%.*s", (int)(strchr(w.ptr + 1, '"') - w.ptr - 1), w.ptr + 1);
        if (strstr(url, wanted)) {
            memcpy(to, w.ptr, w.len);
            to += w.len;
        }
    }
    return to;
}

static enum err_code document(struct fake_firestore *f, const char *url, struct arena *a, struct span *ret,
                              struct err *err)
{
    const char *path = strstr(strstr(url, "projects/"), "users/"), *fields = print(f, f->fields);
    size_t size = strlen(fields) + 1024;
    char *text = NULL, *at, time[RFC3339_SIZE];
    enum err_code rc;

    for (int i = 0; i < f->n_wild; i++)
        size += f->wild[i].len;
    rc = arena_alloc(a, size, 1, &text, err);
    if (rc)
        return rc;
    rfc3339_format(f->changed_us, time);
    at = text + sprintf(text,
                        "{\"name\":\"projects/demo/databases/(default)/documents/%.*s\",\"createTime\":\"%s\","
                        "\"updateTime\":\"%s\",\"fields\":{",
                        (int)strcspn(path, "?"), path, time, time);
    at = add_wild(f, url, at);
    if (fields[1] == '}' && at[-1] == ',')
        at--;
    at += sprintf(at, "%s}", fields + 1);
    *ret = (struct span){ text, (size_t)(at - text) };
    return ERR_OK;
}

static enum err_code get(struct fake_firestore *f, const char *url, struct arena *a, struct http_reply *ret,
                         struct err *err)
{
    const char *path = strstr(url, "users/");
    struct span body = { 0 };
    char *text = NULL;
    enum err_code rc;

    f->n_gets++;
    if (!f->fields && f->missing)
        return answer_text(f, a, 404, f->missing, ret, err);
    if (!f->fields) {
        rc =
            arena_printf(a, &text, err,
                         "{\"error\":{\"code\":404,\"message\":\"Document (projects/demo/databases/(default)/documents/"
                         "%.*s) not found.\",\"status\":\"NOT_FOUND\"}}",
                         (int)strcspn(path, "?"), path);
        return rc ? rc : answer_text(f, a, 404, text, ret, err);
    }
    rc = document(f, url, a, &body, err);
    return rc ? rc : answer(f, a, 200, body, ret, err);
}

/* A write to a wild member, or into it, replaces it. */
static void drop_wild(struct fake_firestore *f, const struct json *mask)
{
    for (int i = 0; i < json_count(mask); i++)
        for (int k = 0; k < f->n_wild; k++) {
            const char *path = json_string(json_at(mask, i)), *name = f->wild[k].ptr + 1;
            size_t n = strcspn(name, "\"");

            if (strncmp(path, name, n) == 0 && (path[n] == 0 || path[n] == '.'))
                f->wild[k--] = f->wild[--f->n_wild];
        }
}

static enum err_code commit(struct fake_firestore *f, struct span body, struct arena *a, struct http_reply *ret,
                            struct err *err)
{
    const struct json *write, *condition, *next;
    enum fake_fault fault = f->next_commit;
    char time[RFC3339_SIZE], *text = NULL;
    enum err_code rc;

    f->n_commits++;
    f->next_commit = FAKE_NO_FAULT;
    if (f->before_commit) {
        void (*first)(struct fake_firestore *, void *) = f->before_commit;
        f->before_commit = NULL;
        first(f, f->before_ctx);
    }
    if (fault == FAKE_LOSE_REQUEST)
        return err_set(err, ERR_UNKNOWN_OUTCOME, "fake: reset");
    if (fault == FAKE_INVALID)
        return answer_text(f, a, 400,
                           "{\"error\":{\"code\":400,\"message\":\"too large\",\"status\":\"INVALID_ARGUMENT\"}}", ret,
                           err);
    if (fault == FAKE_ABORTED)
        return answer_text(f, a, 409, "{\"error\":{\"code\":409,\"message\":\"x\",\"status\":\"ABORTED\"}}", ret, err);
    if (fault == FAKE_UNAVAILABLE)
        return answer_text(f, a, 503, "busy", ret, err);
    CHECK_OK(span_dup(&f->arena, body, &text, err), *err);
    write = json_at(json_get(parse(&f->arena, text), "writes"), 0);
    condition = json_get(json_get(write, "currentDocument"), "updateTime");
    rfc3339_format(f->changed_us, time);
    if (!f->fields || (condition && strcmp(json_string(condition), time) != 0))
        return answer_text(f, a, 400, "{\"error\":{\"code\":400,\"message\":\"x\",\"status\":\"FAILED_PRECONDITION\"}}",
                           ret, err);
    next =
        apply(f, json_get(json_get(write, "updateMask"), "fieldPaths"), json_get(json_get(write, "update"), "fields"));
    if (strcmp(print(f, next), print(f, f->fields)) != 0)
        tick(f);
    f->fields = next;
    drop_wild(f, json_get(json_get(write, "updateMask"), "fieldPaths"));
    rfc3339_format(f->changed_us, time);
    if (fault == FAKE_LOSE_ANSWER)
        return err_set(err, ERR_UNKNOWN_OUTCOME, "fake: reset");
    rc = arena_printf(a, &text, err, "{\"writeResults\":[{\"updateTime\":\"%s\"}],\"commitTime\":\"%s\"}", time, time);
    return rc ? rc : answer_text(f, a, 200, text, ret, err);
}

static enum err_code batch_get(struct fake_firestore *f, struct arena *a, struct http_reply *ret, struct err *err)
{
    char *text = NULL, time[RFC3339_SIZE];
    enum err_code rc;

    if (f->without_read_time)
        return answer_text(f, a, 404, "Not Found", ret, err);
    rfc3339_format(now_us(f), time);
    rc = arena_printf(a, &text, err, "[{\"found\":{\"name\":\"x\"},\"readTime\":\"%s\"}]", time);
    return rc ? rc : answer_text(f, a, 200, text, ret, err);
}

static enum err_code send(void *ctx, const struct http_request *req, struct arena *a, struct http_reply *ret,
                          struct err *err)
{
    struct fake_firestore *f = ctx;
    bool is_commit = strstr(req->url, ":commit") != NULL;

    if (strstr(req->url, ":batchGet"))
        return batch_get(f, a, ret, err);

    enum err_code rc = is_commit ? commit(f, req->body, a, ret, err) : get(f, req->url, a, ret, err);

    if (!rc && ret->body.len > req->max_reply_bytes)
        return err_set(err, ERR_TOO_LARGE, "fake: the reply is too long");
    return rc;
}

void fake_firestore_init(struct fake_firestore *f)
{
    struct err err = { 0 };

    *f = (struct fake_firestore){ .http = { f, send } };
    CHECK_OK(arena_init(&f->arena, (size_t)256 << 20, &err), err);
}

void fake_firestore_done(struct fake_firestore *f)
{
    arena_done(&f->arena);
}

void fake_firestore_put(struct fake_firestore *f, const char *fields_json)
{
    f->fields = fields_json ? parse(&f->arena, fields_json) : NULL;
    f->n_wild = 0;
    tick(f);
}

const char *fake_firestore_text(struct fake_firestore *f, const char *path)
{
    const struct json *v = json_at(value_at(f->fields, path), 0);
    char *text;

    if (!v || json_string(v))
        return json_string(v);
    text = print(f, v);
    return json_type(v) == JSON_T_OBJECT ? "{}" : text;
}
