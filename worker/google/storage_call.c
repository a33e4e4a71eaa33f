/* storage_call - the shape of every call about an object: its address, the judge of its answers, errors. */
#include <string.h>

#include "worker/google/storage_parts.h"

enum { SAID_SIZE = 1024 };

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

/* What an operator can do about it. */
static const char *remedy(int status, const char *said)
{
    if (status == 401)
        return "a fresh token is refused, too: has the key been deleted?";
    if (status == 403 && (!*said || strstr(said, " does not have storage.")))
        return "does the service account have roles/storage.objectUser on the bucket? (403 may also mean that "
               "there is no such object)";
    return said;
}

enum err_code storage_refusal(const char *what, const char *object, const struct http_reply *reply, struct err *err)
{
    int status = reply->status;
    enum err_code rc = status == 412 || status == 304 ? ERR_CONFLICT : api_code_of(status);
    const char *why;
    char said[SAID_SIZE];

    /* Only the server's words tell of a retention policy, a key of KMS, a requester who pays. */
    (void)api_error_text(reply->body, "message", said, sizeof said);
    why = remedy(status, said);
    return err_set(err, rc, "storage: %s '%.80s': HTTP %d%s%.130s", what, object, status, *why ? ": " : "", why);
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
                              .judge = api_judge };
}

bool storage_has_md5(struct span body, const unsigned char want[CRYPTO_MD5_BYTES])
{
    unsigned char md5[CRYPTO_MD5_BYTES];

    return !crypto_md5(body, md5, NULL) && memcmp(md5, want, sizeof md5) == 0;
}
