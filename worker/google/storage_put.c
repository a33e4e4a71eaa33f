/* storage_put - the upload: one multipart request, or a session for large bodies; safe to send again. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/base64.h"
#include "kernels/base/crc32c.h"
#include "worker/base/json.h"
#include "worker/google/storage.h"
#include "worker/google/storage_parts.h"

enum {
    BOUNDARY_BYTES = 16,
    LOCATION_MAX = 4096,
    SESSION_CHUNK = 256 << 10 /* what a resumable upload keeps at least of a piece that it takes */
};

/* PROTOCOL.md 7: base, cap, tries, one call. */
static const struct retry_policy put_policy = { 1000, 16000, 6, 60000 };

/* ---- what is sent ---- */

static void write_crc32c(uint32_t crc, char ret[12])
{
    const unsigned char b[4] = { (unsigned char)(crc >> 24), (unsigned char)(crc >> 16), (unsigned char)(crc >> 8),
                                 (unsigned char)crc };

    (void)!base64_encode((struct span){ (const char *)b, sizeof b }, BASE64_STANDARD, ret, 12, NULL, NULL);
}

static enum err_code write_meta(const struct storage_put *put, uint32_t crc, struct arena *a, char **ret,
                                struct err *err)
{
    struct json *root = json_new_object(a);
    char crc_text[12];

    write_crc32c(crc, crc_text);
    json_add_string(root, "name", put->object);
    json_add_string(root, "contentType", put->content_type);
    if (put->cache_control)
        json_add_string(root, "cacheControl", put->cache_control);
    json_add_string(root, "crc32c", crc_text);
    if (put->job_id)
        json_add_string(json_add_object(root, "metadata"), "jobId", put->job_id);
    return json_print(a, root, ret, err);
}

/* A multipart upload has the name in its metadata. */
static enum err_code upload_url(const struct storage *s, const struct storage_put *put, bool resumable, struct arena *a,
                                char **ret, struct err *err)
{
    char *name;
    enum err_code rc = storage_encode_name(put->object, a, &name, err);

    if (rc)
        return rc;
    return arena_printf(a, ret, err, "%s/upload/storage/v1/b/%s/o?uploadType=%s%s&ifGenerationMatch=%" PRId64 "&%s",
                        s->base, s->bucket, resumable ? "resumable&name=" : "multipart", resumable ? name : "",
                        put->if_generation, storage_meta_fields);
}

/* 32 hexadecimal digits that do not occur in the data. */
static void make_boundary(const struct sys *sys, struct span data, char ret[2 * BOUNDARY_BYTES + 1])
{
    unsigned char bytes[BOUNDARY_BYTES];

    do {
        sys_random(sys, bytes, sizeof bytes);
        for (int i = 0; i < BOUNDARY_BYTES; i++)
            (void)snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
    } while (data.len && memmem(data.ptr, data.len, ret, 2 * BOUNDARY_BYTES));
}

/* PROTOCOL.md 5.4; RFC 2387. */
static enum err_code multipart_body(const struct storage_put *put, const char *meta, const char *boundary,
                                    struct arena *a, struct span *ret, struct err *err)
{
    char *head, *tail, *body;
    size_t n_head, n_tail;
    enum err_code rc = arena_printf(a, &head, err,
                                    "--%s\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n%s\r\n"
                                    "--%s\r\nContent-Type: %s\r\n\r\n",
                                    boundary, meta, boundary, put->content_type);

    if (!rc)
        rc = arena_printf(a, &tail, err, "\r\n--%s--\r\n", boundary);
    if (rc)
        return rc;
    n_head = strlen(head);
    n_tail = strlen(tail);
    rc = arena_alloc(a, n_head + put->body.len + n_tail, 1, &body, err);
    if (rc)
        return rc;
    memcpy(body, head, n_head);
    if (put->body.len)
        memcpy(body + n_head, put->body.ptr, put->body.len);
    memcpy(body + n_head + put->body.len, tail, n_tail);
    *ret = (struct span){ body, n_head + put->body.len + n_tail };
    return ERR_OK;
}

static enum err_code send_multipart(const struct storage *s, const struct storage_put *put, uint32_t crc,
                                    const struct budget *budget, struct arena *a, struct http_reply *reply,
                                    struct err *err)
{
    struct http_request req = { .method = "POST",
                                .max_reply_bytes = STORAGE_META_REPLY_MAX,
                                .low_speed_ms = STORAGE_LOW_SPEED_MS,
                                .allow_plain = s->emulator };
    struct api_call call = storage_api(s, &put_policy, budget);
    char boundary[2 * BOUNDARY_BYTES + 1], *url, *meta, *type;
    enum err_code rc;

