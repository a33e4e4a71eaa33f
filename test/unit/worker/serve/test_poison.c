/* What becomes of a push that cannot be a job (PROTOCOL.md 1.10). */
#include "worker/serve/poison.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/base64.h"
#include "test/support/check.h"
#include "test/support/fake/job_scene.h"
#include "test/support/fake/script.h"
#include "worker/base/json.h"
#include "worker/push/kept.h"

static struct job_scene s;
static struct script topic;
static struct gauth *gauth;
static struct publisher publisher;

static void open_scene(enum poison_policy policy, bool with_topic)
{
    job_scene_open(&s);
    s.handler.poison = (struct poison_rules){
        .policy = policy, .max_deliveries = 50, .max_age_s = 604800, .sys = &s.cloud.sys, .n_publishing = &s.handler.n_publishing
    };
    script_init(&topic);
    CHECK(!gauth_open(&(struct gauth_options){ .http = &topic.http,
                                               .sys = &s.cloud.sys,
                                               .emulator = { true, true, true },
                                               .uses_pubsub = true,
                                               .project = "demo" },
                      &gauth, NULL));
    CHECK(!publisher_init(&publisher,
                          &(struct publisher_options){ &topic.http, gauth, "projects/p/topics/poison", "127.0.0.1:3", NULL },
                          &s.arena, NULL));
    if (with_topic)
        s.handler.poison.publisher = &publisher;
}

static void close_scene(void)
{
    gauth_close(gauth);
    script_done(&topic);
    job_scene_close(&s);
}

static void topic_will_take_it(void)
{
    script_will(&topic, (struct script_reply){ .status = 200, .body = SPAN("{\"messageIds\":[\"5\"]}") });
}

static int post(const char *body)
{
    return job_scene_request(&s, (struct http_server_request){ .method = "POST", .path = "/", .body = span_of(body) }).status;
}

/* The last line of the log. */
static struct span last_line(void)
{
    const char *log = job_scene_log(&s), *line = log + strlen(log);

    CHECK(line > log);
    for (line--; line > log && line[-1] != '\n'; line--)
        ;
    return (struct span){ line, strcspn(line, "\n") };
}

/* The text of a field of the last line of the log. */
static const char *logged(const char *field)
{
    const struct json *root, *v;
    char *text = NULL;

    CHECK(!json_parse(&s.arena, last_line(), 4, &root, NULL));
    v = json_get(root, field);
    if (!v || json_string(v))
        return v ? json_string(v) : "(none)";
    CHECK(!json_print(&s.arena, v, &text, NULL));
    return text;
}

/* data: {"userId":"u","sessionId":"__s__"} */
#define DATA "eyJ1c2VySWQiOiJ1Iiwic2Vzc2lvbklkIjoiX19zX18ifQ=="
#define POISON_PAYLOAD "{\"userId\":\"u\",\"sessionId\":\"__s__\"}"
#define ENVELOPE(attributes, time, more) \
    "{\"message\":{\"attributes\":{" attributes "},\"data\":\"" DATA "\",\"messageId\":\"m1\",\"publishTime\":\"" time "\"}," \
    "\"subscription\":\"projects/demo/subscriptions/x\"" more "}"
#define NOW "2023-11-14T22:13:20Z"

TEST(poison__the_log_says_what_is_needed_to_send_it_again)
{
    open_scene(POISON_ACK, false);
    CHECK_INT(post(ENVELOPE("\"k\":\"v\"", NOW, ",\"deliveryAttempt\":3")), 204);
    CHECK_STR(logged("severity"), "ERROR");
    CHECK_STR(logged("message"), "poison message: acknowledged and dropped");
    CHECK_STR(logged("messageId"), "m1");
    CHECK_STR(logged("attributes"), "{\"k\":\"v\"}");
    CHECK_STR(logged("payload"), POISON_PAYLOAD);
    CHECK_STR(logged("payloadBytes"), "34");
    CHECK_STR(logged("publishTime"), "2023-11-14T22:13:20.000000Z");
    CHECK_STR(logged("subscription"), "projects/demo/subscriptions/x");
    CHECK_STR(logged("deliveryAttempt"), "3");
    CHECK(strstr(logged("error"), "job: sessionId is not an id"));
    close_scene();
}

TEST(poison__of_a_long_payload_the_first_256_bytes_are_logged_escaped)
{
    char data[2000], body[4000];
    char *p = body;

    memset(data, 'A', sizeof data); /* NUL bytes in base64 */
    data[1600] = 0;
    open_scene(POISON_ACK, false);
    p += snprintf(p, 100, "{\"message\":{\"messageId\":\"m1\",\"data\":\"");
    (void)snprintf(p, sizeof body - 100, "%s\"}}", data);
    CHECK_INT(post(body), 204);
    CHECK_INT(strlen(logged("payload")), 4 * 256);
    CHECK(span_starts(span_of(logged("payload")), "\\x00\\x00"));
    CHECK_STR(logged("payloadBytes"), "1200");
    close_scene();
}

