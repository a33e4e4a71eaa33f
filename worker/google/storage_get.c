/* storage_get - the download of one generation, in as many pieces as it takes, checked at the end. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/crc32c.h"
#include "worker/google/storage.h"
#include "worker/google/storage_parts.h"

enum { GET_ROUNDS = 3 }; /* how often an object may be replaced while it is being read */

/* PROTOCOL.md 7: base_ms, cap_ms, tries, call_timeout_ms. */
static const struct retry_policy get_policy = { 500, 16000, 6, 60000 };

/* ---- length and checksums ---- */

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

/* Every CRC32C that is stated must match. MD5 is slow and adds nothing to a CRC, so it is computed only without one. */
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

/* A download that may arrive in several pieces. */
struct download {
    const struct storage_object *object;
    int packings;     /* how often it is packed with gzip */
    size_t max_bytes; /* unpacked */
    char *buf;        /* object->size_bytes */
    int64_t have;
    char range[48];
    bool asked_for_rest; /* the current try has a Range header */
    bool complete, replaced, too_large;
    struct span unpacked; /* what came unpacked already; else empty */
};

static bool prepare_piece(void *ctx, struct http_request *req)
{
    struct download *d = ctx;
    size_t most = (size_t)d->object->size_bytes;

    d->asked_for_rest = d->have > 0;
    if (d->asked_for_rest) {
        (void)snprintf(d->range, sizeof d->range, "bytes=%" PRId64 "-", d->have);
        http_request_header(req, "Range", d->range);
    }
    /* room for the whole object, since a server may ignore the range, and for an error message */
    if (d->packings) { /* else the bytes are unpacked on their way, and neither length nor checksum are theirs */
        http_request_header(req, "Accept-Encoding", "gzip");
        most = most > d->max_bytes ? most : d->max_bytes;
    }
    req->max_reply_bytes = most + STORAGE_META_REPLY_MAX;
    return true;
}

/* Not so when the body ends with the connection. */
static bool end_is_known(const struct http_reply *reply)
{
    return http_reply_header(reply, "content-length") || http_reply_header(reply, "transfer-encoding");
}

/* Cloud Storage has unpacked the bytes although it need not, and says so. Their checksum is that of other bytes; that
 * the answer is whole is known from its framing. */
static bool take_unpacked(struct download *d, enum err_code rc, const struct http_reply *reply)
{
    const char *changes = http_reply_header(reply, "x-guploader-response-body-transformations");
    const char *warning = http_reply_header(reply, "warning");

    if (!d->packings || reply->status != 200 || (rc ? rc != ERR_TOO_LARGE : !end_is_known(reply)) ||
        !((changes && strstr(changes, "gunzipped")) || (warning && strstr(warning, "gunzipped"))))
        return false;
    d->too_large = rc || reply->body.len > d->max_bytes;
    d->unpacked = reply->body;
    d->packings--;
    d->complete = true;
    return true;
}

/* The piece is exactly the one asked for: from `have` to the end of an object of the size we know. */
static bool is_asked_range(const struct download *d, const struct http_reply *reply)
{
    const char *got = http_reply_header(reply, "content-range");
    char want[80];

    (void)snprintf(want, sizeof want, "bytes %" PRId64 "-%" PRId64 "/%" PRId64, d->have, d->object->size_bytes - 1,
                   d->object->size_bytes);
    return d->asked_for_rest && got && strcmp(got, want) == 0;
}

/* Stores the bytes of a piece, which may have broken off. false: they are not the bytes that were asked for. */
static bool take_piece(struct download *d, const struct http_reply *reply)
{
    int64_t at = reply->status == 206 ? d->have : 0, n = (int64_t)reply->body.len;

    if (reply->status == 206 && !is_asked_range(d, reply))
        return false;
    if (n > d->object->size_bytes - at)
        return false;
    if (at + n < d->have) /* the server ignored the range, and sent less than there is already */
        return true;
    if (n)
        memcpy(d->buf + at, reply->body.ptr, (size_t)n);
    d->have = at + n;
    return true;
}

bool storage_is_another_generation(const struct http_reply *reply, int64_t generation)
{
    const char *stated = http_reply_header(reply, "x-goog-generation");
    char want[24];

    (void)snprintf(want, sizeof want, "%" PRId64, generation);
    return stated && strcmp(stated, want) != 0;
}

static enum api_next judge_piece(void *ctx, enum err_code rc, const struct http_reply *reply)
{
    struct download *d = ctx;
    bool is_piece = reply->status == 200 || reply->status == 206;

