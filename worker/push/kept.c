#include "worker/push/kept.h"

#include "kernels/base/base64.h"
#include "worker/base/json.h"
#include "worker/base/members.h"
#include "worker/push/payload.h"
#include "worker/push/printable.h"
#include "worker/push/push_form.h"

enum { DEPTH_MAX = 24, NESTED_MAX = 4 /* of a message inside of what was exported */ };

struct reader {
    struct arena *arena;
    struct kept_message *list;
    int n;
};

/* ---- the kinds of one object ---- */

static enum err_code text_or_empty(const struct member *m, struct arena *a, const char **ret, struct err *err)
{
    size_t size = m->raw.len + 1;
    char *text;

    *ret = "";
    if (m->type != JSON_STRING && m->type != JSON_NUMBER)
        return ERR_OK;
    TRY(arena_alloc(a, size, 1, &text, err));
    if (!member_text_or_digits(m, text, size))
        return err_set(err, ERR_INVALID, "its %s is neither a text nor an integer", m->name);
    *ret = text;
    return ERR_OK;
}

/* {"data": ..., "messageId": ..., "attributes": ...} */
static enum err_code read_message(struct span object, struct arena *a, struct kept_message *m, struct err *err)
{
    enum { DATA, ID, ID_SNAKE, ATTRIBUTES, N };
    struct member part[N] = {
        { .name = "data" }, { .name = "messageId" }, { .name = "message_id" }, { .name = "attributes" }
    };
    enum err_code rc;
    char *text;

    TRY(members_read(object, part, N, err));
    TRY(text_or_empty(part[ID].type ? &part[ID] : &part[ID_SNAKE], a, &m->message_id, err));
    if (part[ATTRIBUTES].type == JSON_OBJECT)
        m->attributes = part[ATTRIBUTES].raw;
    TRY(member_dup(&part[DATA], a, &text, err));
    rc = payload_decode(span_of(text), BASE64_STANDARD | BASE64_URL | BASE64_MAY_PAD, a, &m->data, err);
    if (rc)
        return err_set(err, rc, "its data is not base64");
    return m->data.len ? ERR_OK : err_set(err, ERR_INVALID, "it has no data");
}

static enum err_code read_envelope(struct span object, const struct member *message, struct arena *a,
                                   struct kept_message *m, struct err *err)
{
    struct member subscription = { .name = "subscription" };

    TRY(members_read(object, &subscription, 1, err));
    TRY(text_or_empty(&subscription, a, &m->subscription, err));
    return read_message(message->raw, a, m, err);
}

/* users/U/sessions/S -> the payload; no id has a slash. */
static enum err_code payload_of_session(const char *session, struct arena *a, struct span *ret, struct err *err)
{
    static const char before[] = "users/", between[] = "/sessions/";
    const char *user = session + sizeof before - 1, *end;
    struct json *payload = json_new_object(a);
    char *user_id, *text;

    end = strncmp(session, before, sizeof before - 1) == 0 ? strchr(user, '/') : NULL;
    if (!end || strncmp(end, between, sizeof between - 1) != 0)
        return err_set(err, ERR_INVALID, "its session is not users/USER/sessions/SESSION");
    TRY(span_dup(a, (struct span){ user, (size_t)(end - user) }, &user_id, err));
    json_add_string(payload, "userId", user_id);
    json_add_string(payload, "sessionId", end + sizeof between - 1);
    TRY(json_print(a, payload, &text, err));
    *ret = span_of(text);
    return ERR_OK;
}

/* A line about a poison has its payload, escaped; one about a job has the session. */
static enum err_code read_log_line(struct span object, struct arena *a, struct kept_message *m, struct err *err)
{
    enum { PAYLOAD, BYTES, BODY, ID, SUBSCRIPTION, ATTRIBUTES, SESSION, N };
    struct member part[N] = { { .name = "payload" },   { .name = "payloadBytes" }, { .name = "body" },
                              { .name = "messageId" }, { .name = "subscription" }, { .name = "attributes" },
                              { .name = "session" } };
    const char *payload, *attributes, *session;
    double bytes; /* some exports write every number as one */

