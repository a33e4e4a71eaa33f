/* storage_meta - the resource of an object: read from an answer, written for an upload. PROTOCOL.md 5.2, 5.4. */
#include <string.h>

#include "kernels/base/base64.h"
#include "kernels/base/json_scan.h"
#include "worker/base/json.h"
#include "worker/google/storage_parts.h"

enum {
    META_DEPTH_MAX = 16,
    CUSTOM_BYTES_MAX = 8192, /* of all names and values of custom metadata: the limit of Cloud Storage */
    HEADER_BYTES_MAX = 1024  /* of cacheControl and its like */
};

#define TOKENS "firebaseStorageDownloadTokens"
#define JOB_ID "jobId"

const char storage_meta_fields[] =
    "fields=name,generation,metageneration,size,contentType,contentEncoding,cacheControl,"
    "contentDisposition,contentLanguage,md5Hash,crc32c,metadata";

/* ---- reading ---- */

bool storage_read_number(const struct json *v, int64_t *ret)
{
    const char *text = json_string(v);

    return (text ? json_int64(span_of(text), ret) : json_integer(v, ret)) && *ret >= 0;
}

bool storage_read_digest(struct span text, void *bytes, size_t want)
{
    size_t n;

    return !base64_decode(text, BASE64_STANDARD, bytes, want, &n, NULL) && n == want;
}

bool storage_read_crc32c(struct span text, uint32_t *ret)
{
    unsigned char b[4];

    if (!storage_read_digest(text, b, sizeof b))
        return false;
    *ret = span_be32(b);
    return true;
}

/* The four digits after "\u"; -1: they are not four digits. */
static int unit_at(struct span s, size_t at)
{
    int unit = 0;

    if (at + 6 > s.len || s.ptr[at] != '\\' || s.ptr[at + 1] != 'u')
        return -1;
    for (size_t i = at + 2; i < at + 6; i++) {
        const char *digits = "0123456789abcdef0123456789ABCDEF", *digit = strchr(digits, s.ptr[i]);

        if (!digit || !s.ptr[i])
            return -1;
        unit = unit * 16 + (int)((digit - digits) % 16);
    }
    return unit;
}

/*
 * Any user of the app may set metadata of an object, so an answer must be read whatever is in it. What our JSON
 * refuses, U+0000 and lone surrogates, becomes U+0001 here: by that a value that cannot be kept is known.
 */
static enum err_code without_odd_units(struct span body, struct arena *a, struct span *ret, struct err *err)
{
    char *copy;

    TRY(span_dup(a, body, &copy, err));
    *ret = (struct span){ copy, body.len };
    for (size_t at = 0; at + 1 < body.len; at += copy[at] == '\\' ? 2 : 1) {
        int unit = unit_at(*ret, at), next = unit >> 10 == 0xD800 >> 10 ? unit_at(*ret, at + 6) : -1;

        if (unit >> 10 == 0xD800 >> 10 && next >> 10 == 0xDC00 >> 10)
            at += 6;
        else if (unit == 0 || unit >> 11 == 0xD800 >> 11)
            memcpy(copy + at + 2, "0001", 4);
    }
    return ERR_OK;
}

static enum err_code read_numbers(const char *object, const struct json *root, struct storage_object *o,
                                  struct err *err)
{
    const char *name = json_string(json_get(root, "name"));

    if (!name || strcmp(name, object) != 0)
        return err_set(err, ERR_PROTOCOL, "storage: '%.100s': the answer names %s", object,
                       name ? "another object" : "no object");
    if (!storage_read_number(json_get(root, "generation"), &o->generation) || o->generation == 0 ||
        !storage_read_number(json_get(root, "size"), &o->size_bytes))
        return err_set(err, ERR_PROTOCOL, "storage: '%.100s': the answer lacks generation or size", object);
    if (!storage_read_number(json_get(root, "metageneration"), &o->metageneration))
        o->metageneration = 0;
    return ERR_OK;
}

enum err_code storage_read_object(const char *object, struct span body, struct arena *a, struct storage_object *ret,
                                  struct err *err)
{
    struct storage_object o = { 0 };
    struct err why = { 0 };
    const struct json *root;
    const char *crc, *md5;

