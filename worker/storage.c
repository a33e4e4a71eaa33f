#include "worker/storage.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/base64.h"
#include "kernels/base/crc32c.h"
#include "worker/api.h"
#include "worker/json.h"

enum {
    META_REPLY_MAX = 256 << 10,
    META_DEPTH_MAX = 16,
    LOW_SPEED_MS = 15000,
    GET_ROUNDS = 3, /* an input may be replaced while we read it, but not for ever */
    BOUNDARY_BYTES = 16,
    LOCATION_MAX = 4096,
    SESSION_CHUNK = 256 << 10 /* what a resumable upload keeps at least of a piece that it takes */
};

/* Cloud contracts 7: base, cap, tries, one call. */
static const struct retry_policy meta_policy = { 500, 8000, 5, 10000 };
static const struct retry_policy get_policy = { 500, 16000, 6, 60000 };
static const struct retry_policy put_policy = { 1000, 16000, 6, 60000 };

static const char meta_fields[] = "fields=name,generation,size,contentType,contentEncoding,md5Hash,crc32c,metadata";

/* ---- where ---- */

static bool is_set(const char *text)
{
    return text && *text;
}

static bool is_bucket(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-");

    return n >= 3 && n <= 222 && !name[n];
}

/* "host:port" or a URL, without the final slash. */
static enum err_code emulator_base(const char *host, struct arena *a, char **ret, struct err *err)
{
    bool has_scheme = strstr(host, "://");
    size_t n = strlen(host);

    while (n && host[n - 1] == '/')
        n--;
    if (!n || n > 1000 || host[strcspn(host, " ?#@\\")] ||
        (has_scheme && strncmp(host, "http://", 7) != 0 && strncmp(host, "https://", 8) != 0))
        return err_set(err, ERR_INVALID, "storage: emulator '%.100s' is neither host:port nor a URL", host);
    return arena_printf(a, ret, err, "%s%.*s", has_scheme ? "" : "http://", (int)n, host);
}

enum err_code storage_init(struct storage *s, struct http *http, struct gauth *gauth, const struct sys *sys,
                           const char *bucket, const char *storage_host, const char *firebase_host, struct arena *a,
                           struct err *err)
{
    const char *host = is_set(storage_host) ? storage_host : is_set(firebase_host) ? firebase_host : NULL;
    char *base, *name;
    enum err_code rc;

    if (!is_set(bucket) || !is_bucket(bucket))
        return err_set(err, ERR_INVALID, "FIREBASE_STORAGE_BUCKET: '%.100s' is not the name of a bucket",
                       bucket ? bucket : "");
    rc = host ? emulator_base(host, a, &base, err) : span_dup(a, SPAN("https://storage.googleapis.com"), &base, err);
    if (!rc)
        rc = span_dup(a, span_of(bucket), &name, err);
    if (!rc)
        *s = (struct storage){ http, gauth, sys, base, name, host != NULL };
    return rc;
}

/* Cloud contracts 5.1. */
static enum err_code encode_name(const char *object, struct arena *a, char **ret, struct err *err)
{
    size_t n = strlen(object);

    if (n < 1 || n > STORAGE_NAME_MAX || object[strcspn(object, "\r\n")] || strcmp(object, ".") == 0 ||
        strcmp(object, "..") == 0 || strncmp(object, ".well-known/acme-challenge/", 27) == 0)
        return err_set(err, ERR_INVALID, "storage: '%.80s' is not the name of an object", object);
    return http_encode(a, span_of(object), ret, err);
}

static enum err_code object_url(const struct storage *s, const char *object, struct arena *a, char **ret,
                                struct err *err)
{
    char *name;
    enum err_code rc = encode_name(object, a, &name, err);

    return rc ? rc : arena_printf(a, ret, err, "%s/storage/v1/b/%s/o/%s", s->base, s->bucket, name);
}

/* ---- what an answer means ---- */

static bool may_pass(enum err_code rc, const struct http_reply *reply)
{
    return rc ? rc == ERR_UNAVAILABLE || rc == ERR_UNKNOWN_OUTCOME : http_status_is_transient(reply->status);
}

