/* storage_absent - what a 404 is about: the object, which may be a user's, or the bucket, which is the operator's. */
#include <ctype.h>
#include <string.h>

#include "worker/base/json.h"
#include "worker/google/storage_parts.h"

enum { SAID_MAX = 2048, SAID_DEPTH_MAX = 16 };

/* PROTOCOL.md 7: base_ms, cap_ms, tries, call_timeout_ms. */
static const struct retry_policy ask_policy = { 500, 8000, 5, 10000 };

/* ---- what the answer says ---- */

/* The message in lower case: error.message of the JSON API, or the text of a download's answer. */
static void read_said(const struct http_reply *reply, struct arena *a, char ret[SAID_MAX])
{
    const struct json *root = NULL;
    struct span said = reply->body;
    size_t n;

    if (!json_parse(a, reply->body, SAID_DEPTH_MAX, &root, NULL))
        said = span_of(json_text(json_get(json_get(root, "error"), "message")));
    n = said.len < SAID_MAX - 1 ? said.len : SAID_MAX - 1;
    for (size_t i = 0; i < n; i++)
        ret[i] = said.ptr[i] ? (char)tolower((unsigned char)said.ptr[i]) : ' ';
    ret[n] = 0;
}

/* Names may hold the words that are looked for. */
static void blank(char *said, const char *name)
{
    size_t n = strlen(name);

    if (strcasecmp(name, "bucket") == 0 || strcasecmp(name, "object") == 0) /* then both words count as said */
        return;
    for (char *p = said; n && (p = strcasestr(p, name)); p += n)
        memset(p, ' ', n);
}

static enum storage_absent {
    ABSENT_OBJECT,
    ABSENT_BUCKET,
    ABSENT_UNCLEAR
} absent_in(const struct storage *s, const char *object, const struct http_reply *reply, struct arena *a)
{
    char said[SAID_MAX];
    bool says_bucket, says_object;

    read_said(reply, a, said);
    if (span_starts(span_of(said), "no such object"))
        return ABSENT_OBJECT;
    blank(said, object);
    blank(said, s->bucket);
    says_bucket = strstr(said, "bucket");
    says_object = strstr(said, "object");
    if (says_bucket == says_object)
        return ABSENT_UNCLEAR;
    return says_object ? ABSENT_OBJECT : ABSENT_BUCKET;
}

/* ---- the bucket ---- */

enum err_code storage_no_bucket(const struct storage *s, struct err *err)
{
    *s->bucket_seen = false;
    return err_set(err, ERR_UNAVAILABLE,
                   "storage: the bucket '%.100s' does not exist: set FIREBASE_STORAGE_BUCKET to the name of the app's "
                   "bucket",
                   s->bucket);
}

/* ERR_OK: it is there, or this account may not know. */
static enum err_code ask_for_bucket(const struct storage *s, const struct budget *budget, struct arena *a,
                                    struct err *err)
{
    struct http_request req = { .method = "GET",
                                .max_reply_bytes = STORAGE_META_REPLY_MAX,
                                .allow_plain = s->emulator };
    struct api_call call = storage_api(s, &ask_policy, budget);
    struct http_reply reply;
    struct err why = { 0 };
    char *url;

    TRY(arena_printf(a, &url, err, "%s/storage/v1/b/%s?fields=name", s->base, s->bucket));
    req.url = url;
    if (api_send(&call, &req, a, &reply, &why))
        return storage_broken("get the bucket", s->bucket, STORAGE_READS, &why, err);
    if (reply.status == 401 || http_status_is_transient(reply.status))
        return storage_refusal("get the bucket", s->bucket, &reply, err);
    if (reply.status == 404)
        return storage_no_bucket(s, err);
    if (reply.status == 200)
        *s->bucket_seen = true;
    return ERR_OK;
}

enum err_code storage_absence(const struct storage *s, const struct storage_call *call, const struct http_reply *reply,
                              struct arena *a, struct err *err)
{
    enum storage_absent absent = absent_in(s, call->object, reply, a);

    if (absent == ABSENT_BUCKET)
        return storage_no_bucket(s, err);
    if (absent == ABSENT_OBJECT)
        *s->bucket_seen = true;
    else if (!*s->bucket_seen)
        TRY(ask_for_bucket(s, call->budget, a, err));
    return err_set(err, ERR_NOT_FOUND, "storage: %s '%.80s': HTTP 404: no such object in the bucket '%.80s'",
                   call->what, call->object, s->bucket);
}
