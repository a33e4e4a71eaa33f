/* storage_put - the upload: one multipart request, or a resumable session for large bodies; safe to send again. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/crc32c.h"
#include "worker/google/storage.h"
#include "worker/google/storage_parts.h"

enum {
    BOUNDARY_BYTES = 16,
    LOCATION_MAX = 4096,
    PUT_ROUNDS = 3,           /* how often the metadata may change while an upload is under way */
    SESSION_CHUNK = 256 << 10 /* a resumable upload stores pieces in multiples of this */
};

/* PROTOCOL.md 7: base_ms, cap_ms, tries, call_timeout_ms. */
static const struct retry_policy put_policy = { 1000, 16000, 6, 60000 };

struct upload {
    const struct storage_put *put;
    uint32_t crc; /* of put->body */
    const struct budget *budget;
    const char *meta; /* the object's resource */
};

/* ---- one multipart request ---- */

/* The generation to be replaced, and what is known of its metadata: a link may be given away meanwhile. */
static enum err_code conditions(const struct storage_put *put, struct arena *a, char **ret, struct err *err)
{
    if (put->replaces && put->replaces->metageneration)
        return arena_printf(a, ret, err, "ifGenerationMatch=%" PRId64 "&ifMetagenerationMatch=%" PRId64,
                            put->if_generation, put->replaces->metageneration);
    return arena_printf(a, ret, err, "ifGenerationMatch=%" PRId64, put->if_generation);
}

static enum err_code multipart_url(const struct storage *s, const struct storage_put *put, struct arena *a, char **ret,
                                   struct err *err)
{
    char *name, *when;

    /* only to check the name: it is sent in the metadata, not in this URL */
    TRY(storage_encode_name(put->object, a, &name, err));
    TRY(conditions(put, a, &when, err));
    return arena_printf(a, ret, err, "%s/upload/storage/v1/b/%s/o?uploadType=multipart&%s&%s", s->base, s->bucket, when,
                        storage_meta_fields);
}

static enum err_code session_start_url(const struct storage *s, const struct storage_put *put, struct arena *a,
                                       char **ret, struct err *err)
{
    char *name, *when;

    TRY(storage_encode_name(put->object, a, &name, err));
    TRY(conditions(put, a, &when, err));
    return arena_printf(a, ret, err, "%s/upload/storage/v1/b/%s/o?uploadType=resumable&name=%s&%s&%s", s->base,
                        s->bucket, name, when, storage_meta_fields);
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

    TRY(arena_printf(a, &head, err,
                     "--%s\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n%s\r\n"
                     "--%s\r\nContent-Type: %s\r\n\r\n",
                     boundary, meta, boundary, put->content_type));
    TRY(arena_printf(a, &tail, err, "\r\n--%s--\r\n", boundary));
    n_head = strlen(head);
    n_tail = strlen(tail);
    TRY(arena_alloc(a, n_head + put->body.len + n_tail, 1, &body, err));
    memcpy(body, head, n_head);
    if (put->body.len)
        memcpy(body + n_head, put->body.ptr, put->body.len);
    memcpy(body + n_head + put->body.len, tail, n_tail);
    *ret = (struct span){ body, n_head + put->body.len + n_tail };
    return ERR_OK;
}

static enum err_code send_multipart(const struct storage *s, const struct upload *up, struct arena *a,
                                    struct http_reply *reply, struct err *err)
{
    struct http_request req = { .method = "POST",
                                .max_reply_bytes = STORAGE_META_REPLY_MAX,
                                .low_speed_ms = STORAGE_LOW_SPEED_MS,
                                .allow_plain = s->emulator };
    struct api_call call = storage_api(s, &put_policy, up->budget);
    char boundary[2 * BOUNDARY_BYTES + 1], *url, *type;

    make_boundary(s->sys, up->put->body, boundary);
    TRY(multipart_url(s, up->put, a, &url, err));
    TRY(multipart_body(up->put, up->meta, boundary, a, &req.body, err));
    TRY(arena_printf(a, &type, err, "multipart/related; boundary=%s", boundary));
    req.url = url;
    http_request_header(&req, "Content-Type", type);
    return api_send(&call, &req, a, reply, err);
}

/* ---- a resumable session ---- */