/* For calls that may be sent again whatever became of the first: reads, and writes under a generation. */
static enum api_next judge_plain(void *ctx, enum err_code rc, const struct http_reply *reply)
{
    (void)ctx;
    if (!rc && reply->status == 401)
        return API_NEW_TOKEN;
    return may_pass(rc, reply) ? API_RETRY : API_TAKE;
}

static enum err_code refusal(const char *what, const char *object, const struct http_reply *reply, struct err *err)
{
    int status = reply->status;
    enum err_code rc = status == 404                      ? ERR_NOT_FOUND
                       : status == 412 || status == 304   ? ERR_CONFLICT
                       : status == 401 || status == 403   ? ERR_DENIED
                       : http_status_is_transient(status) ? ERR_UNAVAILABLE
                                                          : ERR_INVALID;

    return err_set(err, rc, "storage: %s '%.100s': HTTP %d%s", what, object, status,
                   status == 403 ? " (no right to it, or it is absent)" : "");
}

/* A failure of the transport, in our caller's words: its own limits must not be mistaken for those of an input. */
static enum err_code broken(const char *what, const char *object, bool is_write, const struct err *why, struct err *err)
{
    enum err_code rc = why->code;

    if (rc == ERR_TOO_LARGE)
        rc = ERR_PROTOCOL;
    if (rc == ERR_UNKNOWN_OUTCOME && !is_write)
        rc = ERR_UNAVAILABLE;
    return err_set(err, rc, "storage: %s '%.100s': %s", what, object, why->msg);
}

static struct api_call api_of(const struct storage *s, const struct retry_policy *policy, const struct budget *budget)
{
    return (struct api_call){ .http = s->http,
                              .gauth = s->gauth,
                              .service = GAUTH_STORAGE,
                              .policy = policy,
                              .budget = budget,
                              .judge = judge_plain };
}

/* ---- metadata ---- */

/* Numbers are texts in this API; a number is taken too. */
static bool read_number(const struct json *v, int64_t *ret)
{
    const char *text = json_string(v);
    char *end;

    if (!text)
        return json_integer(v, ret) && *ret >= 0;
    if (*text < '0' || *text > '9' || strlen(text) > 18)
        return false;
    *ret = strtoll(text, &end, 10);
    return !*end;
}

static bool read_digest(struct span text, void *bytes, size_t want)
{
    size_t n;

    return !base64_decode(text, BASE64_STANDARD, bytes, want, &n, NULL) && n == want;
}

/* CRC32C travels as its four bytes, the most significant first. */
static bool read_crc32c(struct span text, uint32_t *ret)
{
    unsigned char b[4];

    if (!read_digest(text, b, sizeof b))
        return false;
    *ret = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    return true;
}

static void write_crc32c(uint32_t crc, char ret[12])
{
    const unsigned char b[4] = { (unsigned char)(crc >> 24), (unsigned char)(crc >> 16), (unsigned char)(crc >> 8),
                                 (unsigned char)crc };

    (void)!base64_encode((struct span){ (const char *)b, sizeof b }, BASE64_STANDARD, ret, 12, NULL, NULL);
}

static const char *text_or_empty(const struct json *v)
{
    const char *text = json_string(v);

    return text ? text : "";
}

static enum err_code read_object(const char *object, struct span body, struct arena *a, struct storage_object *ret,
                                 struct err *err)
{
    struct storage_object o = { 0 };
    struct err why = { 0 };
    const struct json *root;
    const char *name, *crc, *md5;

    if (json_parse(a, body, META_DEPTH_MAX, &root, &why))
        return err_set(err, why.code == ERR_NOMEM ? ERR_NOMEM : ERR_PROTOCOL, "storage: '%.100s': %s", object, why.msg);
    name = json_string(json_get(root, "name"));
    if (!name || strcmp(name, object) != 0)
        return err_set(err, ERR_PROTOCOL, "storage: '%.100s': the answer names %s", object,
                       name ? "another object" : "no object");
    if (!read_number(json_get(root, "generation"), &o.generation) || o.generation == 0 ||
        !read_number(json_get(root, "size"), &o.size_bytes))
        return err_set(err, ERR_PROTOCOL, "storage: '%.100s': the answer lacks generation or size", object);
    o.content_type = text_or_empty(json_get(root, "contentType"));
    o.content_encoding = text_or_empty(json_get(root, "contentEncoding"));
    o.job_id = text_or_empty(json_get(json_get(root, "metadata"), "jobId"));
    crc = json_string(json_get(root, "crc32c"));
    md5 = json_string(json_get(root, "md5Hash"));
    o.has_crc32c = crc && read_crc32c(span_of(crc), &o.crc32c);
    o.has_md5 = md5 && read_digest(span_of(md5), o.md5, sizeof o.md5);
    *ret = o;
    return ERR_OK;
}