TEST(poison__without_a_payload_the_body_is_logged)
{
    open_scene(POISON_ACK, false);
    CHECK_INT(post("{\"message\":\n\x1b[31m"), 204);
    CHECK_STR(logged("body"), "{\"message\":\\x0a\\x1b[31m");
    CHECK_STR(logged("bodyBytes"), "17");
    CHECK_STR(logged("messageId"), "(none)");
    close_scene();
}

TEST(poison__of_a_body_that_is_too_large_the_announced_length_is_logged)
{
    open_scene(POISON_ACK, false);
    CHECK_INT(job_scene_request(&s, (struct http_server_request){ .method = "POST", .path = "/", .body_too_large = true,
                                     .headers = { { "Content-Length", "14000000" }, { "x-goog-pubsub-message-id", "m7" } },
                                     .n_headers = 2 }).status, 204);
    CHECK_STR(logged("bodyBytes"), "14000000");
    CHECK_STR(logged("messageId"), "m7");
    CHECK(strstr(logged("error"), "larger than a message may be"));
    close_scene();
}

TEST(poison__attributes_are_cut_to_what_a_line_can_hold)
{
    char body[8000];
    size_t n = (size_t)snprintf(body, sizeof body, "{\"message\":{\"messageId\":\"m1\",\"attributes\":{\"k\":\"");

    for (int i = 0; i < 3000; i += 2)
        n += (size_t)snprintf(body + n, sizeof body - n, "\xc3\xa9");
    (void)snprintf(body + n, sizeof body - n, "\"},\"data\":\"" DATA "\"}}");
    open_scene(POISON_ACK, false);
    CHECK_INT(post(body), 204);
    CHECK(strlen(logged("attributes")) >= 1023 && strlen(logged("attributes")) <= 1024);
    CHECK_STR(logged("payload"), POISON_PAYLOAD);
    close_scene();
}

TEST(poison__any_payload_of_256_bytes_comes_back_from_its_line)
{
    uint64_t state = 7;

    open_scene(POISON_ACK, false);
    for (int i = 0; i < 14; i++) {
        const struct kept_message *kept;
        char bytes[256], data[400], *body = NULL;
        size_t n;
        int n_kept;

        for (size_t k = 0; k < sizeof bytes; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            bytes[k] = i % 2 ? (char)(state >> 56) : "\\x\xc3\xa9\n\x7f\"{"[state >> 61];
        }
        n = 1 + (state >> 33) % sizeof bytes;
        CHECK(!base64_encode((struct span){ bytes, n }, BASE64_STANDARD, data, sizeof data, NULL, NULL));
        CHECK(!arena_printf(&s.arena, &body, NULL, "{\"message\":{\"messageId\":\"m%d\",\"attributes\":{\"k\":\"\xc3\xa9\"},"
                                                   "\"data\":\"%s\"}}", i, data));
        CHECK_INT(post(body), 204);
        CHECK(!kept_parse(last_line(), &s.arena, &kept, &n_kept, NULL));
        CHECK(span_eq(kept->data, (struct span){ bytes, n }));
        CHECK(kept->message_id[0] == 'm' && atoi(kept->message_id + 1) == i);
        CHECK(span_is(kept->attributes, "{\"k\":\"\xc3\xa9\"}"));
    }
    close_scene();
}

TEST(poison__nack_leaves_it_to_the_dead_letter_policy)
{
    open_scene(POISON_NACK, false);
    CHECK_INT(post(ENVELOPE("", NOW, "")), 400);
    CHECK_STR(job_scene_counts(&s), "pushes_total{code=\"400\"} 1\npoison_total 1\n");
    CHECK_STR(logged("message"), "poison message: refused, for the dead-letter policy of its subscription");
    CHECK_STR(logged("payload"), POISON_PAYLOAD);
    s.handler.subscription = "projects/demo/subscriptions/y";
    CHECK_INT(job_scene_push(&s, "m2"), 400);
    CHECK(strstr(logged("error"), "PUBSUB_SUBSCRIPTION"));
    CHECK_STR(logged("payload"), "{\"userId\":\"u\",\"sessionId\":\"s\"}");
    close_scene();
}

