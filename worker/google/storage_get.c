/* storage_get - the download: one generation, in as many pieces as it takes, checked at the end. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/crc32c.h"
#include "worker/google/storage.h"
#include "worker/google/storage_parts.h"

enum { GET_ROUNDS = 3 }; /* an input may be replaced while we read it, but not for ever */

/* PROTOCOL.md 7: base, cap, tries, one call. */
static const struct retry_policy get_policy = { 500, 16000, 6, 60000 };

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

/* All that is stated must hold. MD5 costs most and adds nothing to a CRC: it is looked at when it stands alone. */
static bool body_fits(struct span body, const struct storage_object *o, const char *x_goog_hash)
{
    uint32_t crc = crc32c(0, body.ptr, body.len), stated;
    unsigned char md5[CRYPTO_MD5_BYTES];
    bool has_crc = o->has_crc32c;

    if (o->has_crc32c && o->crc32c != crc)
        return false;
    if (storage_read_crc32c(hash_in(x_goog_hash, "crc32c"), &stated)) {
        if (stated != crc)
            return false;
        has_crc = true;
    }
    if (has_crc)
        return true;
    if (o->has_md5 && !storage_has_md5(body, o->md5))
        return false;
    return !storage_read_digest(hash_in(x_goog_hash, "md5"), md5, sizeof md5) || storage_has_md5(body, md5);
}

/* ---- the pieces ---- */

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
    req->max_reply_bytes = (size_t)d->object->size_bytes + STORAGE_META_REPLY_MAX;
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

/* Takes over the bytes of a piece, whole or storage_broken off. false: it does not belong here. */
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
        return storage_judge(NULL, rc, reply);
    if (rc && rc != ERR_TOO_LARGE && !storage_may_pass(rc, reply))
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
    struct http_request req = { .method = "GET", .low_speed_ms = STORAGE_LOW_SPEED_MS, .allow_plain = s->emulator };
    struct api_call call = storage_api(s, &get_policy, budget);
    struct http_reply reply;
    struct err why = { 0 };
    char *url;
    enum err_code rc = storage_object_url(s, name, a, &url, err);

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
        return storage_broken("get", name, false, &why, err);
    if (reply.status == 200 || reply.status == 206 || reply.status == 416)
        return err_set(err, ERR_PROTOCOL, "storage: get '%.100s': the bytes do not fit length and checksum", name);
    return storage_refusal("get", name, &reply, err);
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
    int round;

    for (round = 0; round < GET_ROUNDS && replaced; round++) {
        arena_rewind(a, mark);
        why = (struct err){ 0 };
        replaced = false;
        rc = get_round(s, object, max_bytes, budget, a, &o, ret_body, &replaced, &why);
    }
    if (rc)
        return err_set(err, replaced ? ERR_UNAVAILABLE : rc, "%s", why.msg);
    o.replaced = round > 1;
    if (ret_object)
        *ret_object = o;
    return ERR_OK;
}