enum err_code storage_stat(const struct storage *s, const char *object, const struct budget *budget, struct arena *a,
                           struct storage_object *ret, struct err *err)
{
    struct http_request req = { .method = "GET", .max_reply_bytes = META_REPLY_MAX, .allow_plain = s->emulator };
    struct api_call call = api_of(s, &meta_policy, budget);
    struct http_reply reply;
    struct err why = { 0 };
    char *url;
    enum err_code rc = object_url(s, object, a, &url, err);

    if (!rc)
        rc = arena_printf(a, &url, err, "%s?%s", url, meta_fields);
    if (rc)
        return rc;
    req.url = url;
    if (api_send(&call, &req, a, &reply, &why))
        return broken("look at", object, false, &why, err);
    if (reply.status != 200)
        return refusal("look at", object, &reply, err);
    return read_object(object, reply.body, a, ret, err);
}

/* ---- does what we have fit what they say? ---- */

/* The value of "crc32c=" or "md5=" in x-goog-hash: one header with commas, or several that were joined. */
static struct span hash_in(const char *header, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = header; p && *p; p += strcspn(p, ","), p += *p == ',') {
        p += strspn(p, " \t");
        if (strncmp(p, name, n) == 0 && p[n] == '=')
            return (struct span){ p + n + 1, strcspn(p + n + 1, ", \t") };
    }
    return (struct span){ NULL, 0 };
}

static bool has_md5(struct span body, const unsigned char want[CRYPTO_MD5_BYTES])
{
    unsigned char md5[CRYPTO_MD5_BYTES];

    return !crypto_md5(body, md5, NULL) && memcmp(md5, want, sizeof md5) == 0;
}

/* All that is stated must hold. MD5 costs most and adds nothing to a CRC: it is looked at when it stands alone. */
static bool body_fits(struct span body, const struct storage_object *o, const char *x_goog_hash)
{
    uint32_t crc = crc32c(0, body.ptr, body.len), stated;
    unsigned char md5[CRYPTO_MD5_BYTES];
    bool has_crc = o->has_crc32c;

    if (o->has_crc32c && o->crc32c != crc)
        return false;
    if (read_crc32c(hash_in(x_goog_hash, "crc32c"), &stated)) {
        if (stated != crc)
            return false;
        has_crc = true;
    }
    if (has_crc)
        return true;
    if (o->has_md5 && !has_md5(body, o->md5))
        return false;
    return !read_digest(hash_in(x_goog_hash, "md5"), md5, sizeof md5) || has_md5(body, md5);
}

/* ---- get ---- */

/* A download that may come in several pieces. */
struct download {
    const struct storage_object *object;
    char *buf; /* object->size_bytes of it */
    int64_t have;
    char range[48];
    bool asked_for_rest; /* of the try under way */
    bool complete, replaced;
};

static bool prepare_piece(void *ctx, struct http_request *req)
{
    struct download *d = ctx;

    d->asked_for_rest = d->have > 0;
    if (d->asked_for_rest) {
        (void)snprintf(d->range, sizeof d->range, "bytes=%" PRId64 "-", d->have);
        http_request_header(req, "Range", d->range);
    }
    /* all of it, for a server may ignore the range, or an error text */
    req->max_reply_bytes = (size_t)d->object->size_bytes + META_REPLY_MAX;
    return true;
}

/* Exactly what was asked for: from `have` to the end, of a whole of the size we know. */
static bool is_asked_range(const struct download *d, const struct http_reply *reply)
{
    const char *got = http_reply_header(reply, "content-range");
    char want[80];

    (void)snprintf(want, sizeof want, "bytes %" PRId64 "-%" PRId64 "/%" PRId64, d->have, d->object->size_bytes - 1,
                   d->object->size_bytes);
    return d->asked_for_rest && got && strcmp(got, want) == 0;
}