    make_boundary(s->sys, put->body, boundary);
    rc = upload_url(s, put, false, a, &url, err);
    if (!rc)
        rc = write_meta(put, crc, a, &meta, err);
    if (!rc)
        rc = multipart_body(put, meta, boundary, a, &req.body, err);
    if (!rc)
        rc = arena_printf(a, &type, err, "multipart/related; boundary=%s", boundary);
    if (rc)
        return rc;
    req.url = url;
    http_request_header(&req, "Content-Type", type);
    return api_send(&call, &req, a, reply, err);
}

/* A resumable upload is a conversation: open a session, send, ask how far it came, send the rest. */
struct session {
    const struct storage_put *put;
    const char *start_url, *meta;
    enum { SESSION_START, SESSION_SEND, SESSION_ASK } state;
    int64_t have; /* bytes the server keeps */
    char location[LOCATION_MAX], length[24], range[64];
    bool plain; /* http:// may be followed */
};

static bool prepare_session(void *ctx, struct http_request *req)
{
    struct session *u = ctx;
    int64_t size = (int64_t)u->put->body.len;

    req->method = u->state == SESSION_START ? "POST" : "PUT";
    req->url = u->state == SESSION_START ? u->start_url : u->location;
    req->body = (struct span){ "", 0 };
    if (u->state == SESSION_START) {
        http_request_header(req, "Content-Type", "application/json; charset=UTF-8");
        http_request_header(req, "X-Upload-Content-Type", u->put->content_type);
        http_request_header(req, "X-Upload-Content-Length", u->length);
        req->body = span_of(u->meta);
        return true;
    }
    if (u->state == SESSION_ASK) {
        (void)snprintf(u->range, sizeof u->range, "bytes */%" PRId64, size);
    } else {
        (void)snprintf(u->range, sizeof u->range, "bytes %" PRId64 "-%" PRId64 "/%" PRId64, u->have, size - 1, size);
        req->body = (struct span){ u->put->body.ptr + u->have, (size_t)(size - u->have) };
    }
    http_request_header(req, "Content-Range", u->range);
    return false; /* the session's address is its own secret */
}

/* What the server keeps, from "Range: bytes=0-N"; without the header it keeps nothing. -1: nonsense. */
static int64_t kept_bytes(const struct session *u, const struct http_reply *reply)
{
    const char *range = http_reply_header(reply, "range");
    int64_t last;
    char *end;

    if (!range)
        return 0;
    if (strncmp(range, "bytes=0-", 8) != 0 || range[8] < '0' || range[8] > '9' || strlen(range) > 26)
        return -1;
    last = strtoll(range + 8, &end, 10);
    return !*end && last < (int64_t)u->put->body.len - 1 ? last + 1 : -1;
}

static enum api_next open_session(struct session *u, enum err_code rc, const struct http_reply *reply)
{
    const char *location = rc ? NULL : http_reply_header(reply, "location");

    if (rc || reply->status != 200)
        return storage_judge(NULL, rc, reply);
    if (!location || strlen(location) >= sizeof u->location ||
        (strncmp(location, "https://", 8) != 0 && !(u->plain && strncmp(location, "http://", 7) == 0)))
        return API_TAKE;
    (void)snprintf(u->location, sizeof u->location, "%s", location);
    u->have = 0;
    u->state = SESSION_SEND;
    return API_GO_ON;
}

static enum api_next judge_session(void *ctx, enum err_code rc, const struct http_reply *reply)
{
    struct session *u = ctx;
    int64_t kept;
    bool stuck;

    if (u->state == SESSION_START)
        return open_session(u, rc, reply);
    if (storage_may_pass(rc, reply)) {
        u->state = SESSION_ASK;
        return API_RETRY;
    }
    if (rc)
        return API_TAKE;
    if (reply->status == 404 || reply->status == 410 || (reply->status == 400 && u->state == SESSION_ASK)) {
        u->state = SESSION_START; /* the session is gone */
        return API_RETRY;
    }
    if (reply->status != 308)
        return API_TAKE;
    kept = kept_bytes(u, reply);
    if (kept < 0)
        return API_TAKE;
    /* on with the rest at once, unless nothing moves: then it costs a try */
    stuck = u->state == SESSION_SEND && kept < u->have + SESSION_CHUNK;
    u->have = kept;
    u->state = SESSION_SEND;
    return stuck ? API_RETRY : API_GO_ON;
}

