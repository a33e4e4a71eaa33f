#include "worker/push/pubsub.h"

#include "kernels/base/base64.h"
#include "worker/base/members.h"
#include "worker/base/rfc3339.h"

static bool is_message_id(struct span id)
{
    for (size_t i = 0; i < id.len; i++)
        if (id.ptr[i] < '!' || id.ptr[i] > '~')
            return false;
    return id.len >= 1 && id.len <= PUBSUB_MESSAGE_ID_MAX;
}

/* If both spellings are present, they must be equal. */
static enum err_code read_message_id(const struct member *camel, const struct member *snake, struct arena *a,
                                     const char **ret, struct err *err)
{
    const struct member *m = camel->type ? camel : snake;
    char id[PUBSUB_MESSAGE_ID_MAX + 1], other[PUBSUB_MESSAGE_ID_MAX + 1];

    if (!member_text(m, id, sizeof id) || !is_message_id(span_of(id)))
        return err_set(err, ERR_INVALID, "push: messageId is missing or malformed");
    if (snake->type && (!member_text(snake, other, sizeof other) || strcmp(id, other) != 0))
        return err_set(err, ERR_INVALID, "push: messageId and message_id differ");
    return span_dup(a, span_of(id), (char **)ret, err);
}

static enum err_code read_data(const struct member *m, struct arena *a, struct span *ret, struct err *err)
{
    char *bytes;
    size_t n, size = BASE64_DECODED_MAX(m->raw.len);
    char *text;

    if (m->type != JSON_STRING || m->raw.len == 0)
        return err_set(err, ERR_INVALID, "push: message.data is missing or empty");
    if (member_dup(m, a, &text, err) || arena_alloc(a, size + 1, 1, &bytes, err))
        return ERR_NOMEM;
    if (base64_decode(span_of(text), BASE64_STANDARD, bytes, size, &n, NULL) || n == 0)
        return err_set(err, ERR_INVALID, "push: message.data is not base64");
    *ret = (struct span){ bytes, n };
    return ERR_OK;
}

static int64_t read_time(const struct member *camel, const struct member *snake)
{
    const struct member *m = camel->type ? camel : snake;
    char text[64];
    int64_t us;

    return member_text(m, text, sizeof text) && rfc3339_parse(span_of(text), &us) ? us : PUBSUB_TIME_UNKNOWN;
}

static enum err_code read_message(struct span text, struct arena *a, struct push_message *msg, struct err *err)
{
    enum { DATA, ID, ID_SNAKE, TIME, TIME_SNAKE, N };
    struct member m[N] = { { .name = "data" },
                           { .name = "messageId" },
                           { .name = "message_id" },
                           { .name = "publishTime" },
                           { .name = "publish_time" } };

    TRY(members_read(text, m, N, err));
    TRY(read_message_id(&m[ID], &m[ID_SNAKE], a, &msg->message_id, err));
    TRY(read_data(&m[DATA], a, &msg->data, err));
    msg->publish_time_us = read_time(&m[TIME], &m[TIME_SNAKE]);
    return ERR_OK;
}

enum err_code pubsub_parse(struct span body, struct arena *a, struct push_message *ret, struct err *err)
{
    enum { MESSAGE, SUBSCRIPTION, ATTEMPT, N };
    struct member m[N] = { { .name = "message" }, { .name = "subscription" }, { .name = "deliveryAttempt" } };
    struct push_message msg = { .subscription = "" };
    char *subscription;

    if (body.len > PUBSUB_BODY_MAX)
        return err_set(err, ERR_TOO_LARGE, "push: more than %d bytes", PUBSUB_BODY_MAX);
    TRY(members_parse(body, PUBSUB_DEPTH_MAX, "push", m, N, err));
    if (m[MESSAGE].type != JSON_OBJECT)
        return err_set(err, ERR_INVALID, "push: no object 'message'");
    TRY(read_message(m[MESSAGE].raw, a, &msg, err));
    TRY(member_dup(&m[SUBSCRIPTION], a, &subscription, err));
    if (subscription)
        msg.subscription = subscription;
    if (!member_integer(&m[ATTEMPT], &msg.delivery_attempt) || msg.delivery_attempt < 1)
        msg.delivery_attempt = 0;
    *ret = msg;
    return ERR_OK;
}
