/* The forms of a push (PROTOCOL.md 1.2). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/base64.h"
#include "test/support/check.h"
#include "worker/push/job.h"
#include "worker/push/push_form.h"

#define PAYLOAD  "{\"userId\":\"u1\",\"sessionId\":\"s1\"}"
#define DATA     "eyJ1c2VySWQiOiJ1MSIsInNlc3Npb25JZCI6InMxIn0="
#define ENVELOPE "{\"message\":{\"data\":\"" DATA "\",\"messageId\":\"17\",\"publishTime\":\"2021-02-26T19:13:55.749Z\"}," \
                 "\"subscription\":\"projects/p/subscriptions/s\"}"
#define TYPE     "google.cloud.pubsub.topic.v1.messagePublished"

static struct arena arena;

static enum err_code parse(const struct push_header *headers, int n, const char *body, struct push_message *ret,
                           struct err *err)
{
    if (!arena.size)
        CHECK_OK(arena_init(&arena, 32 << 20, NULL), (struct err){ 0 });
    return push_parse(&(struct push_request){ headers, n, span_of(body) }, &arena, ret, err);
}

static void check_is_m17(const struct push_message *m)
{
    CHECK_STR(m->message_id, "17");
    CHECK_STR(m->subscription, "projects/p/subscriptions/s");
    CHECK_INT(m->publish_time_us, 1614366835749000);
    CHECK(span_is(m->data, PAYLOAD));
}

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

static const struct push_header unwrapped[] = {
    { "Content-Type", "application/x-www-form-urlencoded" },
    { "X-Goog-Pubsub-Message-Id", "17" },
    { "x-goog-pubsub-subscription-name", "projects/p/subscriptions/s" },
    { "x-goog-pubsub-publish-time", "2021-02-26T19:13:55.749Z" },
};

TEST(push_form__an_unwrapped_push_is_known_by_its_header)
{
    static const char *const bodies[] = { PAYLOAD, DATA, "ZXlKMWMyVnlTV1FpT2lKMU1TSXNJbk5sYzNOcGIyNUpaQ0k2SW5NeEluMD0=",
                                          "eyJ1c2VySWQiOiJ1MSIsInNlc3Npb25JZCI6InMxIn0\n" };
    struct push_message m;
    struct err err = { 0 };

    for (int i = 0; i < COUNT(bodies); i++) {
        CHECK_OK(parse(unwrapped, COUNT(unwrapped), bodies[i], &m, &err), err);
        check_is_m17(&m);
        CHECK(span_is(m.published, bodies[i]));
        CHECK_INT(m.delivery_attempt, 0);
    }
    CHECK_OK(parse(&unwrapped[1], 1, PAYLOAD, &m, &err), err);
    CHECK_STR(m.subscription, "");
    CHECK(m.publish_time_us == PUBSUB_TIME_UNKNOWN);
    CHECK_INT(parse(unwrapped, COUNT(unwrapped), "", &m, NULL), ERR_INVALID);
    CHECK_STR(m.message_id, "17");
    arena_done(&arena);
}

TEST(push_form__a_header_that_counts_and_is_there_twice_is_not_believed)
{
    static const char *const names[] = { "x-goog-pubsub-message-id", "X-GOOG-PUBSUB-SUBSCRIPTION-NAME",
                                         "x-goog-pubsub-publish-time", "x-goog-pubsub-delivery-attempt" };

    for (int i = 0; i < COUNT(names); i++) {
        struct push_header headers[COUNT(unwrapped) + 2];
        struct push_message m;
        struct err err = { 0 };

        memcpy(headers, unwrapped, sizeof unwrapped);
        headers[COUNT(unwrapped)] = headers[COUNT(unwrapped) + 1] = (struct push_header){ names[i], "17" };
        CHECK_INT(parse(headers, COUNT(headers), PAYLOAD, &m, &err), ERR_INVALID);
        CHECK(strstr(err.msg, "times; an attribute of the message may have its name"));
        CHECK_STR(m.message_id, i ? "17" : "");
        CHECK(span_is(m.published, PAYLOAD));
    }
    arena_done(&arena);
}

TEST(push_form__an_attribute_that_became_a_header_changes_nothing)
{
    static const struct push_header forged[] = {
        { "x-goog-pubsub-message-id", "17" },
        { "content-type", "application/cloudevents+json" },
        { "content-type", "application/cloudevents-batch+json" },
        { "ce-id", "forged" },
        { "ce-type", "com.example.other" },
        { "x-goog-pubsub-delivery-attempt", "many" },
    };
    struct push_message m;
    struct err err = { 0 };

    CHECK_OK(parse(forged, COUNT(forged), PAYLOAD, &m, &err), err);
    CHECK_STR(m.message_id, "17");
    CHECK_INT(m.delivery_attempt, 0);
    arena_done(&arena);
}

TEST(push_form__doubtful_ids_in_the_header_are_refused)
{
    static const char *const ids[] = { "", " ", "a b", "\xc3\xa9", "a\x01" };

    for (int i = 0; i < COUNT(ids); i++) {
        const struct push_header header = { "x-goog-pubsub-message-id", ids[i] };
        struct push_message m;

        CHECK_INT(parse(&header, 1, PAYLOAD, &m, NULL), ERR_INVALID);
        CHECK_STR(m.message_id, "");
    }
    arena_done(&arena);
}

TEST(push_form__headers_that_are_no_attributes_or_may_be_secret_are_left_out)
{
    static const struct push_header headers[] = {
        { "x-goog-pubsub-message-id", "17" },
        { "Authorization", "Bearer eyJhbGciOi" },
        { "X-Serverless-Authorization", "Bearer x" },
        { "Cookie", "a=b" },
        { "X-Api-Key", "k" },
        { "harmless", "eyJhbGciOi.a.b" },
        { "also", "bearer abc" },
        { "Host", "h" },
        { "user-agent", "APIs-Google" },
        { "origin", "a \"quoted\" text" },
        { "colour", "first" },
        { "colour", "second" },
        { "odd", "\xff" },
    };
    struct push_message m;
    struct err err = { 0 };

    CHECK_OK(parse(headers, COUNT(headers), PAYLOAD, &m, &err), err);
    CHECK(span_is(m.attributes, "{\"origin\":\"a \\\"quoted\\\" text\",\"colour\":\"first\",\"odd\":\"\\\\xff\"}"));
    arena_done(&arena);
}

/* ---- CloudEvents ---- */

