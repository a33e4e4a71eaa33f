/* P1 to P16 of PROTOCOL.md 9.2; those about HTTP and delivery are tested where they are handled. */
#include <stdio.h>
#include <stdlib.h>

#include "test/support/check.h"
#include "worker/push/pubsub.h"

#define DATA "\"data\":\"eyJ1c2VySWQiOiJ1MSIsInNlc3Npb25JZCI6InMxIn0=\""
#define IDS  "\"messageId\":\"2070443601311540\",\"message_id\":\"2070443601311540\""

static const char p1[] = "{\"message\":{\"attributes\":{\"k\":\"v\"}," DATA "," IDS ",\"orderingKey\":\"u1/s1\","
                         "\"publishTime\":\"2021-02-26T19:13:55.749Z\",\"publish_time\":\"2021-02-26T19:13:55.749Z\"},"
                         "\"subscription\":\"projects/myproject/subscriptions/mysub\",\"deliveryAttempt\":5}";

static enum err_code parse(struct span body, struct push_message *ret)
{
    static char data[256], id[PUBSUB_MESSAGE_ID_MAX + 1], subscription[256];
    struct arena a = { 0 };
    struct push_message msg;
    struct err err = { 0 };
    enum err_code rc;

    CHECK_OK(arena_init(&a, 4 << 20, &err), err);
    rc = pubsub_parse(body, NULL, &a, &msg, &err);
    CHECK_INT(rc, err.code);
    if (!rc) {
        CHECK(msg.data.len < sizeof data);
        memcpy(data, msg.data.ptr, msg.data.len);
        (void)snprintf(id, sizeof id, "%s", msg.message_id);
        (void)snprintf(subscription, sizeof subscription, "%s", msg.subscription);
        *ret = msg;
        ret->data.ptr = data;
        ret->message_id = id;
        ret->subscription = subscription;
    }
    arena_done(&a);
    return rc;
}

static void check_poison(struct span body)
{
    struct push_message msg;
    enum err_code rc = parse(body, &msg);

    if (rc != ERR_INVALID)
        test_fail(__FILE__, __LINE__, "%s for %.*s", err_name(rc), SPAN_ARG(body));
}

TEST(pubsub__reads_the_documented_push) /* P1 */
{
    struct push_message msg;

    CHECK_INT(parse(SPAN(p1), &msg), ERR_OK);
    CHECK(span_is(msg.data, "{\"userId\":\"u1\",\"sessionId\":\"s1\"}"));
    CHECK_STR(msg.message_id, "2070443601311540");
    CHECK_STR(msg.subscription, "projects/myproject/subscriptions/mysub");
    CHECK_INT(msg.delivery_attempt, 5);
    CHECK_INT(msg.publish_time_us, 1614366835749000);
}

TEST(pubsub__reads_what_the_emulator_sends) /* P2 */
{
    static const char body[] =
        "{\"subscription\":\"projects\\/demo\\/subscriptions\\/"
        "s\",\"message\":{\"publishTime\":\"2026-11-20T09:39:12.000Z\","
        "\"data\":\"eyJoZWxsbyI6IndvcmxkIn0=\",\"publish_time\":\"2026-11-20T09:39:12.000Z\",\"messageId\":\"1\","
        "\"attributes\":{},\"message_id\":\"1\"}}";
    struct push_message msg;

    CHECK_INT(parse(SPAN(body), &msg), ERR_OK);
    CHECK(span_is(msg.data, "{\"hello\":\"world\"}"));
    CHECK_STR(msg.message_id, "1");
    CHECK_STR(msg.subscription, "projects/demo/subscriptions/s");
    CHECK_INT(msg.delivery_attempt, 0);
}

TEST(pubsub__needs_only_data_and_one_id) /* P3, P4 */
{
    struct push_message msg;

    CHECK_INT(parse(SPAN("{\"message\":{" DATA ",\"message_id\":\"7\"}}"), &msg), ERR_OK);
    CHECK_STR(msg.message_id, "7");
    CHECK_STR(msg.subscription, "");
    CHECK_INT(msg.delivery_attempt, 0);
    CHECK(msg.publish_time_us == PUBSUB_TIME_UNKNOWN);
    CHECK_INT(parse(SPAN("{\"message\":{" DATA ",\"messageId\":\"7\"},\"subscription\":5}"), &msg), ERR_OK);
}

TEST(pubsub__takes_an_integer_as_a_message_id_digit_by_digit) /* P6 */
{
    struct push_message msg;

    CHECK_INT(parse(SPAN("{\"message\":{" DATA ",\"messageId\":12345678901234567890123}}"), &msg), ERR_OK);
    CHECK_STR(msg.message_id, "12345678901234567890123");
    CHECK_INT(parse(SPAN("{\"message\":{" DATA ",\"message_id\":9007199254740993,\"messageId\":\"9007199254740993\"}}"),
                    &msg), ERR_OK);
    CHECK_STR(msg.message_id, "9007199254740993");
}