    TRY(without_odd_units(body, a, &body, err));
    if (json_parse(a, body, META_DEPTH_MAX, &root, &why))
        return err_set(err, why.code == ERR_NOMEM ? ERR_NOMEM : ERR_PROTOCOL, "storage: '%.100s': %s", object, why.msg);
    TRY(read_numbers(object, root, &o, err));
    o.content_type = json_text(json_get(root, "contentType"));
    o.content_encoding = json_text(json_get(root, "contentEncoding"));
    o.cache_control = json_text(json_get(root, "cacheControl"));
    o.content_disposition = json_text(json_get(root, "contentDisposition"));
    o.content_language = json_text(json_get(root, "contentLanguage"));
    o.metadata = json_get(root, "metadata");
    o.job_id = json_text(json_get(o.metadata, JOB_ID));
    crc = json_string(json_get(root, "crc32c"));
    md5 = json_string(json_get(root, "md5Hash"));
    o.has_crc32c = crc && storage_read_crc32c(span_of(crc), &o.crc32c);
    o.has_md5 = md5 && storage_read_digest(span_of(md5), o.md5, sizeof o.md5);
    *ret = o;
    return ERR_OK;
}

/* ---- writing ---- */

struct custom {
    struct json *to;
    size_t room; /* bytes that are left of CUSTOM_BYTES_MAX */
    int dropped;
};

static void add_custom(struct custom *c, const char *name, const char *value)
{
    size_t n = value ? strlen(name) + strlen(value) : 0;

    if (!value || n > c->room || strchr(name, 1) || strchr(value, 1)) {
        c->dropped++;
        return;
    }
    c->room -= n;
    json_add_string(c->to, name, value);
}

/* An upload replaces all metadata of an object; what the app has set is sent again, but for what is ours. */
static void keep_custom(struct custom *c, const struct json *old)
{
    const struct json *v;

    c->dropped += json_type(old) != JSON_T_OBJECT && json_type(old) != JSON_T_ABSENT && json_type(old) != JSON_T_NULL;
    if (json_type(old) != JSON_T_OBJECT)
        return;
    for (v = json_first(old); v; v = json_next(v))
        if (*json_key(v) && strcasecmp(json_key(v), JOB_ID) != 0 && strcasecmp(json_key(v), TOKENS) != 0)
            add_custom(c, json_key(v), json_string(v));
}

/* Links that the app has given away hold a token: they go on working as long as the object keeps it. */
static void add_tokens(struct custom *c, const struct storage *s, const struct json *old)
{
    const struct json *v = json_get(old, TOKENS);
    char fresh[37];
    int before = c->dropped;

    if (s->tokens == DOWNLOAD_TOKENS_NONE)
        return;
    if (v && !(json_string(v) && !*json_string(v)))
        add_custom(c, TOKENS, json_string(v));
    if (s->tokens != DOWNLOAD_TOKENS_CREATE || (v && *json_text(v) && c->dropped == before))
        return;
    sys_uuid(s->sys, fresh);
    add_custom(c, TOKENS, fresh);
}

/* A header of the object: what the app has set, else ours. */
static void add_header(struct custom *c, struct json *root, const char *name, const char *kept, const char *ours)
{
    bool good = kept && *kept && strlen(kept) <= HEADER_BYTES_MAX && !strchr(kept, 1);

    c->dropped += kept && *kept && !good;
    if (good || ours)
        json_add_string(root, name, good ? kept : ours);
}

enum err_code storage_write_object(const struct storage *s, const struct storage_put *put, uint32_t crc,
                                   struct arena *a, struct storage_resource *ret, struct err *err)
{
    const unsigned char b[4] = { (unsigned char)(crc >> 24), (unsigned char)(crc >> 16), (unsigned char)(crc >> 8),
                                 (unsigned char)crc };
    static const struct storage_object nothing;
    const struct storage_object *old = put->replaces ? put->replaces : &nothing;
    struct json *root = json_new_object(a);
    struct custom c = { .room = CUSTOM_BYTES_MAX };
    char crc_text[12];

    TRY(base64_encode((struct span){ (const char *)b, sizeof b }, BASE64_STANDARD, crc_text, sizeof crc_text, NULL,
                      err));
    json_add_string(root, "name", put->object);
    json_add_string(root, "contentType", put->content_type);
    add_header(&c, root, "cacheControl", old->cache_control, put->cache_control);
    add_header(&c, root, "contentDisposition", old->content_disposition, NULL);
    add_header(&c, root, "contentLanguage", old->content_language, NULL);
    json_add_string(root, "crc32c", crc_text);
    c.to = json_add_object(root, "metadata");
    if (put->job_id)
        add_custom(&c, JOB_ID, put->job_id);
    add_tokens(&c, s, old->metadata);
    keep_custom(&c, old->metadata);
    ret->dropped = c.dropped;
    return json_print(a, root, &ret->json, err);
}
