#include "worker/push/pubsub.h"

#include "kernels/base/base64.h"
#include "worker/base/members.h"
#include "worker/base/rfc3339.h"
#include "worker/push/payload.h"

bool pubsub_message_id_is_valid(struct span id)
{
    for (size_t i = 0; i < id.len; i++)
        if (id.ptr[i] < '!' || id.ptr[i] > '~')
            return false;
    return id.len >= 1 && id.len <= PUBSUB_MESSAGE_ID_MAX;
}

/* If both spellings are present, they must be equal. */
static enum err_code read_message_id(const struct member *camel, const struct member *snake, const char *event_id,
                                     struct arena *a, const char **ret, struct err *err)
{
    const struct member *m = camel->type ? camel : snake;
    char id[PUBSUB_MESSAGE_ID_MAX + 1], other[PUBSUB_MESSAGE_ID_MAX + 1];

    if (!m->type && event_id && pubsub_message_id_is_valid(span_of(event_id)))
        return span_dup(a, span_of(event_id), (char **)ret, err);
    if (!member_text_or_digits(m, id, sizeof id) || !pubsub_message_id_is_valid(span_of(id)))
        return err_set(err, ERR_INVALID, "push: messageId is missing or malformed");
    if (snake->type && (!member_text_or_digits(snake, other, sizeof other) || strcmp(id, other) != 0))
        return err_set(err, ERR_INVALID, "push: messageId and message_id differ");
    return span_dup(a, span_of(id), (char **)ret, err);
}

/* On ERR_INVALID, `published` holds the text that is not base64. */
static enum err_code read_data(const struct member *m, struct arena *a, struct push_message *msg, struct err *err)
{
    struct span bytes = { 0 };
    enum err_code rc;
    char *text;

    if (m->type != JSON_STRING || m->raw.len == 0)
        return err_set(err, ERR_INVALID, "push: message.data is missing or empty");
    if (member_dup(m, a, &text, err))
        return ERR_NOMEM;
    msg->published = span_of(text);
    rc = payload_decode(msg->published, BASE64_STANDARD, a, &bytes, err);
    if (rc || bytes.len == 0)
        return err_set(err, rc ? rc : ERR_INVALID, "push: message.data is not base64");
    msg->published = bytes;
    return payload_open(msg->published, 1, a, &msg->data, err);
}

static int64_t read_time(const struct member *camel, const struct member *snake)
{
    const struct member *m = camel->type ? camel : snake;
    char text[64];
    int64_t us;

    return member_text(m, text, sizeof text) && rfc3339_parse(span_of(text), &us) ? us : PUBSUB_TIME_UNKNOWN;
}

/* Reads all that can be read, whatever else is wrong: it goes into the log. */
static enum err_code read_message(struct span text, const char *event_id, struct arena *a, struct push_message *msg,
                                  struct err *err)
{
    enum { DATA, ID, ID_SNAKE, TIME, TIME_SNAKE, ATTRIBUTES, N };
    struct member m[N] = { { .name = "data" },        { .name = "messageId" },    { .name = "message_id" },
                           { .name = "publishTime" }, { .name = "publish_time" }, { .name = "attributes" } };
    enum err_code of_id, of_data;

    TRY(members_read(text, m, N, err));
    if (m[ATTRIBUTES].type == JSON_OBJECT)
        msg->attributes = m[ATTRIBUTES].raw;
    msg->publish_time_us = read_time(&m[TIME], &m[TIME_SNAKE]);
    of_id = read_message_id(&m[ID], &m[ID_SNAKE], event_id, a, &msg->message_id, err);
    of_data = read_data(&m[DATA], a, msg, err);
    return of_id && of_data != ERR_NOMEM ? of_id : of_data;
}

struct push_message pubsub_unknown(void)
{
    return (struct push_message){ .message_id = "",
                                  .data = SPAN(""),
                                  .published = SPAN(""),
                                  .attributes = SPAN("{}"),
                                  .publish_time_us = PUBSUB_TIME_UNKNOWN,
                                  .subscription = "" };
}

enum err_code pubsub_parse(struct span body, const char *event_id, struct arena *a, struct push_message *ret,
                           struct err *err)
{
    enum { MESSAGE, SUBSCRIPTION, ATTEMPT, N };
    struct member m[N] = { { .name = "message" }, { .name = "subscription" }, { .name = "deliveryAttempt" } };
    char *subscription;

    *ret = pubsub_unknown();
    if (body.len > PUBSUB_BODY_MAX)
        return err_set(err, ERR_TOO_LARGE, "push: more than %d bytes", PUBSUB_BODY_MAX);
    TRY(members_parse(body, PUBSUB_DEPTH_MAX, "push", m, N, err));
    if (m[MESSAGE].type != JSON_OBJECT)
        return err_set(err, ERR_INVALID, "push: no object 'message'");
    TRY(member_dup(&m[SUBSCRIPTION], a, &subscription, err));
    if (subscription)
        ret->subscription = subscription;
    if (!member_integer(&m[ATTEMPT], &ret->delivery_attempt) || ret->delivery_attempt < 1)
        ret->delivery_attempt = 0;
    return read_message(m[MESSAGE].raw, event_id, a, ret, err);
}