#define EVENT(data) "{\"specversion\":\"1.0\",\"id\":\"99\",\"source\":\"//pubsub.googleapis.com/projects/p/topics/t\"," \
                    "\"type\":\"" TYPE "\",\"time\":\"2021-02-26T19:13:55.749Z\"," data "}"

TEST(push_form__a_structured_event_carries_the_envelope)
{
    static const char *const types[] = { "application/cloudevents+json", "Application/CloudEvents+JSON; charset=utf-8",
                                         "application/cloudevents+json;charset=UTF-8" };
    char base64[512], body[1024];
    struct push_message m;
    struct err err = { 0 };

    for (int i = 0; i < COUNT(types); i++) {
        const struct push_header type = { "content-type", types[i] };

        CHECK_OK(parse(&type, 1, EVENT("\"data\":" ENVELOPE), &m, &err), err);
        check_is_m17(&m);
        CHECK_OK(base64_encode(SPAN(ENVELOPE), BASE64_STANDARD, base64, sizeof base64, NULL, &err), err);
        (void)snprintf(body, sizeof body, EVENT("\"data_base64\":\"%s\""), base64);
        CHECK_OK(parse(&type, 1, body, &m, &err), err);
        check_is_m17(&m);
    }
    arena_done(&arena);
}

TEST(push_form__an_event_whose_envelope_has_no_id_lends_its_own)
{
    static const struct push_header structured = { "content-type", "application/cloudevents+json" };
    static const struct push_header binary[] = { { "ce-id", "99" }, { "ce-type", TYPE } };
    struct push_message m;
    struct err err = { 0 };

    CHECK_OK(parse(&structured, 1, EVENT("\"data\":{\"message\":{\"data\":\"" DATA "\"}}"), &m, &err), err);
    CHECK_STR(m.message_id, "99");
    CHECK_OK(parse(binary, 2, "{\"message\":{\"data\":\"" DATA "\"}}", &m, &err), err);
    CHECK_STR(m.message_id, "99");
    CHECK_OK(parse(binary, 2, ENVELOPE, &m, &err), err);
    check_is_m17(&m);
    arena_done(&arena);
}