    if (!rc && !is_piece && reply->status != 416)
        return api_judge(NULL, rc, reply);
    if (rc && rc != ERR_TOO_LARGE && !api_may_pass(rc, reply))
        return API_TAKE;
    if (is_piece && storage_is_another_generation(reply, d->object->generation)) {
        d->replaced = true;
        return API_TAKE;
    }
    if (take_unpacked(d, rc, reply))
        return API_TAKE;
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
        d->have = 0; /* start over; otherwise the next try continues where this one broke off */
    return API_RETRY;
}

/* Downloads the generation that d->object describes. ERR_NOT_FOUND: it has been replaced or deleted. */
static enum err_code download(const struct storage *s, const char *name, struct download *d,
                              const struct budget *budget, struct arena *a, struct err *err)
{
    struct http_request req = { .method = "GET", .low_speed_ms = STORAGE_LOW_SPEED_MS, .allow_plain = s->emulator };
    struct api_call call = storage_api(s, &get_policy, budget);
    struct http_reply reply;
    struct err why = { 0 };
    enum err_code rc;
    char *url;

    TRY(storage_object_url(s, name, a, &url, err));
    TRY(arena_printf(a, &url, err, "%s?alt=media&generation=%" PRId64, url, d->object->generation));
    req.url = url;
    call.prepare = prepare_piece;
    call.judge = judge_piece;
    call.ctx = d;
    rc = api_send(&call, &req, a, &reply, &why);
    if (d->complete)
        return ERR_OK;
    if (d->replaced)
        return err_set(err, ERR_NOT_FOUND, "storage: get '%.100s': the object has been replaced", name);
    if (rc)
        return storage_broken("get", name, STORAGE_READS, &why, err);
    if (reply.status == 200 || reply.status == 206 || reply.status == 416)
        return err_set(err, ERR_PROTOCOL, "storage: get '%.100s': the bytes do not match their length and checksum%s",
                       name, d->packings ? " (were they unpacked on their way?)" : "");
    return storage_refusal("get", name, &reply, err);
}

/* The metadata of an object that may be downloaded. */
static enum err_code stat_input(const struct storage *s, const char *name, size_t max_bytes,
                                const struct budget *budget, struct arena *a, struct storage_object *ret,
                                struct err *err)
{
    TRY(storage_stat(s, name, budget, a, ret, err));
    if (ret->size_bytes > STORAGE_GET_MAX || (uint64_t)ret->size_bytes > max_bytes)
        return err_set(err, ERR_TOO_LARGE, "storage: get '%.100s': %" PRId64 " bytes, at most %zu are allowed", name,
                       ret->size_bytes, max_bytes < STORAGE_GET_MAX ? max_bytes : STORAGE_GET_MAX);
    return ERR_OK;
}

/* Downloads the generation that ret->object describes. ERR_NOT_FOUND: it has been replaced or deleted. */
static enum err_code get_generation(const struct storage *s, const char *name, size_t max_bytes,
                                    const struct budget *budget, struct arena *a, struct storage_download *ret,
                                    struct err *err)
{
    const struct storage_object *object = &ret->object;
    struct download d = { .object = object, .max_bytes = max_bytes };

    TRY(storage_packings(name, object->content_encoding, &d.packings, err));
    TRY(arena_alloc(a, (size_t)object->size_bytes + 1, 1, &d.buf, err));
    if (object->size_bytes > 0)
        TRY(download(s, name, &d, budget, a, err));
    if (d.too_large)
        return err_set(err, ERR_TOO_LARGE, "storage: get '%.100s': more than %zu bytes when unpacked", name, max_bytes);
    ret->body = d.unpacked.ptr ? d.unpacked : (struct span){ d.buf, (size_t)object->size_bytes };
    return storage_unpack(name, d.packings, max_bytes, a, &ret->body, err);
}

enum err_code storage_get(const struct storage *s, const char *object, size_t max_bytes, const struct budget *budget,
                          struct arena *a, struct storage_download *ret, struct err *err)
{
    const struct arena_mark mark = arena_mark(a);
    struct storage_download result = { .replaced = false };
    enum err_code rc = ERR_NOT_FOUND;
    struct err why;

    for (int round = 0; round < GET_ROUNDS && rc == ERR_NOT_FOUND; round++) {
        arena_rewind(a, mark);
        why = (struct err){ 0 };
        TRY(stat_input(s, object, max_bytes, budget, a, &result.object, err));
        rc = get_generation(s, object, max_bytes, budget, a, &result, &why);
        result.replaced = round > 0;
    }
    if (rc)
        return err_set(err, rc == ERR_NOT_FOUND ? ERR_UNAVAILABLE : rc, "%s", why.msg);
    *ret = result;
    return ERR_OK;
}
