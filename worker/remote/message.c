#include "worker/remote/message.h"

#include <stdio.h>

#include "kernels/base/base64.h"
#include "worker/base/json.h"
#include "worker/base/rfc3339.h"
#include "worker/push/job.h"
#include "worker/push/pubsub.h"

enum { RANDOM_BYTES = 12 };

enum err_code message_payload(const char *user, const char *session, struct arena *a, char **ret, struct err *err)
{
    struct json *root = json_new_object(a);
    struct job job;

    json_add_string(root, "userId", user);
    json_add_string(root, "sessionId", session);
    TRY(json_print(a, root, ret, err));
    return job_parse(span_of(*ret), &job, err);
}

enum err_code message_wrap(const struct message *m, struct arena *a, char **ret, struct err *err)
{
    size_t size = BASE64_ENCODED_SIZE(m->data.len);
    struct json *root = json_new_object(a), *message;
    const struct json *attributes;
    char at[RFC3339_SIZE], *data;

    rfc3339_format(m->published_us, at);
    TRY(arena_alloc(a, size, 1, &data, err));
    TRY(base64_encode(m->data, BASE64_STANDARD, data, size, NULL, err));
    TRY(json_parse(a, m->attributes, PUBSUB_DEPTH_MAX, &attributes, err));
    message = json_add_object(root, "message");
    json_add_copy(message, "attributes", attributes);
    json_add_string(message, "data", data);
    json_add_string(message, "messageId", m->id);
    json_add_string(message, "message_id", m->id);
    json_add_string(message, "publishTime", at);
    json_add_string(message, "publish_time", at);
    if (*m->subscription)
        json_add_string(root, "subscription", m->subscription);
    return json_print(a, root, ret, err);
}

enum err_code message_new_id(const char *prefix, const struct sys *sys, struct arena *a, const char **ret,
                             struct err *err)
{
    unsigned char bytes[RANDOM_BYTES];
    char hex[2 * RANDOM_BYTES + 1], *made;

    sys_random(sys, bytes, sizeof bytes);
    for (int i = 0; i < RANDOM_BYTES; i++)
        (void)snprintf(hex + 2 * (size_t)i, 3, "%02x", bytes[i]);
    TRY(arena_printf(a, &made, err, "%s%s", prefix, hex));
    *ret = made;
    return ERR_OK;
}