/* A resumable upload is a conversation: start it, send the bytes, ask how many have arrived, send the rest. */
struct resumable {
    const struct storage_put *put;
    const char *base, *start_url, *meta;
    enum { SESSION_START, SESSION_SEND, SESSION_ASK } state;
    int64_t stored; /* bytes that the server has */
    char location[LOCATION_MAX], length[24], range[64];
    int ended;          /* the status with which the server ended the last session; 0: it did not */
    struct err foreign; /* the session's address is not the storage host's */
};

static bool prepare_session(void *ctx, struct http_request *req)
{
    struct resumable *u = ctx;
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
        (void)snprintf(u->range, sizeof u->range, "bytes %" PRId64 "-%" PRId64 "/%" PRId64, u->stored, size - 1, size);
        req->body = (struct span){ u->put->body.ptr + u->stored, (size_t)(size - u->stored) };
    }
    http_request_header(req, "Content-Range", u->range);
    return false; /* the secret URL of the session takes the place of a token */
}

/* The number of bytes that the server has, from "Range: bytes=0-N"; 0 without the header; -1: not such a range. */
static int64_t stored_bytes(const struct resumable *u, const struct http_reply *reply)
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

static enum api_next open_session(struct resumable *u, enum err_code rc, const struct http_reply *reply)
{
    const char *location = rc ? NULL : http_reply_header(reply, "location");

    if (rc || reply->status != 200)
        return api_judge(NULL, rc, reply);
    /* who knows the address may write the object: it is a secret, and the picture would go wherever it leads */
    if (!location || http_own_url(u->base, location, u->location, sizeof u->location, &u->foreign))
        return API_TAKE;
    u->stored = 0;
    u->state = SESSION_SEND;
    return API_GO_ON;
}

/* The session is over, or its address is no longer one: there was no token to refuse. */
static bool has_ended(const struct resumable *u, int status)
{
    return status == 401 || status == 404 || status == 410 || (status == 400 && u->state == SESSION_ASK);
}

static enum api_next judge_session(void *ctx, enum err_code rc, const struct http_reply *reply)
{
    struct resumable *u = ctx;
    int64_t stored;
    bool is_stuck;

    u->ended = 0;
    if (u->state == SESSION_START)
        return open_session(u, rc, reply);
    if (api_may_pass(rc, reply)) {
        u->state = SESSION_ASK;
        return API_RETRY;
    }
    if (rc)
        return API_TAKE;
    if (has_ended(u, reply->status)) {
        u->ended = reply->status;
        u->state = SESSION_START; /* start another */
        return API_RETRY;
    }
    if (reply->status != 308)
        return API_TAKE;
    stored = stored_bytes(u, reply);
    if (stored < 0)
        return API_TAKE;
    /* the rest follows at once, unless the server stored next to nothing: that costs a try */
    is_stuck = u->state == SESSION_SEND && stored < u->stored + SESSION_CHUNK;
    u->stored = stored;
    u->state = SESSION_SEND;
    return is_stuck ? API_RETRY : API_GO_ON;
}

static enum err_code send_resumable(const struct storage *s, const struct upload *up, struct arena *a,
                                    struct http_reply *reply, struct err *err)
{
    struct http_request req = { .max_reply_bytes = STORAGE_META_REPLY_MAX,
                                .low_speed_ms = STORAGE_LOW_SPEED_MS,
                                .allow_plain = s->emulator };
    struct api_call call = storage_api(s, &put_policy, up->budget);
    struct resumable u = { .put = up->put, .base = s->base, .meta = up->meta };
    char *url;
    enum err_code rc;

    TRY(session_start_url(s, up->put, a, &url, err));
    u.start_url = url;
    (void)snprintf(u.length, sizeof u.length, "%zu", up->put->body.len);
    call.prepare = prepare_session;
    call.judge = judge_session;
    call.ctx = &u;
    rc = api_send(&call, &req, a, reply, err);
    if (!rc && u.foreign.code)
        return err_set(err, ERR_PROTOCOL, "upload session: %s", u.foreign.msg);
    if (!rc && u.ended)
        return err_set(err, ERR_UNAVAILABLE, "the server ends the upload session (HTTP %d)", u.ended);
    if (!rc && (reply->status == 308 || (reply->status == 200 && u.state == SESSION_START)))
        return err_set(err, ERR_PROTOCOL, "the server does not follow the protocol of resumable uploads");
    return rc;
}

/* ---- the result ---- */