TEST(push_form__refuses_events_that_carry_no_message)
{
    static const struct push_header structured = { "content-type", "application/cloudevents+json" };
    static const struct push_header batch = { "content-type", "application/cloudevents-batch+json" };
    static const struct push_header other[] = { { "ce-id", "1" }, { "ce-type", "google.cloud.storage.object.v1.finalized" } };
    static const struct push_header two[] = { { "ce-id", "1" }, { "ce-id", "2" } };
    static const struct push_header types[] = { { "content-type", "application/json" },
                                                { "content-type", "application/cloudevents+json" } };
    static const char *const bodies[] = {
        "", "{}", "[]", ENVELOPE, EVENT("\"x\":1"), EVENT("\"data\":null"), EVENT("\"data\":\"text\""), EVENT("\"data\":[]"),
        EVENT("\"data\":{}"), EVENT("\"data\":" ENVELOPE ",\"data_base64\":\"e30=\""), EVENT("\"data_base64\":\"*\""),
        EVENT("\"data_base64\":\"e30=\""), EVENT("\"data_base64\":5"), EVENT("\"data\":" ENVELOPE) "x",
    };
    struct push_message m;
    struct err err = { 0 };

    for (int i = 0; i < COUNT(bodies); i++)
        CHECK_INT(parse(&structured, 1, bodies[i], &m, NULL), ERR_INVALID);
    CHECK_INT(parse(other, 2, ENVELOPE, &m, &err), ERR_INVALID);
    CHECK(strstr(err.msg, "google.cloud.storage.object.v1.finalized"));
    CHECK_STR(m.message_id, "17");
    CHECK_INT(parse(&batch, 1, "[]", &m, NULL), ERR_INVALID);
    CHECK_INT(parse(two, 2, ENVELOPE, &m, NULL), ERR_INVALID);
    CHECK_INT(parse(types, 2, EVENT("\"data\":" ENVELOPE), &m, NULL), ERR_INVALID);
    CHECK(span_is(m.published, PAYLOAD)); /* what can be sent again, as of a binary one */
    err = (struct err){ 0 };
    CHECK_INT(parse(&structured, 1, "{\"type\":\"other\",\"data\":" ENVELOPE "}", &m, &err), ERR_INVALID);
    CHECK(strstr(err.msg, "an event of the type 'other'"));
    CHECK_STR(m.message_id, "17");
    CHECK(span_is(m.published, PAYLOAD));
    arena_done(&arena);
}

TEST(push_form__a_refused_event_keeps_its_id_for_the_log)
{
    static const struct push_header structured = { "content-type", "application/cloudevents+json" };
    static const struct push_header other[] = { { "ce-id", "99" }, { "ce-type", "google.cloud.storage.object.v1.finalized" } };
    static const struct push_header two[] = { { "ce-id", "99" }, { "ce-id", "98" } };
    static const char *const bodies[] = {
        EVENT("\"data\":{}"), EVENT("\"data\":\"text\""), EVENT("\"data\":{\"message\":{\"data\":\"*\"}}"),
        "{\"id\":\"99\",\"type\":\"google.cloud.storage.object.v1.finalized\",\"data\":{}}",
    };
    struct push_message m;

    for (int i = 0; i < COUNT(bodies); i++) {
        CHECK_INT(parse(&structured, 1, bodies[i], &m, NULL), ERR_INVALID);
        CHECK_STR(m.message_id, "99");
    }
    CHECK_INT(parse(other, 2, "{\"bucket\":\"b\"}", &m, NULL), ERR_INVALID);
    CHECK_STR(m.message_id, "99");
    CHECK_INT(parse(two, 2, "{}", &m, NULL), ERR_INVALID);
    CHECK_STR(m.message_id, "");
    CHECK_INT(parse(&structured, 1, "{\"id\":\"a b\",\"data\":{}}", &m, NULL), ERR_INVALID);
    CHECK_STR(m.message_id, "");
    arena_done(&arena);
}

