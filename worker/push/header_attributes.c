#include "worker/push/header_attributes.h"

#include <string.h>
#include <strings.h>

#include "worker/base/json.h"
#include "worker/push/printable.h"

static bool is_one_of(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return false;
}

/* Headers that are not the sender's. */
static bool is_of_the_way(const char *name)
{
    static const char *const names[] = {
        "accept",  "accept-encoding", "connection", "content-length", "content-type", "forwarded", "from",
        "host",    "keep-alive",      "te",         "traceparent",    "tracestate",   "trailer",   "transfer-encoding",
        "upgrade", "user-agent",      "via"
    };
    static const char *const prefixes[] = { "x-goog-",  "x-cloud-",      "x-forwarded-", "x-appengine-", "x-google-",
                                            "x-envoy-", "x-serverless-", "x-real-",      "x-client-",    "x-request-" };

    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncasecmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return is_one_of(name, names, sizeof names / sizeof *names);
}

static bool may_be_secret(const char *name, const char *value)
{
    static const char *const words[] = { "auth",     "token",     "cookie", "jwt",        "key",       "secret",
                                         "session-", "signature", "passw",  "credential", "assertion", "api" };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasestr(name, words[i]))
            return true;
    return strcasestr(value, "bearer ") || strcasestr(value, "basic ") || strstr(value, "eyJ") ||
           strstr(value, "ya29.");
}

enum err_code header_attributes(const struct push_header *headers, int n, struct arena *a, struct span *ret,
                                struct err *err)
{
    struct json *object = json_new_object(a);
    char *text;

    for (int i = 0; i < n; i++) {
        char *name, *value;

        if (is_of_the_way(headers[i].name) || may_be_secret(headers[i].name, headers[i].value))
            continue;
        TRY(printable_text(headers[i].name, a, &name, err));
        TRY(printable_text(headers[i].value, a, &value, err));
        if (!json_get(object, name))
            json_add_string(object, name, value);
    }
    TRY(json_print(a, object, &text, err));
    *ret = span_of(text);
    return ERR_OK;
}
