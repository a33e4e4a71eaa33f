#include <stdio.h>
#include <string.h>

#include "kernels/base/base64.h"
#include "test/support/check.h"
#include "worker/push/kept.h"

#define DATA    "eyJ1c2VySWQiOiJ1MSIsInNlc3Npb25JZCI6InMxIn0="
#define PAYLOAD "{\"userId\":\"u1\",\"sessionId\":\"s1\"}"
#define MESSAGE "{\"data\":\"" DATA "\",\"messageId\":\"17\",\"attributes\":{\"k\":\"v\"}}"
/* The same in a line of the log. */
#define ESCAPED "{\\\"userId\\\":\\\"u1\\\",\\\"sessionId\\\":\\\"s1\\\"}"

static struct arena arena;

static enum err_code parse(const char *text, const struct kept_message **ret, int *ret_n, struct err *err)
{
    arena_done(&arena);
    CHECK_OK(arena_init(&arena, 64 << 20, NULL), (struct err){ 0 });
    return kept_parse(span_of(text), &arena, ret, ret_n, err);
}

static void check_one(const char *text, const char *id, const char *subscription, const char *attributes)
{
    const struct kept_message *m;
    struct err err = { 0 };
    int n;

    CHECK_OK(parse(text, &m, &n, &err), err);
    CHECK_INT(n, 1);
    CHECK_STR(m->message_id, id);
    CHECK_STR(m->subscription, subscription);
    CHECK(span_is(m->attributes, attributes));
    CHECK(span_is(m->data, PAYLOAD));
    arena_done(&arena);
}

TEST(kept__reads_envelopes_and_what_was_pulled)
{
    check_one("{\"message\":" MESSAGE ",\"subscription\":\"projects/p/subscriptions/s\"}", "17", "projects/p/subscriptions/s",
              "{\"k\":\"v\"}");
    check_one("[\n  {\n    \"ackId\": \"a\", \"message\": " MESSAGE ", \"deliveryAttempt\": 3\n  }\n]\n", "17", "",
              "{\"k\":\"v\"}");
    check_one("{\"ackId\":\"a\",\"message\":{\"data\":\"" DATA "\",\"message_id\":17}}", "17", "", "{}");
    check_one("{\"receivedMessages\":[{\"ackId\":\"a\",\"message\":" MESSAGE "}]}", "17", "", "{\"k\":\"v\"}");
    check_one(MESSAGE, "17", "", "{\"k\":\"v\"}");
    check_one("{\"specversion\":\"1.0\",\"data\":{\"message\":" MESSAGE "}}", "17", "", "{\"k\":\"v\"}");
    check_one("  " PAYLOAD "\r\n", "", "", "{}");
}

/* What a worker would run: an event's id stands in for its message's, and its envelope may be base64. */
TEST(kept__reads_events_as_a_worker_does)
{
    char text[512], base64[256];

    check_one("{\"specversion\":\"1.0\",\"id\":\"9\",\"data\":{\"message\":" MESSAGE "}}", "17", "", "{\"k\":\"v\"}");
    check_one("{\"specversion\":\"1.0\",\"id\":\"9\",\"data\":{\"message\":{\"data\":\"" DATA "\"}}}", "9", "", "{}");
    CHECK_INT(base64_encode(SPAN("{\"message\":" MESSAGE "}"), BASE64_STANDARD, base64, sizeof base64, NULL, NULL), ERR_OK);
    (void)snprintf(text, sizeof text, "{\"specversion\":\"1.0\",\"data\":null,\"data_base64\":\"%s\"}", base64);
    check_one(text, "17", "", "{\"k\":\"v\"}");
}

#define TWICE "ZXlKMWMyVnlTV1FpT2lKMU1TSXNJbk5sYzNOcGIyNUpaQ0k2SW5NeEluMD0="

/* An unwrapped body may be base64 twice, the data of an envelope has room for one layer besides its own. */
TEST(kept__a_payload_is_sent_without_the_layers_around_it)
{
    check_one(DATA "\n", "", "", "{}");
    check_one(TWICE, "", "", "{}");
    check_one("{\"message\":\"x\",\"messageId\":\"17\",\"payload\":\"" TWICE "\",\"payloadBytes\":60}", "17", "", "{}");
    check_one("{\"data\":\"WlhsS01XTXlWbmxUVjFGcFQybEtNVTFUU1hOSmJrNXNZek5PY0dJeU5VcGFRMGsyU1c1TmVFbHVNRDA9\"}", "", "", "{}");
}

/* Other members of a payload are the app's, whatever their names. */
TEST(kept__a_payload_is_one_with_any_other_members)
{
    static const char *const payloads[] = {
        "{\"userId\":\"u1\",\"sessionId\":\"s1\",\"message\":\"hello\"}",
        "{\"userId\":\"u1\",\"sessionId\":\"s1\",\"message\":{\"text\":\"hello\"}}",
        "{\"user_id\":17,\"session_id\":\"s1\",\"data\":\"-\",\"severity\":3}",
        "{\"severity\":\"high\",\"messageId\":\"x\",\"userId\":\"u1\",\"sessionId\":\"s1\",\"payload\":null}",
    };
    const struct kept_message *m;
    struct err err = { 0 };
    int n;

    for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
        CHECK_OK(parse(payloads[i], &m, &n, &err), err);
        CHECK(span_is(m->data, payloads[i]));
        CHECK_STR(m->message_id, "");
    }
    arena_done(&arena);
}

