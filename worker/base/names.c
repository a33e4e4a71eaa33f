#include "worker/base/names.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS     "0123456789"
#define LOWER_CASE "abcdefghijklmnopqrstuvwxyz"
#define UPPER_CASE "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

bool bucket_name_is_valid(const char *name)
{
    size_t n = strspn(name, LOWER_CASE DIGITS "._-");

    return n >= 3 && n <= BUCKET_NAME_MAX && !name[n];
}

/* Neither empty, nor what a path would resolve, nor what a log could not show. */
static bool is_segment(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
            return false;
    return n && !(text[0] == '.' && (n == 1 || (n == 2 && text[1] == '.')));
}

static bool is_prefix(struct span prefix)
{
    for (size_t at = 0, n; at < prefix.len; at += n + 1) {
        const char *slash = memchr(prefix.ptr + at, '/', prefix.len - at);

        n = slash ? (size_t)(slash - prefix.ptr) - at : prefix.len - at;
        if (!is_segment(prefix.ptr + at, n))
            return false;
    }
    return prefix.len <= OBJECT_PREFIX_MAX;
}

bool gs_url_split(const char *url, struct span *ret_bucket, struct span *ret_prefix)
{
    static const char scheme[] = "gs://";
    const char *bucket = url + sizeof scheme - 1;
    char name[BUCKET_NAME_MAX + 1];
    struct span prefix;
    size_t n;

    if (strncmp(url, scheme, sizeof scheme - 1) != 0)
        return false;
    n = strcspn(bucket, "/");
    if (n > BUCKET_NAME_MAX)
        return false;
    memcpy(name, bucket, n);
    name[n] = 0;
    prefix = span_of(bucket + n + (bucket[n] == '/'));
    while (prefix.len && prefix.ptr[prefix.len - 1] == '/')
        prefix.len--;
    if (!bucket_name_is_valid(name) || !is_prefix(prefix))
        return false;
    *ret_bucket = (struct span){ bucket, n };
    *ret_prefix = prefix;
    return true;
}

bool project_id_is_valid(struct span id)
{
    for (size_t i = 0; i < id.len; i++)
        if (!id.ptr[i] || !strchr(UPPER_CASE LOWER_CASE DIGITS "-._:", id.ptr[i]))
            return false;
    return id.len >= 1 && id.len <= PROJECT_ID_MAX;
}

bool database_name_is_valid(const char *name)
{
    size_t n = strspn(name, LOWER_CASE DIGITS "-");

    if (strcmp(name, "(default)") == 0)
        return true;
    return n >= 4 && n <= DATABASE_NAME_MAX && !name[n] && strchr(LOWER_CASE, name[0]) && name[n - 1] != '-';
}

/* projects/PROJECT, what stands between, and a name of Pub/Sub. */
static bool is_of_pubsub(const char *text, const char *between, size_t least)
{
    static const char before[] = "projects/";
    const char *project = text + sizeof before - 1, *name;
    size_t n;

    if (strncmp(text, before, sizeof before - 1) != 0)
        return false;
    name = strstr(project, between);
    if (!name || !project_id_is_valid((struct span){ project, (size_t)(name - project) }))
        return false;
    name += strlen(between);
    n = strspn(name, UPPER_CASE LOWER_CASE DIGITS "._~+%-");
    return n >= least && n <= TOPIC_NAME_MAX && !name[n] && strchr(UPPER_CASE LOWER_CASE, name[0]);
}

bool topic_name_is_valid(const char *name)
{
    return is_of_pubsub(name, "/topics/", 3);
}

bool subscription_name_is_valid(const char *name)
{
    return is_of_pubsub(name, "/subscriptions/", 1); /* emulators take a short one */
}

static bool is_port(const char *text)
{
    return *text && text[strspn(text, DIGITS)] == 0 && strlen(text) <= 5 && atoi(text) <= 65535;
}

bool host_is_valid(const char *text)
{
    size_t n = *text == '[' ? strcspn(text, "]") + 1 : strspn(text, UPPER_CASE LOWER_CASE DIGITS "-._");

    if (n == 0 || n > strlen(text) || n > HOST_MAX_BYTES)
        return false;
    if (*text == '[' && strspn(text + 1, DIGITS "abcdefABCDEF:.") != n - 2)
        return false;
    return !text[n] || (text[n] == ':' && is_port(text + n + 1));
}

bool is_loopback_url(const char *url)
{
    static const char *const hosts[] = { "http://127.0.0.1", "http://localhost", "http://[::1]" };

    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        size_t n = strlen(hosts[i]);

        if (!span_starts(span_of(url), hosts[i]))
            continue;
        if (url[n] == ':')
            n += 1 + strspn(url + n + 1, DIGITS);
        return url[n] == '/' || !url[n];
    }
    return false;
}

bool path_is_plausible(const char *text)
{
    enum { SHORT = 64 }; /* bytes: the base64 of a key has more */
    size_t n = strlen(text);

    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 127 || strchr("{}\"", text[i]))
            return false;
    if (!n || n >= PATH_MAX || *text == ' ' || text[n - 1] == ' ' || strncmp(text, "-----", 5) == 0)
        return false;
    return *text == '/' || n <= SHORT ||
           strchr(text, '.'); /* base64 has no dot, and that of JSON begins with a letter */
}
