/*
 * names - which texts may stand in a URL as a bucket, a project, a database or a host; what a gs:// URL names; which
 * URLs stay on this machine; and which texts are the path of a file rather than its contents.
 */
#ifndef WORKER_BASE_NAMES_H
#define WORKER_BASE_NAMES_H

#include <stdbool.h>

#include "kernels/base/span.h"

enum {
    BUCKET_NAME_MAX = 222,
    OBJECT_PREFIX_MAX = 512,
    PROJECT_ID_MAX = 128,
    DATABASE_NAME_MAX = 63,
    TOPIC_NAME_MAX = 255,
    HOST_MAX_BYTES = 253
};

/* 3 to BUCKET_NAME_MAX of [a-z0-9._-]. */
bool bucket_name_is_valid(const char *name);

/* "gs://BUCKET" or "gs://BUCKET/PREFIX": true, and the two parts, the prefix without the slashes around it. Of a prefix
 * 1 to OBJECT_PREFIX_MAX printable bytes are taken, and no part of it is empty, "." or "..". */
bool gs_url_split(const char *url, struct span *ret_bucket, struct span *ret_prefix);

/* 1 to PROJECT_ID_MAX of [A-Za-z0-9.:_-]: an old project is called "example.com:project". */
bool project_id_is_valid(struct span id);

/* "(default)", or 4 to DATABASE_NAME_MAX of [a-z0-9-], a letter first and no hyphen last. */
bool database_name_is_valid(const char *name);

/* projects/PROJECT/topics/NAME; the name is 3 to TOPIC_NAME_MAX of [A-Za-z0-9._~+%-], a letter first. */
bool topic_name_is_valid(const char *name);

/* projects/PROJECT/subscriptions/NAME, in the same way. */
bool subscription_name_is_valid(const char *name);

/* host, host:port, [v6] or [v6]:port; the host is HOST_MAX_BYTES long at most. */
bool host_is_valid(const char *text);

/* An http:// URL of 127.0.0.1, localhost or [::1]. The host must end there: "http://localhost.evil.example" is not. */
bool is_loopback_url(const char *url);

/* False for a text that looks like a key: JSON, PEM or a long base64. Such a text must not be quoted in a message. Nor
 * is it a path that stands in double quotes, or has a blank or a line break around it. */
bool path_is_plausible(const char *text);

#endif
