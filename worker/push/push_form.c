#include "worker/push/push_form.h"

#include <strings.h>

#include "kernels/base/base64.h"
#include "worker/base/members.h"
#include "worker/base/rfc3339.h"
#include "worker/push/payload.h"

static const char message_published[] = "google.cloud.pubsub.topic.v1.messagePublished";

/* ---- headers ---- */

/* The first value of a header, NULL where there is none, and how often the header is there. */
static const char *header(const struct push_request *req, const char *name, int *ret_n)
{
    const char *first = NULL;

    *ret_n = 0;
    for (int i = 0; i < req->n_headers; i++) {
        if (strcasecmp(req->headers[i].name, name) != 0)
            continue;
        if (!first)
            first = req->headers[i].value;
        (*ret_n)++;
    }
    return first;
}

/* A header that counts. ERR_INVALID where it is there twice: one of the two may be an attribute of the message. */
static enum err_code one_header(const struct push_request *req, const char *name, const char **ret, struct err *err)
{
    int n;

    *ret = header(req, name, &n);
    if (n > 1)
        return err_set(err, ERR_INVALID,
                       "push: the header %s is there %d times; an attribute of the message may have its name, so none "
                       "of them is believed",
                       name, n);
    return ERR_OK;
}

static bool has_header(const struct push_request *req, const char *name)
{
    int n;

    return header(req, name, &n) != NULL;
}

/* ---- unwrapped ---- */

static int64_t time_of(const char *text)
{
    int64_t us;

    return text && rfc3339_parse(span_of(text), &us) ? us : PUBSUB_TIME_UNKNOWN;
}

static int64_t attempt_of(const char *text)
{
    int64_t n;

    return text && json_int64(span_of(text), &n) && n >= 1 ? n : 0;
}

static enum err_code read_metadata(const struct push_request *req, struct arena *a, struct push_message *msg,
                                   struct err *err)
{
    const char *id, *subscription, *time, *attempt;
    enum err_code rcs[4];

    rcs[0] = one_header(req, "x-goog-pubsub-message-id", &id, err);
    rcs[1] = one_header(req, "x-goog-pubsub-subscription-name", &subscription, err);
    rcs[2] = one_header(req, "x-goog-pubsub-publish-time", &time, err);
    rcs[3] = one_header(req, "x-goog-pubsub-delivery-attempt", &attempt, err);
    TRY(header_attributes(req->headers, req->n_headers, a, &msg->attributes, err));
    msg->subscription = subscription && !rcs[1] ? subscription : "";
    msg->publish_time_us = rcs[2] ? PUBSUB_TIME_UNKNOWN : time_of(time);
    msg->delivery_attempt = rcs[3] ? 0 : attempt_of(attempt);
    if (!rcs[0] && pubsub_message_id_is_valid(span_of(id)))
        msg->message_id = id;
    for (int i = 0; i < 4; i++)
        TRY(rcs[i]);
    if (!*msg->message_id)
        return err_set(err, ERR_INVALID, "push: the header x-goog-pubsub-message-id is not an id");
    return ERR_OK;
}

static enum err_code parse_unwrapped(const struct push_request *req, struct arena *a, struct push_message *ret,
                                     struct err *err)
{
    enum err_code of_metadata = read_metadata(req, a, ret, err);

    if (of_metadata == ERR_NOMEM)
        return ERR_NOMEM;
    ret->published = req->body;
    TRY(payload_open(req->body, PUSH_FORM_LAYERS, a, &ret->data, err));
    TRY(of_metadata);
    return req->body.len ? ERR_OK : err_set(err, ERR_INVALID, "push: the body, which is the payload, is empty");
}

/* ---- CloudEvents ---- */

static enum err_code check_type(const char *type, struct err *err)
{
    if (type && strcmp(type, message_published) != 0)
        return err_set(err, ERR_INVALID, "push: an event of the type '%.80s', which carries no message; expected: %s",
                       type, message_published);
    return ERR_OK;
}

/* application/cloudevents+json, or the same of a batch (ret_batch), whatever follows behind a semicolon. */
static bool is_event(const char *type, bool *ret_batch)
{
    static const char one[] = "application/cloudevents+json", many[] = "application/cloudevents-batch+json";
    size_t n = strcspn(type, "; \t");

    *ret_batch = n == sizeof many - 1 && strncasecmp(type, many, n) == 0;
    return *ret_batch || (n == sizeof one - 1 && strncasecmp(type, one, n) == 0);
}

/* false where a Content-Type that counts is there twice, or says that there are several events. */
static enum err_code has_event_type(const struct push_request *req, bool *ret, struct err *err)
{
    bool batch = false, any_batch = false;
    int n = 0;

    *ret = false;
    for (int i = 0; i < req->n_headers; i++) {
        if (strcasecmp(req->headers[i].name, "content-type") != 0)
            continue;
        n++;
        *ret |= is_event(req->headers[i].value, &batch);
        any_batch |= batch;
    }
    if (*ret && n > 1)
        return err_set(err, ERR_INVALID, "push: the header content-type is there %d times", n);
    if (any_batch)
        return err_set(err, ERR_INVALID, "push: a batch of events; each event must be pushed by itself");
    return ERR_OK;
}

