#include "worker/weights/object_list.h"

#include <string.h>

#include "worker/base/json.h"
#include "worker/google/api.h"

enum {
    PAGES_MAX = 50 /* some may be empty */,
    PAGE_REPLY_MAX = 8 << 20,
    PAGE_DEPTH_MAX = 8,
    TOKEN_MAX = 2048,
    SAID_SIZE = 300
};

/* PROTOCOL.md 7: base_ms, cap_ms, tries, call_timeout_ms. */
static const struct retry_policy list_policy = { 500, 8000, 6, 20000 };

#define OBJECT_BYTES_MAX ((int64_t)5 << 40) /* of Cloud Storage */

/* ---- refusals ---- */

enum err_code object_refusal(const char *what, const struct storage *s, const struct http_reply *reply, struct err *err)
{
    const enum err_code rc = api_code_of(reply->status);
    char said[SAID_SIZE];

    (void)api_error_text(reply->body, "message", said, sizeof said);
    if (reply->status == 403)
        return err_set(err, rc,
                       "weights: %s: HTTP 403: the worker's service account needs roles/storage.objectViewer on the "
                       "bucket '%s'%s%.100s",
                       what, s->bucket, *said ? ": " : "", said);
    if (reply->status == 401)
        return err_set(err, rc, "weights: %s: HTTP 401: a fresh token is refused, too: has the key been deleted?",
                       what);
    return err_set(err, rc, "weights: %s: HTTP %d%s%.200s", what, reply->status, *said ? ": " : "", said);
}

/* ---- one object ---- */

/* The names of a page are gone with the page. */
static enum err_code copy_names(struct listed_object *o, const char *name, size_t prefix, struct arena *a,
                                struct err *err)
{
    char *copy = NULL;

    TRY(span_dup(a, span_of(name), &copy, err));
    o->object = copy;
    o->name = copy + prefix;
    return ERR_OK;
}

static enum err_code read_item(const struct json *item, size_t prefix, struct arena *a, struct listed_object *ret,
                               struct err *err)
{
    const char *name = json_string(json_get(item, "name"));

    *ret = (struct listed_object){ .is_packed = *json_text(json_get(item, "contentEncoding")) };
    if (!name || strlen(name) <= prefix || strlen(name) > STORAGE_NAME_MAX ||
        !storage_read_number(json_get(item, "generation"), &ret->generation) || !ret->generation ||
        !storage_read_number(json_get(item, "size"), &ret->bytes) || ret->bytes > OBJECT_BYTES_MAX)
        return err_set(err, ERR_PROTOCOL,
                       "weights: an object of the list lacks name, generation or size, or has one that no object has");
    ret->has_crc32c = storage_read_crc32c(span_of(json_text(json_get(item, "crc32c"))), &ret->crc32c);
    return copy_names(ret, name, prefix, a, err);
}

/* ---- the pages ---- */

struct listing {
    const struct storage *s;
    const char *prefix; /* with its slash, or "" */
    struct arena *a;
    struct object_list list;
    char token[TOKEN_MAX]; /* of the next page; "": there is none */
};

static enum err_code page_url(const struct listing *l, struct arena *page, char **ret, struct err *err)
{
    char *prefix = NULL, *token = NULL;

    TRY(http_encode(page, span_of(l->prefix), &prefix, err));
    TRY(http_encode(page, span_of(l->token), &token, err));
    return arena_printf(page, ret, err,
                        "%s/storage/v1/b/%s/o?prefix=%s&maxResults=%d&fields=items(name,generation,size,crc32c,"
                        "contentEncoding),nextPageToken%s%s",
                        l->s->base, l->s->bucket, prefix, OBJECT_LIST_PAGE, *token ? "&pageToken=" : "", token);
}

static bool is_folder(const struct json *item)
{
    return span_ends(span_of(json_text(json_get(item, "name"))), "/");
}

static enum err_code read_page(struct listing *l, struct span body, struct arena *page, struct err *err)
{
    const struct json *root, *item;
    struct err why = { 0 };
    const char *token;