static enum err_code send_resumable(const struct storage *s, const struct storage_put *put, uint32_t crc,
                                    const struct budget *budget, struct arena *a, struct http_reply *reply,
                                    struct err *err)
{
    struct http_request req = { .max_reply_bytes = STORAGE_META_REPLY_MAX,
                                .low_speed_ms = STORAGE_LOW_SPEED_MS,
                                .allow_plain = s->emulator };
    struct api_call call = storage_api(s, &put_policy, budget);
    struct session u = { .put = put, .plain = s->emulator };
    char *url, *meta;
    enum err_code rc = upload_url(s, put, true, a, &url, err);

    if (!rc)
        rc = write_meta(put, crc, a, &meta, err);
    if (rc)
        return rc;
    u.start_url = url;
    u.meta = meta;
    (void)snprintf(u.length, sizeof u.length, "%zu", put->body.len);
    call.prepare = prepare_session;
    call.judge = judge_session;
    call.ctx = &u;
    rc = api_send(&call, &req, a, reply, err);
    if (!rc && (reply->status == 308 || (reply->status == 200 && u.state == SESSION_START)))
        return err_set(err, ERR_PROTOCOL, "storage: a resumable upload that leads nowhere");
    return rc;
}

/* Same length and same CRC32C (or, where a server knows no CRC, MD5): these are our bytes. */
static bool is_same(const struct storage_object *o, struct span body, uint32_t crc)
{
    if (o->size_bytes != (int64_t)body.len)
        return false;
    return o->has_crc32c ? o->crc32c == crc : o->has_md5 && storage_has_md5(body, o->md5);
}

/* 412. Perhaps our own first try, whose answer was lost (PROTOCOL.md 5.5). */
static enum err_code settle_conflict(const struct storage *s, const struct storage_put *put, uint32_t crc,
                                     const struct budget *budget, struct arena *a, struct storage_object *ret,
                                     struct err *err)
{
    struct err why = { 0 };
    enum err_code rc = storage_stat(s, put->object, budget, a, ret, &why);

    if (rc && rc != ERR_NOT_FOUND)
        return err_set(err, rc, "%s", why.msg);
    if (!rc && is_same(ret, put->body, crc))
        return ERR_OK;
    return err_set(err, ERR_CONFLICT, "storage: put '%.100s': %s", put->object,
                   rc ? "the generation to be replaced is gone" : "another generation is there");
}

static enum err_code read_stored(const struct storage_put *put, const struct http_reply *reply, uint32_t crc,
                                 struct arena *a, struct storage_object *ret, struct err *err)
{
    enum err_code rc = storage_read_object(put->object, reply->body, a, ret, err);

    if (!rc &&
        ((ret->has_crc32c || ret->has_md5) ? !is_same(ret, put->body, crc) : ret->size_bytes != (int64_t)put->body.len))
        rc = err_set(err, ERR_PROTOCOL, "storage: put '%.100s': other bytes were stored than were sent", put->object);
    return rc;
}

enum err_code storage_put(const struct storage *s, const struct storage_put *put, const struct budget *budget,
                          struct arena *a, struct storage_object *ret, struct err *err)
{
    uint32_t crc = crc32c(0, put->body.ptr, put->body.len);
    struct storage_object stored = { 0 };
    struct http_reply reply = { 0 };
    struct err why = { 0 };
    enum err_code rc;

    if (put->body.len > STORAGE_PUT_MAX)
        return err_set(err, ERR_INVALID, "storage: put '%.100s': %zu bytes", put->object, put->body.len);
    rc = put->body.len > STORAGE_MULTIPART_MAX ? send_resumable(s, put, crc, budget, a, &reply, &why)
                                               : send_multipart(s, put, crc, budget, a, &reply, &why);
    if (rc)
        return storage_broken("put", put->object, true, &why, err);
    if (reply.status == 412)
        rc = settle_conflict(s, put, crc, budget, a, &stored, err);
    else if (reply.status == 404) /* no bucket: nothing that an input could be blamed for */
        rc = err_set(err, ERR_INVALID, "storage: put '%.100s': HTTP 404: is there a bucket '%s'?", put->object,
                     s->bucket);
    else if (reply.status != 200 && reply.status != 201)
        rc = storage_refusal("put", put->object, &reply, err);
    else
        rc = read_stored(put, &reply, crc, a, &stored, err);
    if (!rc && ret)
        *ret = stored;
    return rc;
}