TEST(pubsub__opens_a_second_layer_of_base64)
{
    /* {"userId":"u1","sessionId":"s1"} */
    static const char *const twice[] = {
        "ZXlKMWMyVnlTV1FpT2lKMU1TSXNJbk5sYzNOcGIyNUpaQ0k2SW5NeEluMD0=",     /* with padding inside */
        "ZXlKMWMyVnlTV1FpT2lKMU1TSXNJbk5sYzNOcGIyNUpaQ0k2SW5NeEluMA==",     /* without */
        "ZXlKMWMyVnlTV1FpT2lKMU1TSXMKSW5ObGMzTnBiMjVKWkNJNkluTXhJbjA9Cg==", /* with line breaks inside */
    };
    struct push_message msg;
    char body[512];

    for (size_t i = 0; i < sizeof twice / sizeof *twice; i++) {
        (void)snprintf(body, sizeof body, "{\"message\":{\"data\":\"%s\"," IDS "}}", twice[i]);
        CHECK_INT(parse(span_of(body), &msg), ERR_OK);
        CHECK(span_is(msg.data, "{\"userId\":\"u1\",\"sessionId\":\"s1\"}"));
    }
}

TEST(pubsub__keeps_what_it_could_read_of_a_poison)
{
    struct arena a = { 0 };
    struct push_message msg;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, 4 << 20, &err), err);
    CHECK_INT(pubsub_parse(SPAN("{\"message\":{\"data\":\"*\",\"messageId\":\"7\",\"attributes\":{\"k\":\"v\"},"
                                "\"publishTime\":\"2021-02-26T19:13:55.749Z\"},\"subscription\":\"s\",\"deliveryAttempt\":3}"),
                           NULL, &a, &msg, &err), ERR_INVALID);
    CHECK_STR(err.msg, "push: message.data is not base64");
    CHECK_STR(msg.message_id, "7");
    CHECK_STR(msg.subscription, "s");
    CHECK(span_is(msg.attributes, "{\"k\":\"v\"}") && span_is(msg.published, "*"));
    CHECK_INT(msg.delivery_attempt, 3);
    CHECK_INT(msg.publish_time_us, 1614366835749000);
    CHECK_INT(pubsub_parse(SPAN("{\"message\":{" DATA ",\"messageId\":\"a b\"}}"), NULL, &a, &msg, NULL), ERR_INVALID);
    CHECK_STR(msg.message_id, "");
    CHECK(span_starts(msg.published, "{\"userId\""));
    CHECK_INT(pubsub_parse(SPAN("nonsense"), NULL, &a, &msg, NULL), ERR_INVALID);
    CHECK_STR(msg.message_id, "");
    CHECK_STR(msg.subscription, "");
    CHECK(span_is(msg.attributes, "{}") && span_is(msg.published, ""));
    arena_done(&a);
}

TEST(pubsub__refuses_a_doubtful_message_id) /* P5, P15 */
{
    static const char *const ids[] = {
        "\"messageId\":\"1\",\"message_id\":\"2\"",
        "\"messageId\":\"1\",\"message_id\":2",
        "\"messageId\":-1",
        "\"messageId\":1.0",
        "\"messageId\":1e3",
        "\"messageId\":true",
        "\"messageId\":null",
        "\"messageId\":\"\"",
        "\"messageId\":\"a b\"",
        "\"messageId\":\"a\\nb\"",
        "\"messageId\":\"a\\u0000b\"",
        "\"x\":1",
        "\"messageId\":null,\"message_id\":\"1\"",
    };
    char body[1024];

    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        (void)snprintf(body, sizeof body, "{\"message\":{" DATA ",%s}}", ids[i]);
        check_poison(span_of(body));
    }
    (void)snprintf(body, sizeof body, "{\"message\":{" DATA ",\"messageId\":\"%0129d\"}}", 1);
    check_poison(span_of(body));
}

TEST(pubsub__treats_an_unreadable_delivery_attempt_as_unknown) /* P7 */
{
    static const char *const attempts[] = { "\"5\"", "-1",  "0", "1e99", "null", "1.5", "99999999999999999999",
                                            "{}",    "true" };
    char body[1024];
    struct push_message msg;

    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        (void)snprintf(body, sizeof body, "{\"message\":{" DATA "," IDS "},\"deliveryAttempt\":%s}", attempts[i]);
        CHECK_INT(parse(span_of(body), &msg), ERR_OK);
        CHECK_INT(msg.delivery_attempt, 0);
    }
}

TEST(pubsub__treats_an_unreadable_time_as_unknown)
{
    static const char *const times[] = { "\"yesterday\"", "null", "1614366835", "\"\"", "\"2021-02-30T00:00:00Z\"" };
    char body[1024];
    struct push_message msg;

    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        (void)snprintf(body, sizeof body, "{\"message\":{" DATA "," IDS ",\"publishTime\":%s}}", times[i]);
        CHECK_INT(parse(span_of(body), &msg), ERR_OK);
        CHECK(msg.publish_time_us == PUBSUB_TIME_UNKNOWN);
    }
}