/* An SDK may write the member that is not there as null. */
TEST(push_form__an_events_data_that_is_null_is_none)
{
    static const struct push_header structured = { "content-type", "application/cloudevents+json" };
    char base64[512], body[1024];
    struct push_message m;
    struct err err = { 0 };

    CHECK_OK(parse(&structured, 1, EVENT("\"data_base64\":null,\"data\":" ENVELOPE), &m, &err), err);
    check_is_m17(&m);
    CHECK_OK(base64_encode(SPAN(ENVELOPE), BASE64_STANDARD, base64, sizeof base64, NULL, &err), err);
    (void)snprintf(body, sizeof body, EVENT("\"data\":null,\"data_base64\":\"%s\""), base64);
    CHECK_OK(parse(&structured, 1, body, &m, &err), err);
    check_is_m17(&m);
    arena_done(&arena);
}

/* ---- wrapped ---- */

TEST(push_form__everything_else_is_wrapped_whatever_its_content_type)
{
    static const struct push_header type = { "content-type", "text/plain" };
    struct push_message m;
    struct err err = { 0 };

    CHECK_OK(parse(NULL, 0, ENVELOPE, &m, &err), err);
    check_is_m17(&m);
    CHECK_OK(parse(&type, 1, ENVELOPE, &m, &err), err);
    check_is_m17(&m);
    arena_done(&arena);
}

TEST(push_form__a_bare_payload_is_refused_with_its_remedy)
{
    static const char *const bodies[] = { PAYLOAD, "{\"user_id\":1,\"session_id\":2}", DATA,
                                          "{\"userId\":\"u1\",\"message\":\"hello\"}" };

    for (int i = 0; i < COUNT(bodies); i++) {
        struct push_message m;
        struct err err = { 0 };

        CHECK_INT(parse(NULL, 0, bodies[i], &m, &err), ERR_INVALID);
        CHECK(strstr(err.msg, "--push-no-wrapper-write-metadata"));
        CHECK(span_is(m.published, bodies[i]));
    }
    arena_done(&arena);
}

TEST(push_form__of_a_body_that_is_not_read_the_headers_are_known)
{
    struct push_message m;
    struct err err = { 0 };

    if (!arena.size)
        CHECK_OK(arena_init(&arena, 32 << 20, NULL), (struct err){ 0 });
    CHECK_OK(push_parse_headers(&(struct push_request){ unwrapped, COUNT(unwrapped), SPAN("") }, &arena, &m, &err), err);
    CHECK_STR(m.message_id, "17");
    CHECK_OK(push_parse_headers(&(struct push_request){ unwrapped, 1, SPAN("") }, &arena, &m, &err), err);
    CHECK_STR(m.message_id, "");
    arena_done(&arena);
}

/* ---- every form of a message gives the same message ---- */

static uint64_t state = 20261130;

static unsigned next(unsigned below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(state >> 33) % below;
}

static void random_id(char *ret, size_t size)
{
    static const char *const letters[] = { "a", "Z", "7", "|", "@", ".", ":", "-", "_", " ", "\xc3\xa9", "\xe4\xb8\xad",
                                           "\xf0\x9f\x98\x80", "\xd8\xa7", "+", "=", "&" };
    size_t at = 0;

    *ret = 0;
    for (unsigned n = 1 + next(20); n > 0; n--)
        at += (size_t)snprintf(ret + at, size - at, "%s", letters[next(COUNT(letters))]);
}

static const char *encode(const char *text, unsigned flags)
{
    char *out = NULL;
    size_t size = BASE64_ENCODED_SIZE(strlen(text));

    CHECK(!arena_alloc(&arena, size, 1, &out, NULL));
    CHECK(!base64_encode(span_of(text), flags, out, size, NULL, NULL));
    return out;
}

/* One or two layers more than `form` has: the outermost of an envelope is always Pub/Sub's own. */
static const char *layers(const char *payload, int n)
{
    static const unsigned flags[] = { BASE64_STANDARD, BASE64_URL, BASE64_STANDARD | BASE64_NO_PADDING,
                                      BASE64_URL | BASE64_NO_PADDING };

    for (; n > 0; n--)
        payload = encode(payload, flags[next(4)]);
    return payload;
}