TEST(poison__nack_ends_with_the_bound_on_deliveries_or_age)
{
    open_scene(POISON_NACK, false);
    CHECK_INT(post(ENVELOPE("", NOW, ",\"deliveryAttempt\":50")), 400);
    CHECK_INT(post(ENVELOPE("", NOW, ",\"deliveryAttempt\":51")), 204);
    CHECK_INT(post(ENVELOPE("", "2023-11-07T22:13:21Z", "")), 400);
    CHECK_INT(post(ENVELOPE("", "2023-11-07T22:13:19Z", "")), 204);
    CHECK_STR(logged("message"), "poison message: acknowledged and dropped");
    CHECK_INT(post(ENVELOPE("", "9999-01-01T00:00:00Z", "")), 400);
    CHECK_INT(post(ENVELOPE("", "0001-01-01T00:00:00Z", "")), 204);
    CHECK_INT(post("nonsense"), 400);
    close_scene();
}

static const struct json *published_message(void)
{
    const struct json *root;

    CHECK(topic.n_requests > 0);
    CHECK(!json_parse(&s.arena, topic.requests[topic.n_requests - 1].body, 8, &root, NULL));
    return json_first(json_get(root, "messages"));
}

static const char *published_attribute(const char *key)
{
    const char *text = json_string(json_get(json_get(published_message(), "attributes"), key));

    return text ? text : "(none)";
}

TEST(poison__the_topic_gets_payload_attributes_and_reason_before_the_ack)
{
    open_scene(POISON_ACK, true);
    topic_will_take_it();
    CHECK_INT(post(ENVELOPE("\"k\":\"v\",\"reason\":\"theirs\",\"googclient_x\":\"1\",\"n\":5", NOW, "")), 204);
    CHECK_INT(topic.n_requests, 1);
    CHECK_STR(topic.requests[0].url, "http://127.0.0.1:3/v1/projects/p/topics/poison:publish");
    CHECK_STR(json_string(json_get(published_message(), "data")), DATA);
    CHECK(strstr(published_attribute("reason"), "job: sessionId is not an id"));
    CHECK_STR(published_attribute("messageId"), "m1");
    CHECK_STR(published_attribute("subscription"), "projects/demo/subscriptions/x");
    CHECK_STR(published_attribute("publishTime"), "2023-11-14T22:13:20.000000Z");
    CHECK_STR(published_attribute("k"), "v");
    CHECK_STR(published_attribute("googclient_x"), "(none)");
    CHECK_STR(published_attribute("n"), "(none)");
    CHECK_STR(logged("message"), "poison message: published to POISON_TOPIC and acknowledged");
    CHECK_STR(job_scene_counts(&s), "pushes_total{code=\"204\"} 1\npoison_total 1\n");
    close_scene();
}

TEST(poison__a_body_without_a_payload_is_published_whole)
{
    open_scene(POISON_ACK, true);
    topic_will_take_it();
    CHECK_INT(post("nonsense"), 204);
    CHECK_STR(json_string(json_get(published_message(), "data")), "bm9uc2Vuc2U=");
    CHECK_STR(published_attribute("messageId"), "");
    close_scene();
}

TEST(poison__what_cannot_be_published_comes_again_until_the_bound)
{
    open_scene(POISON_ACK, true);
    script_will(&topic, (struct script_reply){ .status = 403 });
    CHECK_INT(post(ENVELOPE("", NOW, "")), 503);
    CHECK_STR(logged("message"), "poison message: it cannot be published to POISON_TOPIC, and comes again");
    CHECK(strstr(logged("notPublished"), "roles/pubsub.publisher"));
    script_will(&topic, (struct script_reply){ .status = 403 });
    CHECK_INT(post(ENVELOPE("", NOW, ",\"deliveryAttempt\":51")), 204);
    CHECK_STR(logged("message"), "poison message: acknowledged and dropped");
    CHECK(strstr(logged("notPublished"), "roles/pubsub.publisher"));
    CHECK_STR(logged("payload"), POISON_PAYLOAD);
    close_scene();
}

TEST(poison__a_worker_that_stops_does_not_wait_for_its_topic)
{
    _Atomic bool draining = true;

    open_scene(POISON_ACK, true);
    s.handler.poison.draining = &draining;
    for (int i = 0; i < 4; i++)
        script_will(&topic, (struct script_reply){ .status = 503 });
    CHECK_INT(post(ENVELOPE("", NOW, "")), 503);
    CHECK(topic.n_requests <= 1);
    close_scene();
}

TEST(poison__what_was_published_here_is_not_published_again)
{
    open_scene(POISON_ACK, true);
    CHECK_INT(post(ENVELOPE("\"poison\":\"inpaint-worker\"", NOW, "")), 204);
    CHECK_INT(topic.n_requests, 0);
    CHECK_STR(logged("message"), "poison message: acknowledged and dropped");
    close_scene();
}

