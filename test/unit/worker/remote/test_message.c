#include "worker/remote/message.h"

#include <string.h>

#include "test/support/check.h"
#include "test/support/fake/fake_sys.h"
#include "worker/push/job.h"
#include "worker/push/pubsub.h"
#include "worker/push/push_form.h"

static struct arena a;

static void open_arena(void)
{
    CHECK_OK(arena_init(&a, 16 << 20, NULL), (struct err){ 0 });
}

TEST(message__a_payload_has_the_ids_that_the_worker_reads)
{
    struct job job;
    struct err err = { 0 };
    char *text;

    open_arena();
    CHECK_OK(message_payload("u|1", "\xc3\xa9\"x", &a, &text, &err), err);
    CHECK_STR(text, "{\"userId\":\"u|1\",\"sessionId\":\"\xc3\xa9\\\"x\"}");
    CHECK_OK(job_parse(span_of(text), &job, &err), err);
    CHECK_STR(job.document, "users/u|1/sessions/\xc3\xa9\"x");
    arena_done(&a);
}

TEST(message__ids_that_the_worker_would_refuse_are_refused_with_the_reason)
{
    static const char *const bad[] = { "", ".", "..", "a/b", "../x", "a%2Fb", "__x__", "a\nb", "a?b", "\xff", "a*" };
    char *text;

    open_arena();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err of_user = { 0 }, of_session = { 0 };

        CHECK(message_payload(bad[i], "s", &a, &text, &of_user));
        CHECK(message_payload("u", bad[i], &a, &text, &of_session));
        if (*bad[i] != '\xff') {
            CHECK(strstr(of_user.msg, "userId is not an id"));
            CHECK(strstr(of_session.msg, "sessionId is not an id"));
        }
    }
    arena_done(&a);
}

TEST(message__an_envelope_is_what_pubsub_pushes)
{
    struct message m = { .data = SPAN("{\"userId\":\"u\",\"sessionId\":\"s\"}"),
                         .attributes = SPAN("{\"k\":\"v\"}"),
                         .id = "conform-1",
                         .published_us = 1700000000123456,
                         .subscription = "projects/p/subscriptions/s" };
    struct push_message read;
    struct push_request request = { 0 };
    struct err err = { 0 };
    char *text;

    open_arena();
    CHECK_OK(message_wrap(&m, &a, &text, &err), err);
    CHECK_STR(text, "{\"message\":{\"attributes\":{\"k\":\"v\"},\"data\":\"eyJ1c2VySWQiOiJ1Iiwic2Vzc2lvbklkIjoicyJ9\","
                    "\"messageId\":\"conform-1\",\"message_id\":\"conform-1\",\"publishTime\":\"2023-11-14T22:13:20.123456Z\","
                    "\"publish_time\":\"2023-11-14T22:13:20.123456Z\"},\"subscription\":\"projects/p/subscriptions/s\"}");
    request.body = span_of(text);
    CHECK_OK(push_parse(&request, &a, &read, &err), err);
    CHECK(span_eq(read.data, m.data));
    m.subscription = "";
    CHECK_OK(message_wrap(&m, &a, &text, &err), err);
    CHECK(!strstr(text, "subscription"));
    m.attributes = SPAN("{");
    CHECK(message_wrap(&m, &a, &text, &err));
    arena_done(&a);
}

TEST(message__new_ids_are_valid_and_differ)
{
    struct fake_sys sys;
    struct err err = { 0 };
    const char *one, *other;

    open_arena();
    fake_sys_init(&sys, 1700000000, 7);
    CHECK_OK(message_new_id("conform-", &sys.sys, &a, &one, &err), err);
    CHECK_OK(message_new_id("conform-", &sys.sys, &a, &other, &err), err);
    CHECK_INT(strlen(one), 8 + 24);
    CHECK_INT(strspn(one + 8, "0123456789abcdef"), 24);
    CHECK(strncmp(one, "conform-", 8) == 0 && strcmp(one, other) != 0);
    CHECK(pubsub_message_id_is_valid(span_of(one)));
    arena_done(&a);
}