struct message {
    char payload[512], id[40], time[40], subscription[60];
    int attempt; /* 0: not said */
};

static char *envelope_of(const struct message *want)
{
    char *body = NULL, attempt[40] = "";
    bool number = next(2);

    if (want->attempt)
        (void)snprintf(attempt, sizeof attempt, ",\"deliveryAttempt\":%d", want->attempt);
    CHECK(!arena_printf(&arena, &body, NULL,
                        "{\"subscription\":\"%s\",\"message\":{\"%s\":%s%s%s,\"data\":\"%s\",\"%s\":\"%s\"}%s}",
                        want->subscription, next(2) ? "messageId" : "message_id", number ? "" : "\"", want->id,
                        number ? "" : "\"", encode(layers(want->payload, (int)next(2)), BASE64_STANDARD),
                        next(2) ? "publishTime" : "publish_time", want->time, attempt));
    return body;
}

static void check_form(int form, const struct message *want)
{
    char attempt[20], *event = NULL;
    const struct push_header structured = { "Content-Type", "application/cloudevents+json" };
    const struct push_header binary[] = { { "Ce-Id", "1" }, { "Ce-Type", TYPE }, { "Content-Type", "application/json" } };
    const struct push_header bare[] = { { "x-goog-pubsub-message-id", want->id },
                                        { "x-goog-pubsub-subscription-name", want->subscription },
                                        { "x-goog-pubsub-publish-time", want->time },
                                        { "x-goog-pubsub-delivery-attempt", attempt } };
    struct push_message got;
    struct err err = { 0 };
    int64_t us = want->time[18] - '0';

    (void)snprintf(attempt, sizeof attempt, "%d", want->attempt);
    if (form == 0)
        CHECK_OK(parse(NULL, 0, envelope_of(want), &got, &err), err);
    else if (form == 1)
        CHECK_OK(parse(bare, want->attempt ? 4 : 3, layers(want->payload, (int)next(3)), &got, &err), err);
    else if (form == 2)
        CHECK_OK(parse(binary, 3, envelope_of(want), &got, &err), err);
    else {
        CHECK(!arena_printf(&arena, &event, NULL, form == 3 ? "{\"id\":\"1\",\"data\":%s}" : "{\"data_base64\":\"%s\"}",
                            form == 3 ? envelope_of(want) : encode(envelope_of(want), BASE64_STANDARD)));
        CHECK_OK(parse(&structured, 1, event, &got, &err), err);
    }
    CHECK_STR(got.message_id, want->id);
    CHECK_STR(got.subscription, want->subscription);
    CHECK_INT(got.publish_time_us, (1700000000 + us) * 1000000);
    CHECK_INT(got.delivery_attempt, want->attempt);
    CHECK(span_is(got.data, want->payload));
}

TEST(push_form__all_forms_of_a_message_give_the_same_message)
{
    CHECK_OK(arena_init(&arena, 32 << 20, NULL), (struct err){ 0 });
    for (int i = 0; i < 500; i++) {
        const struct arena_mark mark = arena_mark(&arena);
        struct message want = { .attempt = (int)next(3) };
        char user[200], session[200];
        struct job job;

        random_id(user, sizeof user);
        random_id(session, sizeof session);
        (void)snprintf(want.payload, sizeof want.payload, "%s{\"%s\":\"%s\",\"%s\":\"%s\"}", next(4) ? "" : " \n",
                       next(2) ? "userId" : "user_id", user, next(2) ? "sessionId" : "session_id", session);
        (void)snprintf(want.id, sizeof want.id, "%u%u", 1 + next(1u << 30), next(1u << 30));
        (void)snprintf(want.time, sizeof want.time, "2023-11-14T22:13:2%uZ", next(10));
        (void)snprintf(want.subscription, sizeof want.subscription, "projects/p/subscriptions/s%u", next(9));
        for (int form = 0; form < 5; form++)
            check_form(form, &want);
        if (job_id_is_valid(span_of(user)) && job_id_is_valid(span_of(session))) {
            CHECK_INT(job_parse(span_of(want.payload), &job, NULL), ERR_OK);
            CHECK_STR(job.user_id, user);
        }
        arena_rewind(&arena, mark);
    }
    arena_done(&arena);
}