static enum err_code open_data(const struct member *data, const struct member *data_base64, struct arena *a,
                               struct span *ret, struct err *err)
{
    bool has_data = data->type && data->type != JSON_NULL;
    enum err_code rc;
    char *text;

    if (has_data == (data_base64->type && data_base64->type != JSON_NULL))
        return err_set(err, ERR_INVALID, "push: an event has either data or data_base64");
    *ret = data->raw;
    if (data->type == JSON_OBJECT)
        return ERR_OK;
    if (has_data || data_base64->type != JSON_STRING)
        return err_set(err, ERR_INVALID, "push: the event's data is not an object");
    TRY(member_dup(data_base64, a, &text, err));
    rc = payload_decode(span_of(text), BASE64_STANDARD, a, ret, err);
    return rc ? err_set(err, rc, "push: the event's data_base64 is not base64") : ERR_OK;
}

/* What was wrong before a message was read, which was then read for the log alone; or what is wrong with it. */
static enum err_code first_of(enum err_code before, enum err_code of_message)
{
    return before && of_message != ERR_NOMEM ? before : of_message;
}

/* For the log of an event whose message has no id that could be read. */
static void lend_id(struct push_message *msg, const char *event_id)
{
    if (!*msg->message_id && event_id && pubsub_message_id_is_valid(span_of(event_id)))
        msg->message_id = event_id;
}

static enum err_code parse_structured(const struct push_request *req, struct arena *a, struct push_message *ret,
                                      struct err *err)
{
    enum { DATA, DATA_BASE64, ID, TYPE, N };
    struct member m[N] = { { .name = "data" }, { .name = "data_base64" }, { .name = "id" }, { .name = "type" } };
    char *id, *type;
    struct span envelope;
    enum err_code of_type, rc;

    TRY(members_parse(req->body, PUBSUB_DEPTH_MAX + 1, "push", m, N, err)); /* the event is one level more */
    TRY(member_dup(&m[ID], a, &id, err));
    lend_id(ret, id);
    TRY(member_dup(&m[TYPE], a, &type, err));
    of_type = check_type(type, err);
    TRY(open_data(&m[DATA], &m[DATA_BASE64], a, &envelope, err));
    rc = pubsub_parse(envelope, id, a, ret, err);
    lend_id(ret, id);
    return first_of(of_type, rc);
}

static bool is_binary_event(const struct push_request *req)
{
    static const char *const names[] = { "ce-id", "ce-type", "ce-source", "ce-specversion" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (has_header(req, names[i]))
            return true;
    return false;
}

static enum err_code parse_binary(const struct push_request *req, struct arena *a, struct push_message *ret,
                                  struct err *err)
{
    const char *id, *type;
    enum err_code of_id = one_header(req, "ce-id", &id, err), of_headers = of_id, of_body;

    if (!of_headers)
        of_headers = one_header(req, "ce-type", &type, err);
    if (!of_headers)
        of_headers = check_type(type, err);
    of_body = pubsub_parse(req->body, of_headers ? NULL : id, a, ret, err);
    if (!of_id)
        lend_id(ret, id);
    return first_of(of_headers, of_body);
}

/* ---- wrapped ---- */

/* A payload by itself, as a subscription sends it that unwraps payloads and writes no metadata. */
static bool is_bare_payload(struct span body, struct arena *a)
{
    enum { USER, USER_SNAKE, MESSAGE, N };
    struct member m[N] = { { .name = "userId" }, { .name = "user_id" }, { .name = "message" } };
    struct span data;

    return !payload_open(body, PUSH_FORM_LAYERS, a, &data, NULL) && !members_read(data, m, N, NULL) &&
           (m[USER].type || m[USER_SNAKE].type) && m[MESSAGE].type != JSON_OBJECT;
}

static enum err_code parse_wrapped(const struct push_request *req, struct arena *a, struct push_message *ret,
                                   struct err *err)
{
    if (!is_bare_payload(req->body, a))
        return pubsub_parse(req->body, NULL, a, ret, err);
    ret->published = req->body;
    return err_set(err, ERR_INVALID,
                   "push: a payload without the id of its message: set --push-no-wrapper-write-metadata on the "
                   "subscription, or do without --push-no-wrapper");
}

enum err_code push_parse(const struct push_request *req, struct arena *a, struct push_message *ret, struct err *err)
{
    bool event;
    enum err_code of_types;

    *ret = pubsub_unknown();
    if (req->body.len > PUBSUB_BODY_MAX)
        return err_set(err, ERR_TOO_LARGE, "push: more than %d bytes", PUBSUB_BODY_MAX);
    if (has_header(req, "x-goog-pubsub-message-id"))
        return parse_unwrapped(req, a, ret, err);
    of_types = has_event_type(req, &event, err);
    if (event)
        return first_of(of_types, parse_structured(req, a, ret, err));
    return is_binary_event(req) ? parse_binary(req, a, ret, err) : parse_wrapped(req, a, ret, err);
}

enum err_code push_parse_headers(const struct push_request *req, struct arena *a, struct push_message *ret,
                                 struct err *err)
{
    *ret = pubsub_unknown();
    return has_header(req, "x-goog-pubsub-message-id") ? read_metadata(req, a, ret, err) : ERR_OK;
}
