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
    _Atomic bool *bucket_seen;
    char *base, *name = NULL;

    if (is_set(o->bucket) && !bucket_name_is_valid(o->bucket))
        return err_set(err, ERR_INVALID, "FIREBASE_STORAGE_BUCKET: '%.100s' is not the name of a bucket", o->bucket);
    if (emulator)
        TRY(emulator_base(host, a, &base, err));
    else
        TRY(span_dup(a, SPAN("https://storage.googleapis.com"), &base, err));
    if (is_set(o->bucket))
        TRY(span_dup(a, span_of(o->bucket), &name, err));
    TRY(arena_alloc(a, 1, sizeof *bucket_seen, &bucket_seen, err));
    *s = (struct storage){ o->http, o->gauth, o->sys, base, name, o->tokens, emulator, bucket_seen };
    return ERR_OK;
}

/* ---- stat ---- */

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
    *s->bucket_seen = true;
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