    TRY(members_read(object, part, N, err));
    TRY(text_or_empty(&part[ID], a, &m->message_id, err));
    TRY(text_or_empty(&part[SUBSCRIPTION], a, &m->subscription, err));
    TRY(text_or_empty(&part[ATTRIBUTES], a, &attributes, err));
    TRY(text_or_empty(&part[PAYLOAD], a, &payload, err));
    TRY(text_or_empty(&part[SESSION], a, &session, err));
    if (*attributes && !json_check(span_of(attributes), 2, NULL)) /* a text that was cut is none */
        m->attributes = span_of(attributes);
    if (!part[PAYLOAD].type && *session)
        return payload_of_session(session, a, &m->data, err);
    if (!part[PAYLOAD].type)
        return err_set(err, ERR_INVALID,
                       part[BODY].type
                           ? "it is a log line about a body without a payload"
                           : "it is a log line about no message: keep only the lines that are to be sent again");
    if (printable_unescape(span_of(payload), a, &m->data, NULL))
        return err_set(err, ERR_INVALID, "its payload is not escaped as the worker does");
    if (!m->data.len || part[BYTES].type != JSON_NUMBER || !json_double(part[BYTES].raw, &bytes) || bytes <= 0)
        return err_set(err, ERR_INVALID, "it is a log line whose payload or payloadBytes is empty");
    if (bytes > KEPT_LOGGED_BYTES &&
        bytes > (double)m->data.len) /* what was logged whole may be mended to any length */
        return err_set(
            err, ERR_INVALID,
            "it is a log line that holds the first %d bytes of a payload of %.0f; POISON_TOPIC keeps whole messages",
            KEPT_LOGGED_BYTES, bytes);
    return ERR_OK;
}

static enum err_code read_value(struct reader *r, struct span object, int level, struct err *err);

static enum err_code read_list(struct reader *r, struct span array, int level, struct err *err)
{
    enum json_event type;
    struct span element;
    int n = 0;

    for (size_t at = 0; members_next(array, &at, &type, &element); n++)
        if (type != JSON_OBJECT || read_value(r, element, level + 1, err)) {
            (void)err_set(err, ERR_INVALID, "it is not an object");
            return err_prefix(err, "message %d of the list", n + 1);
        }
    return ERR_OK;
}

static enum err_code read_object(struct span object, struct arena *a, struct kept_message *m, struct err *err)
{
    enum { MESSAGE, DATA, ID, ID_SNAKE, SEVERITY, USER, USER_SNAKE, N };
    struct member part[N] = { { .name = "message" },    { .name = "data" },     { .name = "messageId" },
                              { .name = "message_id" }, { .name = "severity" }, { .name = "userId" },
                              { .name = "user_id" } };

    TRY(members_read(object, part, N, err));
    if (part[USER].type || part[USER_SNAKE].type) {
        m->data = object;
        return ERR_OK;
    }
    if (part[MESSAGE].type == JSON_OBJECT)
        return read_envelope(object, &part[MESSAGE], a, m, err);
    if (part[MESSAGE].type == JSON_STRING || part[SEVERITY].type)
        return read_log_line(object, a, m, err);
    if (part[DATA].type == JSON_STRING)
        return read_message(object, a, m, err);
    return err_set(err, ERR_INVALID, "it is neither a message nor a payload with userId and sessionId");
}

/* The event's own id stands in where its message has none, as for a worker. */
static enum err_code read_event(struct reader *r, struct span object, int level, struct err *err)
{
    enum { DATA, DATA_BASE64, ID, N };
    struct member part[N] = { { .name = "data" }, { .name = "data_base64" }, { .name = "id" } };
    int first = r->n;
    enum err_code rc;
    char *text;