    if (json_parse(page, body, PAGE_DEPTH_MAX, &root, &why))
        return err_set(err, why.code == ERR_NOMEM ? ERR_NOMEM : ERR_PROTOCOL, "weights: the list of objects: %s",
                       why.msg);
    for (item = json_first(json_get(root, "items")); item; item = json_next(item)) {
        if (is_folder(item))
            continue;
        if (l->list.n == OBJECT_LIST_MAX)
            return err_set(
                err, ERR_TOO_LARGE,
                "weights: more than %d objects are below gs://%s/%s: put the model below a prefix of its own",
                OBJECT_LIST_MAX, l->s->bucket, l->prefix);
        TRY(read_item(item, strlen(l->prefix), l->a, &l->list.objects[l->list.n], err));
        l->list.n++;
    }
    token = json_text(json_get(root, "nextPageToken"));
    if (strlen(token) >= sizeof l->token)
        return err_set(err, ERR_PROTOCOL, "weights: the list of objects: the token of the next page is too long");
    (void)snprintf(l->token, sizeof l->token, "%s", token);
    return ERR_OK;
}

static enum err_code get_page(struct listing *l, const struct budget *budget, struct arena *page, struct err *err)
{
    struct http_request req = { .method = "GET", .max_reply_bytes = PAGE_REPLY_MAX, .allow_plain = l->s->emulator };
    const struct api_call call = { .http = l->s->http,
                                   .gauth = l->s->gauth,
                                   .service = GAUTH_STORAGE,
                                   .policy = &list_policy,
                                   .budget = budget,
                                   .judge = api_judge };
    struct http_reply reply;
    struct err why = { 0 };
    enum err_code rc;
    char *url = NULL, *what = NULL;

    TRY(page_url(l, page, &url, err));
    TRY(arena_printf(page, &what, err, "list gs://%s/%s", l->s->bucket, l->prefix));
    req.url = url;
    rc = api_send(&call, &req, page, &reply, &why);
    if (rc)
        return err_set(err,
                       rc == ERR_UNKNOWN_OUTCOME ? ERR_UNAVAILABLE
                       : rc == ERR_TOO_LARGE     ? ERR_PROTOCOL
                                                 : rc,
                       "weights: %s: %s", what, why.msg);
    if (reply.status == 404)
        return err_set(err, ERR_NOT_FOUND,
                       "weights: %s: HTTP 404: there is no bucket '%s': WEIGHTS is "
                       "gs://BUCKET/PREFIX",
                       what, l->s->bucket);
    if (reply.status != 200)
        return object_refusal(what, l->s, &reply, err);
    return read_page(l, reply.body, page, err);
}

static enum err_code get_pages(struct listing *l, const struct budget *budget, struct err *err)
{
    struct arena page = { 0 };
    enum err_code rc;
    int n = 0;

    TRY(arena_init(&page, (size_t)16 * PAGE_REPLY_MAX, err)); /* the tree is larger than the text */
    do {
        const struct arena_mark mark = arena_mark(&page);

        rc = get_page(l, budget, &page, err);
        arena_rewind(&page, mark);
    } while (!rc && *l->token && ++n < PAGES_MAX);
    if (!rc && *l->token)
        rc = err_set(err, ERR_TOO_LARGE,
                     "weights: the list of gs://%s/%s has more than %d pages: put the model below a prefix of its own",
                     l->s->bucket, l->prefix, PAGES_MAX);
    arena_done(&page);
    return rc;
}

enum err_code object_list_get(const struct storage *s, const char *prefix, const struct budget *budget, struct arena *a,
                              struct object_list *ret, struct err *err)
{
    struct listing l = { .s = s, .a = a };
    char *with_slash = NULL;

    TRY(arena_printf(a, &with_slash, err, "%s%s", prefix, *prefix ? "/" : ""));
    l.prefix = with_slash;
    TRY(arena_alloc(a, OBJECT_LIST_MAX, sizeof *l.list.objects, &l.list.objects, err));
    TRY(get_pages(&l, budget, err));
    if (!l.list.n)
        return err_set(err, ERR_NOT_FOUND,
                       "weights: there is no object below gs://%s/%s: put the model files there, or correct WEIGHTS",
                       s->bucket, l.prefix);
    *ret = l.list;
    return ERR_OK;
}