TEST(poison__attributes_at_the_limits_of_pubsub_still_fit)
{
    static char body[200000];
    size_t n = (size_t)snprintf(body, sizeof body, "{\"message\":{\"messageId\":\"m1\",\"data\":\"" DATA "\",\"attributes\":{");

    for (int i = 0; i < 100; i++) {
        n += (size_t)snprintf(body + n, sizeof body - n, "%s\"key%d\":\"", i ? "," : "", i);
        for (int k = 0; k < (i == 7 ? 1030 : 1024); k += 2)
            n += (size_t)snprintf(body + n, sizeof body - n, "\xc3\xa9");
        n += (size_t)snprintf(body + n, sizeof body - n, "\"");
    }
    (void)snprintf(body + n, sizeof body - n, "}}}");
    open_scene(POISON_ACK, true);
    topic_will_take_it();
    CHECK_INT(post(body), 204);
    CHECK_INT(json_count(json_get(published_message(), "attributes")), 100);
    CHECK_INT(strlen(published_attribute("key7")), 1024);
    CHECK_STR(published_attribute("key95"), "(none)");
    close_scene();
}

TEST(poison__the_largest_bodies_still_find_room)
{
    enum { SIZE = PUBSUB_BODY_MAX };
    static const struct {
        const char *before, *after;
        char fill;
    } cases[] = {
        { "{\"message\":{\"messageId\":\"m1\",\"data\":\"" DATA "\"},\"subscription\":\"", "\"}", '\x7f' },
        { "{\"message\":{\"messageId\":\"m1\",\"attributes\":{\"k\":\"", "\"},\"data\":\"" DATA "\"}}", 'v' },
        { "{\"message\":{\"messageId\":\"m1\",\"data\":\"", "\"}}", 'A' },
        { "", "", '\x01' },
    };
    struct arena request;

    open_scene(POISON_ACK, true);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_server_route routes[HANDLER_ROUTES];
        struct http_server_request req = { .method = "POST", .path = "/", .arena = &request };
        struct http_server_reply reply = { .status = 500 };
        size_t before = strlen(cases[i].before), after = strlen(cases[i].after), fill = (SIZE - before - after) / 4 * 4;
        char *body = NULL;

        CHECK(!arena_init(&request, 16 << 20, NULL)); /* as large as that of a request */
        CHECK(!arena_alloc(&request, SIZE + 1, 1, &body, NULL));
        memcpy(body, cases[i].before, before);
        memset(body + before, cases[i].fill, fill);
        memcpy(body + before + fill, cases[i].after, after);
        req.body = (struct span){ body, before + fill + after };
        topic_will_take_it();
        handler_routes(&s.handler, routes);
        routes[0].on_request(routes[0].ctx, &req, &reply);
        CHECK_INT(reply.status, 204);
        CHECK_INT(topic.n_requests, i + 1);
        CHECK_STR(logged("message"), "poison message: published to POISON_TOPIC and acknowledged");
        arena_done(&request);
    }
    close_scene();
}

TEST(poison__a_reason_that_quotes_half_a_character_is_still_text)
{
    char body[1000];
    size_t n = (size_t)snprintf(body, sizeof body, "{\"type\":\"x");

    for (int i = 0; i < 60; i++) /* the quotation ends inside a character */
        n += (size_t)snprintf(body + n, sizeof body - n, "\xc3\xa9");
    (void)snprintf(body + n, sizeof body - n, "\",\"data\":{}}");
    open_scene(POISON_ACK, true);
    topic_will_take_it();
    CHECK_INT(job_scene_request(&s, (struct http_server_request){ .method = "POST", .path = "/", .body = span_of(body),
                                     .headers = { { "content-type", "application/cloudevents+json" } },
                                     .n_headers = 1 }).status, 204);
    CHECK(strstr(published_attribute("reason"), "an event of the type"));
    close_scene();
}

TEST(poison__a_flood_for_a_topic_that_does_not_answer_leaves_handlers_to_other_pushes)
{
    open_scene(POISON_ACK, true);
    s.handler.n_publishing = POISON_AT_ONCE; /* so many wait for the topic */
    CHECK_INT(post(ENVELOPE("", NOW, "")), 503);
    CHECK_STR(logged("notPublished"), "4 others are being published at this moment");
    CHECK_INT(topic.n_requests, 0);
    CHECK_INT(s.handler.n_publishing, POISON_AT_ONCE);
    topic_will_take_it();
    CHECK_INT(post(ENVELOPE("", NOW, ",\"deliveryAttempt\":51")), 204); /* for the last time: it would be lost */
    CHECK_INT(topic.n_requests, 1);
    s.handler.n_publishing--;
    topic_will_take_it();
    CHECK_INT(post(ENVELOPE("", NOW, "")), 204);
    CHECK_INT(topic.n_requests, 2);
    close_scene();
}