/* Same length and same CRC32C (or, where a server states no CRC, MD5): these are our bytes. */
static bool is_same(const struct storage_object *o, const struct upload *up)
{
    if (o->size_bytes != (int64_t)up->put->body.len)
        return false;
    return o->has_crc32c ? o->crc32c == up->crc : o->has_md5 && storage_has_md5(up->put->body, o->md5);
}

/* After a 412, which our own first try may have caused if its answer was lost (PROTOCOL.md 5.5). */
static enum err_code settle_conflict(const struct storage *s, const struct upload *up, struct arena *a,
                                     struct storage_object *ret, struct err *err)
{
    const char *object = up->put->object;
    struct err why = { 0 };
    enum err_code rc = storage_stat(s, object, up->budget, a, ret, &why);

    if (rc == ERR_NOT_FOUND)
        return err_set(err, ERR_CONFLICT, "storage: put '%.100s': the generation to be replaced is gone", object);
    if (rc)
        return err_set(err, rc, "%s", why.msg);
    if (!is_same(ret, up))
        return err_set(err, ERR_CONFLICT, "storage: put '%.100s': the bucket has another generation", object);
    return ERR_OK;
}

static enum err_code read_stored(const struct upload *up, const struct http_reply *reply, struct arena *a,
                                 struct storage_object *ret, struct err *err)
{
    bool same;

    TRY(storage_read_object(up->put->object, reply->body, a, ret, err));
    same = ret->has_crc32c || ret->has_md5 ? is_same(ret, up) : ret->size_bytes == (int64_t)up->put->body.len;
    if (!same)
        return err_set(err, ERR_PROTOCOL, "storage: put '%.100s': the stored bytes are not those that were sent",
                       up->put->object);
    return ERR_OK;
}

static enum err_code judge_upload(const struct storage *s, const struct upload *up, const struct http_reply *reply,
                                  struct arena *a, struct storage_object *ret, struct err *err)
{
    if (reply->status == 412)
        return settle_conflict(s, up, a, ret, err);
    if (reply->status == 404) /* an object to be written cannot be what is missing */
        return storage_no_bucket(s, err);
    if (reply->status != 200 && reply->status != 201)
        return storage_refusal("put", up->put->object, reply, err);
    return read_stored(up, reply, a, ret, err);
}

static enum err_code put_once(const struct storage *s, const struct storage_put *put, const struct budget *budget,
                              struct arena *a, struct storage_object *ret, struct err *err)
{
    struct upload up = { put, crc32c(0, put->body.ptr, put->body.len), budget, NULL };
    struct storage_resource meta = { 0 };
    struct http_reply reply = { 0 };
    struct err why = { 0 };
    enum err_code rc;

    TRY(storage_write_object(s, put, up.crc, a, &meta, err));
    up.meta = meta.json;
    if (put->ret_dropped)
        *put->ret_dropped = meta.dropped;
    rc = put->body.len > STORAGE_MULTIPART_MAX ? send_resumable(s, &up, a, &reply, &why)
                                               : send_multipart(s, &up, a, &reply, &why);
    if (rc)
        return storage_broken("put", put->object, STORAGE_WRITES, &why, err);
    return judge_upload(s, &up, &reply, a, ret, err);
}

enum err_code storage_put(const struct storage *s, const struct storage_put *put, const struct budget *budget,
                          struct arena *a, struct storage_object *ret, struct err *err)
{
    struct storage_object stored = { 0 }, changed;
    struct storage_put again = *put;
    struct err why = { 0 };
    enum err_code rc;

    if (put->body.len > STORAGE_PUT_MAX)
        return err_set(err, ERR_INVALID, "storage: put '%.100s': %zu bytes, at most %d are allowed", put->object,
                       put->body.len, STORAGE_PUT_MAX);
    rc = put_once(s, &again, budget, a, &stored, &why);
    for (int round = 1; rc == ERR_CONFLICT && round < PUT_ROUNDS; round++) {
        if (!put->replaces || stored.generation != put->if_generation)
            break;
        changed = stored; /* the same generation: its metadata alone have changed */
        stored = (struct storage_object){ 0 };
        again.replaces = &changed;
        why = (struct err){ 0 };
        rc = put_once(s, &again, budget, a, &stored, &why);
    }
    if (rc)
        return err_set(err, rc, "%s", why.msg);
    *s->bucket_seen = true;
    if (ret)
        *ret = stored;
    return ERR_OK;
}