TEST(pubsub__refuses_what_is_not_an_envelope) /* P8 */
{
    static const char *const bodies[] = { "",
                                          " ",
                                          "null",
                                          "[]",
                                          "\"x\"",
                                          "{}",
                                          "{\"message\":null}",
                                          "{\"message\":[]}",
                                          "{\"message\":\"x\"}",
                                          "{\"Message\":{" DATA "," IDS "}}" };

    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        check_poison(span_of(bodies[i]));
}

TEST(pubsub__refuses_data_that_is_not_strict_base64) /* P9, P10 */
{
    static const char *const data[] = {
        "\"x\":1",
        "\"data\":\"\"",
        "\"data\":null",
        "\"data\":5",
        "\"data\":\"-_-_\"",
        "\"data\":\"AAA\"",
        "\"data\":\"AA\"",
        "\"data\":\"A\"",
        "\"data\":\"AA==AAAA\"",
        "\"data\":\"A=AA\"",
        "\"data\":\"AA AA\"",
        "\"data\":\"AAAA\\n\"",
        "\"data\":\"AAAA\\r\\nAAAA\"",
        "\"data\":\"=\"",
        "\"data\":\"====\"",
        "\"data\":\"AB==\"",
        "\"data\":\"AAB=\"",
        "\"data\":\"AAA*\"",
        "\"data\":[\"AAAA\"]",
    };
    char body[1024];

    for (size_t i = 0; i < sizeof data / sizeof *data; i++) {
        (void)snprintf(body, sizeof body, "{\"message\":{%s," IDS "}}", data[i]);
        check_poison(span_of(body));
    }
}

TEST(pubsub__decodes_the_standard_alphabet)
{
    struct push_message msg;

    CHECK_INT(parse(SPAN("{\"message\":{\"data\":\"+\\/+/\"," IDS "}}"), &msg), ERR_OK);
    CHECK(span_eq(msg.data, SPAN("\xfb\xff\xbf")));
    CHECK_INT(parse(SPAN("{\"message\":{\"data\":\"AA==\"," IDS "}}"), &msg), ERR_OK);
    CHECK(span_eq(msg.data, SPAN("\0")));
}

TEST(pubsub__refuses_a_body_cut_at_any_byte) /* P11; each piece in memory of its own, so that a read past it is seen */
{
    for (size_t n = 0; n < sizeof p1 - 1; n++) {
        char *piece = malloc(n + 1);

        CHECK(piece);
        memcpy(piece, p1, n);
        check_poison((struct span){ piece, n });
        free(piece);
    }
}

TEST(pubsub__refuses_anything_after_the_object) /* P12 */
{
    struct push_message msg;
    char body[2 * sizeof p1];

    (void)snprintf(body, sizeof body, "%s x", p1);
    check_poison(span_of(body));
    (void)snprintf(body, sizeof body, "%s%s", p1, p1);
    check_poison(span_of(body));
    check_poison((struct span){ p1, sizeof p1 }); /* the NUL */
    (void)snprintf(body, sizeof body, " \r\n\t%s \n", p1);
    CHECK_INT(parse(span_of(body), &msg), ERR_OK);
}

TEST(pubsub__refuses_duplicate_members) /* P13 */
{
    check_poison(SPAN("{\"message\":{" DATA "," IDS "},\"message\":{" DATA "," IDS "}}"));
    check_poison(SPAN("{\"message\":{" DATA "," DATA "," IDS "}}"));
    check_poison(SPAN("{\"message\":{" DATA ",\"d\\u0061ta\":\"AAAA\"," IDS "}}"));
}

TEST(pubsub__refuses_deep_nesting) /* P14 */
{
    enum { N = 100000 };
    static char body[2 * N];

    memset(body, '[', N);
    memset(body + N, ']', N);
    check_poison((struct span){ body, sizeof body });
    check_poison((struct span){ body, N });
    for (int i = 0; i < N; i++)
        memcpy(body + i / 5 * 5, "{\"a\":", 5);
    check_poison((struct span){ body, N });
}

TEST(pubsub__refuses_broken_text) /* P15 */
{
    check_poison(SPAN("\xef\xbb\xbf{\"message\":{" DATA "," IDS "}}"));
    check_poison(SPAN("{\"message\":{\"attributes\":{\"k\":\"\xff\"}," DATA "," IDS "}}"));
    check_poison(SPAN("{\"message\":{\"attributes\":{\"k\":\"\xc0\x80\"}," DATA "," IDS "}}"));
    check_poison(SPAN("{\"message\":{\"attributes\":{\"k\":\"\\ud800\"}," DATA "," IDS "}}"));
}

TEST(pubsub__bounds_the_body) /* P16 */
{
    struct push_message msg;

    CHECK_INT(parse((struct span){ p1, 14 << 20 }, &msg), ERR_TOO_LARGE);
}