/* Takes over the bytes of a piece, whole or broken off. false: it does not belong here. */
static bool take_piece(struct download *d, const struct http_reply *reply)
{
    int64_t at = reply->status == 206 ? d->have : 0, n = (int64_t)reply->body.len;

    if (reply->status == 206 && !is_asked_range(d, reply))
        return false;
    if (n > d->object->size_bytes - at)
        return false;
    if (at + n < d->have) /* the range was ignored, and this is less than what we have */
        return true;
    if (n)
        memcpy(d->buf + at, reply->body.ptr, (size_t)n);
    d->have = at + n;
    return true;
}

static bool is_of_another_generation(const struct download *d, const struct http_reply *reply)
{
    const char *generation = http_reply_header(reply, "x-goog-generation");
    char want[24];

    (void)snprintf(want, sizeof want, "%" PRId64, d->object->generation);
    return generation && strcmp(generation, want) != 0;
}

static enum api_next judge_piece(void *ctx, enum err_code rc, const struct http_reply *reply)
{
    struct download *d = ctx;
    bool is_piece = reply->status == 200 || reply->status == 206;

    if (!rc && !is_piece && reply->status != 416)
        return judge_plain(NULL, rc, reply);
    if (rc && rc != ERR_TOO_LARGE && !may_pass(rc, reply))
        return API_TAKE;
    if (is_piece && is_of_another_generation(d, reply)) {
        d->replaced = true;
        return API_TAKE;
    }
    if (rc == ERR_TOO_LARGE || reply->status == 416 || (is_piece && !take_piece(d, reply))) {
        d->have = 0;
        return API_RETRY;
    }
    if (d->have == d->object->size_bytes)
        d->complete =
            body_fits((struct span){ d->buf, (size_t)d->have }, d->object, http_reply_header(reply, "x-goog-hash"));
    if (d->complete)
        return API_TAKE;
    if (!rc || d->have == d->object->size_bytes)
        d->have = 0; /* else on from where it broke off */
    return API_RETRY;
}

/* Of this generation. ERR_NOT_FOUND: it has been replaced or deleted. */
static enum err_code download(const struct storage *s, const char *name, struct download *d,
                              const struct budget *budget, struct arena *a, struct err *err)
{
    struct http_request req = { .method = "GET", .low_speed_ms = LOW_SPEED_MS, .allow_plain = s->emulator };
    struct api_call call = api_of(s, &get_policy, budget);
    struct http_reply reply;
    struct err why = { 0 };
    char *url;
    enum err_code rc = object_url(s, name, a, &url, err);

    if (!rc)
        rc = arena_printf(a, &url, err, "%s?alt=media&generation=%" PRId64, url, d->object->generation);
    if (rc)
        return rc;
    req.url = url;
    call.prepare = prepare_piece;
    call.judge = judge_piece;
    call.ctx = d;
    rc = api_send(&call, &req, a, &reply, &why);
    if (d->complete)
        return ERR_OK;
    if (d->replaced)
        return err_set(err, ERR_NOT_FOUND, "storage: '%.100s' has been replaced", name);
    if (rc)
        return broken("get", name, false, &why, err);
    if (reply.status == 200 || reply.status == 206 || reply.status == 416)
        return err_set(err, ERR_PROTOCOL, "storage: get '%.100s': the bytes do not fit length and checksum", name);
    return refusal("get", name, &reply, err);
}

static enum err_code get_round(const struct storage *s, const char *name, size_t max_bytes, const struct budget *budget,
                               struct arena *a, struct storage_object *object, struct span *ret_body,
                               bool *ret_replaced, struct err *err)
{
    struct download d = { .object = object };
    enum err_code rc = storage_stat(s, name, budget, a, object, err);

    if (rc)
        return rc;
    if (*object->content_encoding && strcmp(object->content_encoding, "identity") != 0)
        return err_set(err, ERR_UNSUPPORTED, "storage: '%.100s' is stored with contentEncoding %.20s", name,
                       object->content_encoding);
    if (object->size_bytes > STORAGE_GET_MAX || (uint64_t)object->size_bytes > max_bytes)
        return err_set(err, ERR_TOO_LARGE, "storage: '%.100s' has %" PRId64 " bytes, %zu are taken", name,
                       object->size_bytes, max_bytes);
    rc = arena_alloc(a, (size_t)object->size_bytes + 1, 1, &d.buf, err);
    if (!rc && object->size_bytes > 0)
        rc = download(s, name, &d, budget, a, err);
    *ret_replaced = rc == ERR_NOT_FOUND;
    if (!rc)
        *ret_body = (struct span){ d.buf, (size_t)object->size_bytes };
    return rc;
}