TEST(kept__reads_lines_of_the_log)
{
    static const char poison[] = "{\"severity\":\"ERROR\",\"message\":\"poison message: acknowledged and dropped\",\"messageId\":"
                                 "\"17\",\"error\":\"x\",\"payload\":\"" ESCAPED "\",\"payloadBytes\":32,\"attributes\":"
                                 "\"{\\\"k\\\":\\\"v\\\"}\",\"subscription\":\"s\"}";
    static const char job[] = "{\"severity\":\"INFO\",\"message\":\"push answered\",\"messageId\":\"17\",\"session\":"
                              "\"users/u1/sessions/s1\",\"outcome\":\"failed\"}";

    check_one(poison, "17", "s", "{\"k\":\"v\"}");
    check_one(job, "17", "", "{}");
    check_one("[{\"insertId\":\"1\",\"jsonPayload\":{\"message\":\"push answered\",\"messageId\":\"17\",\"session\":"
              "\"users/u1/sessions/s1\"},\"severity\":\"INFO\"}]", "17", "", "{}");
    check_one("{\"severity\":\"ERROR\",\"message\":\"x\",\"payload\":\"" ESCAPED "\",\"payloadBytes\":32,\"attributes\":\"{\\\"cut\"}",
              "", "", "{}");
}

TEST(kept__unescapes_a_logged_payload)
{
    const struct kept_message *m;
    struct err err = { 0 };
    int n;

    CHECK_OK(parse("{\"severity\":\"ERROR\",\"message\":\"x\",\"payload\":\"a\\\\x00\\\\\\\\\xc3\xa9\",\"payloadBytes\":5}", &m, &n,
                   &err), err);
    CHECK(span_eq(m->data, SPAN("a\0\\\xc3\xa9")));
}

/* The line had all of the payload, and somebody has corrected it there. */
TEST(kept__a_payload_that_was_mended_in_its_line_may_be_of_another_length)
{
    check_one("{\"message\":\"x\",\"payload\":\"" ESCAPED "\",\"payloadBytes\":30}", "", "", "{}");
    check_one("{\"message\":\"x\",\"payload\":\"" ESCAPED "\",\"payloadBytes\":256}", "", "", "{}");
    check_one("{\"message\":\"x\",\"payload\":\"" ESCAPED "\",\"payloadBytes\":32.0}", "", "", "{}"); /* exported as doubles */
}

TEST(kept__reads_several_messages)
{
    const struct kept_message *m;
    struct err err = { 0 };
    int n;

    CHECK_OK(parse(MESSAGE "\n\n" PAYLOAD "\n{\"message\":" MESSAGE "}\n[" PAYLOAD "]", &m, &n, &err), err);
    CHECK_INT(n, 4);
    CHECK_STR(m[0].message_id, "17");
    CHECK_STR(m[1].message_id, "");
    CHECK_STR(m[2].message_id, "17");
    CHECK_OK(parse("[" MESSAGE "," PAYLOAD "]", &m, &n, &err), err);
    CHECK_INT(n, 2);
}

TEST(kept__names_the_message_that_is_wrong)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "", "there is nothing in it" },
        { " \n", "there is nothing in it" },
        { "[]", "there is no message in it" },
        { "5", "neither an object nor a list" },
        { "{", "JSON" },
        { "[5]", "message 1 of the list: it is not an object" },
        { "[" MESSAGE ",{}]", "message 2 of the list: it is neither a message nor a payload" },
        { MESSAGE "\n{}\n", "line 2: it is neither a message nor a payload" },
        { MESSAGE "\nnonsense\n", "line 2: JSON" },
        { "{\"message\":{\"messageId\":\"1\"}}", "it has no data" },
        { "{\"message\":{\"data\":\"*\"}}", "its data is not base64" },
        { "{\"message\":{\"data\":\"" DATA "\",\"messageId\":1.5}}", "its messageId is neither a text nor an integer" },
        { "{\"message\":\"ready\",\"severity\":\"NOTICE\"}", "a log line about no message" },
        { "{\"message\":\"x\",\"body\":\"{\",\"bodyBytes\":1}", "a log line about a body without a payload" },
        { "{\"message\":\"x\",\"payload\":\"abc\"}", "payload or payloadBytes is empty" },
        { "{\"message\":\"x\",\"payload\":\"abc\",\"payloadBytes\":1e99}", "the first 256 bytes" },
        { "{\"specversion\":\"1.0\",\"data_base64\":\"*\"}", "its data_base64 is not base64" },
        { "{\"specversion\":\"1.0\",\"data_base64\":\"e30=\"}", "it is neither a message nor a payload" },
        { "{\"specversion\":\"1.0\",\"data_base64\":\"ew==\"}", "JSON" },
        { "{\"message\":\"x\",\"payload\":\"abc\",\"payloadBytes\":257}", "the first 256 bytes of a payload of 257" },
        { "{\"message\":\"x\",\"payload\":\"abc\",\"payloadBytes\":300}", "POISON_TOPIC keeps whole messages" },
        { "{\"message\":\"x\",\"payload\":\"\\\\n\",\"payloadBytes\":1}", "not escaped as the worker does" },
        { "{\"message\":\"x\",\"session\":\"users/u\"}", "its session is not users/USER/sessions/SESSION" },
        { "{\"message\":\"x\",\"session\":\"sessions/u/users/s\"}", "its session is not users/USER/sessions/SESSION" },
        { "{\"jsonPayload\":{\"jsonPayload\":{\"jsonPayload\":{\"jsonPayload\":{\"jsonPayload\":{\"jsonPayload\":{}}}}}}}",
          "nested too deeply" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct kept_message *m;
        struct err err = { 0 };
        int n;

        CHECK(parse(cases[i].text, &m, &n, &err) != ERR_OK);
        if (!strstr(err.msg, cases[i].words))
            test_fail(__FILE__, __LINE__, "'%s' of %s", err.msg, cases[i].text);
    }
    arena_done(&arena);
}