    TRY(members_read(object, part, N, err));
    if (part[DATA].type != JSON_OBJECT) {
        TRY(member_dup(&part[DATA_BASE64], r->arena, &text, err));
        rc = payload_decode(span_of(text), BASE64_STANDARD, r->arena, &part[DATA].raw, err);
        if (rc)
            return err_set(err, rc, "its data_base64 is not base64");
        TRY(json_check(part[DATA].raw, DEPTH_MAX, err));
    }
    TRY(read_value(r, part[DATA].raw, level + 1, err));
    if (r->n == first + 1 && !*r->list[first].message_id)
        return text_or_empty(&part[ID], r->arena, &r->list[first].message_id, err);
    return ERR_OK;
}

/* An object that is a message, or that has messages inside. */
static enum err_code read_value(struct reader *r, struct span object, int level, struct err *err)
{
    enum { PULLED, EXPORTED, EVENT, DATA, DATA_BASE64, N };
    struct member part[N] = { { .name = "receivedMessages" },
                              { .name = "jsonPayload" },
                              { .name = "specversion" },
                              { .name = "data" },
                              { .name = "data_base64" } };
    struct kept_message m = { .message_id = "", .data = SPAN(""), .attributes = SPAN("{}"), .subscription = "" };

    if (level > NESTED_MAX)
        return err_set(err, ERR_INVALID, "it is nested too deeply");
    TRY(members_read(object, part, N, err));
    if (part[PULLED].type == JSON_ARRAY)
        return read_list(r, part[PULLED].raw, level, err);
    if (part[EXPORTED].type == JSON_OBJECT)
        return read_value(r, part[EXPORTED].raw, level + 1, err);
    if (part[EVENT].type && (part[DATA].type == JSON_OBJECT || part[DATA_BASE64].type == JSON_STRING))
        return read_event(r, object, level, err);
    if (r->n == KEPT_MESSAGES_MAX)
        return err_set(err, ERR_TOO_LARGE, "there are more than %d messages", KEPT_MESSAGES_MAX);
    TRY(read_object(object, r->arena, &m, err));
    TRY(payload_open(m.data, PUSH_FORM_LAYERS, r->arena, &m.data, err));
    r->list[r->n++] = m;
    return ERR_OK;
}

/* ---- the whole text ---- */

static enum err_code read_json(struct reader *r, struct span text, struct err *err)
{
    TRY(payload_open(text, PUSH_FORM_LAYERS, r->arena, &text, err));
    text = span_trimmed(text);
    TRY(json_check(text, DEPTH_MAX, err));
    if (*text.ptr == '[')
        return read_list(r, text, 0, err);
    return *text.ptr == '{' ? read_value(r, text, 0, err)
                            : err_set(err, ERR_INVALID, "it is neither an object nor a list");
}

static enum err_code read_lines(struct reader *r, struct span text, struct err *err)
{
    for (int line = 1; text.len; line++) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t n = end ? (size_t)(end - text.ptr) : text.len;
        struct span one = span_trimmed((struct span){ text.ptr, n });

        if (one.len && read_json(r, one, err))
            return err_prefix(err, "line %d", line);
        n += end != NULL;
        text = (struct span){ text.ptr + n, text.len - n };
    }
    return ERR_OK;
}

static bool has_lines_of_objects(struct span text)
{
    const char *end = memchr(text.ptr, '\n', text.len);

    return end && !json_check(span_trimmed((struct span){ text.ptr, (size_t)(end - text.ptr) }), DEPTH_MAX, NULL);
}

enum err_code kept_parse(struct span text, struct arena *a, const struct kept_message **ret, int *ret_n,
                         struct err *err)
{
    struct reader r = { .arena = a };

    if (text.len > KEPT_TEXT_MAX)
        return err_set(err, ERR_TOO_LARGE, "%zu bytes are more than %d", text.len, KEPT_TEXT_MAX);
    text = span_trimmed(text);
    if (!text.len)
        return err_set(err, ERR_INVALID, "there is nothing in it");
    TRY(arena_alloc(a, KEPT_MESSAGES_MAX, sizeof *r.list, &r.list, err));
    if (has_lines_of_objects(text))
        TRY(read_lines(&r, text, err));
    else
        TRY(read_json(&r, text, err));
    if (r.n == 0)
        return err_set(err, ERR_INVALID, "there is no message in it");
    *ret = r.list;
    *ret_n = r.n;
    return ERR_OK;
}