enum err_code storage_get(const struct storage *s, const char *object, size_t max_bytes, const struct budget *budget,
                          struct arena *a, struct span *ret_body, struct storage_object *ret_object, struct err *err)
{
    const struct arena_mark mark = arena_mark(a);
    struct storage_object o;
    struct err why = { 0 };
    bool replaced = true;
    enum err_code rc = ERR_OK;

    for (int round = 0; round < GET_ROUNDS && replaced; round++) {
        arena_rewind(a, mark);
        why = (struct err){ 0 };
        replaced = false;
        rc = get_round(s, object, max_bytes, budget, a, &o, ret_body, &replaced, &why);
    }
    if (rc)
        return err_set(err, replaced ? ERR_UNAVAILABLE : rc, "%s", why.msg);
    if (ret_object)
        *ret_object = o;
    return ERR_OK;
}

/* ---- put ---- */

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
    enum err_code rc = encode_name(put->object, a, &name, err);

    if (rc)
        return rc;
    return arena_printf(a, ret, err, "%s/upload/storage/v1/b/%s/o?uploadType=%s%s&ifGenerationMatch=%" PRId64 "&%s",
                        s->base, s->bucket, resumable ? "resumable&name=" : "multipart", resumable ? name : "",
                        put->if_generation, meta_fields);
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

/* Cloud contracts 5.4; RFC 2387. */
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
    struct http_request req = {
        .method = "POST", .max_reply_bytes = META_REPLY_MAX, .low_speed_ms = LOW_SPEED_MS, .allow_plain = s->emulator
    };
    struct api_call call = api_of(s, &put_policy, budget);
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
        return judge_plain(NULL, rc, reply);
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
    if (may_pass(rc, reply)) {
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
    struct http_request req = { .max_reply_bytes = META_REPLY_MAX,
                                .low_speed_ms = LOW_SPEED_MS,
                                .allow_plain = s->emulator };
    struct api_call call = api_of(s, &put_policy, budget);
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
    return o->has_crc32c ? o->crc32c == crc : o->has_md5 && has_md5(body, o->md5);
}

/* 412. Perhaps our own first try, whose answer was lost (cloud contracts 5.5). */
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
    enum err_code rc = read_object(put->object, reply->body, a, ret, err);

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
        return broken("put", put->object, true, &why, err);
    if (reply.status == 412)
        rc = settle_conflict(s, put, crc, budget, a, &stored, err);
    else if (reply.status != 200 && reply.status != 201)
        rc = refusal("put", put->object, &reply, err);
    else
        rc = read_stored(put, &reply, crc, a, &stored, err);
    if (!rc && ret)
        *ret = stored;
    return rc;
}

/* ---- delete ---- */

enum err_code storage_delete(const struct storage *s, const char *object, int64_t generation,
                             const struct budget *budget, struct arena *a, struct err *err)
{
    struct http_request req = { .method = "DELETE", .max_reply_bytes = META_REPLY_MAX, .allow_plain = s->emulator };
    struct api_call call = api_of(s, &meta_policy, budget);
    struct http_reply reply;
    struct err why = { 0 };
    char *url;
    enum err_code rc = object_url(s, object, a, &url, err);

    if (!rc)
        rc = arena_printf(a, &url, err, "%s?ifGenerationMatch=%" PRId64, url, generation);
    if (rc)
        return rc;
    req.url = url;
    if (api_send(&call, &req, a, &reply, &why))
        return broken("delete", object, true, &why, err);
    if (reply.status == 200 || reply.status == 204 || reply.status == 404)
        return ERR_OK;
    return refusal("delete", object, &reply, err);
}
