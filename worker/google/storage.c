#include "worker/google/storage.h"

#include <inttypes.h>
#include <string.h>

#include "worker/base/names.h"
#include "worker/google/storage_parts.h"

/* PROTOCOL.md 7: base_ms, cap_ms, tries, call_timeout_ms. */
static const struct retry_policy meta_policy = { 500, 8000, 5, 10000 };

/* ---- addresses ---- */

static bool is_set(const char *text)
{
    return text && *text;
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

enum err_code storage_init(struct storage *s, const struct storage_options *o, struct arena *a, struct err *err)
{
    const char *host = is_set(o->emulator_host) ? o->emulator_host : o->firebase_emulator_host;
    bool emulator = is_set(host);
    atomic_int *bucket_is;
    char *base, *name;

    if (!is_set(o->bucket) || !bucket_name_is_valid(o->bucket))
        return err_set(err, ERR_INVALID, "FIREBASE_STORAGE_BUCKET: '%.100s' is not the name of a bucket",
                       o->bucket ? o->bucket : "");
    if (emulator)
        TRY(emulator_base(host, a, &base, err));
    else
        TRY(span_dup(a, SPAN("https://storage.googleapis.com"), &base, err));
    TRY(span_dup(a, span_of(o->bucket), &name, err));
    TRY(arena_alloc(a, 1, sizeof *bucket_is, &bucket_is, err));
    *s = (struct storage){ o->http, o->gauth, o->sys, base, name, o->tokens, emulator, bucket_is };
    return ERR_OK;
}

/* PROTOCOL.md 5.1. */
enum err_code storage_encode_name(const char *object, struct arena *a, char **ret, struct err *err)
{
    size_t n = strlen(object);

    if (n < 1 || n > STORAGE_NAME_MAX || object[strcspn(object, "\r\n")] || strcmp(object, ".") == 0 ||
        strcmp(object, "..") == 0 || strncmp(object, ".well-known/acme-challenge/", 27) == 0)
        return err_set(err, ERR_INVALID, "storage: '%.80s' is not the name of an object", object);
    return http_encode(a, span_of(object), ret, err);
}

enum err_code storage_object_url(const struct storage *s, const char *object, struct arena *a, char **ret,
                                 struct err *err)
{
    char *name;

    TRY(storage_encode_name(object, a, &name, err));
    return arena_printf(a, ret, err, "%s/storage/v1/b/%s/o/%s", s->base, s->bucket, name);
}

/* ---- what an answer means ---- */

bool storage_may_pass(enum err_code rc, const struct http_reply *reply)
{
    return rc ? rc == ERR_UNAVAILABLE || rc == ERR_UNKNOWN_OUTCOME : http_status_is_transient(reply->status);
}

enum api_next storage_judge(void *ctx, enum err_code rc, const struct http_reply *reply)
{
    (void)ctx;
    if (!rc && reply->status == 401)
        return API_NEW_TOKEN;
    return storage_may_pass(rc, reply) ? API_RETRY : API_TAKE;
}

/* What an operator can do about it. */
static const char *remedy(int status)
{
    if (status == 401)
        return ": a fresh token is refused, too: has the key been deleted?";
    if (status == 403)
        return ": does the service account have roles/storage.objectUser on the bucket? (403 may also mean that "
               "there is no such object)";
    return "";
}

enum err_code storage_refusal(const char *what, const char *object, const struct http_reply *reply, struct err *err)
{
    int status = reply->status;
    enum err_code rc = status == 404                      ? ERR_NOT_FOUND
                       : status == 412 || status == 304   ? ERR_CONFLICT
                       : status == 401 || status == 403   ? ERR_DENIED
                       : http_status_is_transient(status) ? ERR_UNAVAILABLE
                                                          : ERR_INVALID;

    return err_set(err, rc, "storage: %s '%.80s': HTTP %d%s", what, object, status, remedy(status));
}

enum err_code storage_broken(const char *what, const char *object, enum storage_access access, const struct err *why,
                             struct err *err)
{
    enum err_code rc = why->code;

    if (rc == ERR_TOO_LARGE) /* callers take this code to mean that an input is too large */
        rc = ERR_PROTOCOL;
    if (rc == ERR_UNKNOWN_OUTCOME && access == STORAGE_READS)
        rc = ERR_UNAVAILABLE;
    return err_set(err, rc, "storage: %s '%.100s': %s", what, object, why->msg);
}

struct api_call storage_api(const struct storage *s, const struct retry_policy *policy, const struct budget *budget)
{
    return (struct api_call){ .http = s->http,
                              .gauth = s->gauth,
                              .service = GAUTH_STORAGE,
                              .policy = policy,
                              .budget = budget,
                              .judge = storage_judge };
}

/* ---- metadata ---- */

bool storage_has_md5(struct span body, const unsigned char want[CRYPTO_MD5_BYTES])
{
    unsigned char md5[CRYPTO_MD5_BYTES];

    return !crypto_md5(body, md5, NULL) && memcmp(md5, want, sizeof md5) == 0;
}

/* A request about an object itself, answered by a small reply. */
struct meta_request {
    const char *method, *object, *query;
};

static enum err_code meta_call(const struct storage *s, const struct meta_request *meta, const struct budget *budget,
                               struct arena *a, struct http_reply *ret, struct err *err)
{
    struct http_request req = { .method = meta->method,
                                .max_reply_bytes = STORAGE_META_REPLY_MAX,
                                .allow_plain = s->emulator };
    struct api_call call = storage_api(s, &meta_policy, budget);
    bool reads = strcmp(meta->method, "GET") == 0;
    struct err why = { 0 };
    char *url;

    TRY(storage_object_url(s, meta->object, a, &url, err));
    TRY(arena_printf(a, &url, err, "%s?%s", url, meta->query));
    req.url = url;
    if (api_send(&call, &req, a, ret, &why))
        return storage_broken(reads ? "stat" : "delete", meta->object, reads ? STORAGE_READS : STORAGE_WRITES, &why,
                              err);
    return ERR_OK;
}

enum err_code storage_stat(const struct storage *s, const char *object, const struct budget *budget, struct arena *a,
                           struct storage_object *ret, struct err *err)
{
    struct http_reply reply;

    TRY(meta_call(s, &(struct meta_request){ "GET", object, storage_meta_fields }, budget, a, &reply, err));
    if (reply.status == 404)
        return storage_absence(s, &(struct storage_call){ "stat", object, budget }, &reply, a, err);
    if (reply.status != 200)
        return storage_refusal("stat", object, &reply, err);
    TRY(storage_read_object(object, reply.body, a, ret, err));
    *s->bucket_is = STORAGE_BUCKET_SEEN;
    return ERR_OK;
}

/* ---- delete ---- */

enum err_code storage_delete(const struct storage *s, const char *object, int64_t generation,
                             const struct budget *budget, struct arena *a, struct err *err)
{
    struct http_reply reply;
    enum err_code rc;
    char *query;

    TRY(arena_printf(a, &query, err, "ifGenerationMatch=%" PRId64, generation));
    TRY(meta_call(s, &(struct meta_request){ "DELETE", object, query }, budget, a, &reply, err));
    if (reply.status == 404) {
        struct err why = { 0 };

        rc = storage_absence(s, &(struct storage_call){ "delete", object, budget }, &reply, a, &why);
        return rc == ERR_NOT_FOUND ? ERR_OK : err_set(err, rc, "%s", why.msg);
    }
    if (reply.status == 200 || reply.status == 204)
        return ERR_OK;
    return storage_refusal("delete", object, &reply, err);
}
