#include "worker/google/publish.h"

#include <string.h>

#include "test/support/check.h"
#include "test/support/fake/script.h"

#define TOKEN "{\"access_token\":\"t1\",\"expires_in\":3000,\"token_type\":\"Bearer\"}"

static struct fixture {
    struct script s;
    struct gauth *gauth;
    struct publisher p;
    struct arena a;
} f;

static enum err_code open_publisher(const char *topic, const char *emulator, struct err *err)
{
    memset(&f, 0, sizeof f);
    script_init(&f.s);
    CHECK(!arena_init(&f.a, 4 << 20, NULL));
    CHECK(!gauth_open(&(struct gauth_options){ .http = &f.s.http,
                                               .sys = &f.s.sys,
                                               .emulator = { [GAUTH_PUBSUB] = emulator != NULL },
                                               .uses_pubsub = true,
                                               .project = "demo" },
                      &f.gauth, NULL));
    return publisher_init(&f.p, &(struct publisher_options){ &f.s.http, f.gauth, topic, emulator, NULL }, &f.a, err);
}

static void close_publisher(void)
{
    gauth_close(f.gauth);
    arena_done(&f.a);
    script_done(&f.s);
}

static const char *published_id;

static enum err_code send(struct err *err)
{
    static const struct publish_attribute attributes[] = { { "reason", "a \"word\"" }, { "k", "\xc3\xa9" } };
    const struct publish_message m = { SPAN("\0\xff{"), attributes, 2 };

    return publisher_send(&f.p, &m, &f.s.budget, &f.a, &published_id, err);
}

TEST(publish__sends_data_and_attributes_to_the_emulator_without_a_token)
{
    struct err err = { 0 };

    CHECK_OK(open_publisher("projects/example.com:p/topics/a%b+c", "127.0.0.1:9", &err), err);
    script_will(&f.s, (struct script_reply){ .status = 200, .body = SPAN("{\"messageIds\":[\"5\"]}") });
    CHECK_OK(send(&err), err);
    CHECK_STR(published_id, "5");
    CHECK_INT(f.s.n_requests, 1);
    CHECK_STR(f.s.requests[0].method, "POST");
    CHECK_STR(f.s.requests[0].url, "http://127.0.0.1:9/v1/projects/example.com%3Ap/topics/a%25b%2Bc:publish");
    CHECK(!strstr(f.s.requests[0].header_text, "Authorization"));
    CHECK(script_sent_header(&f.s, 0, "Content-Type: application/json"));
    CHECK(span_is(f.s.requests[0].body, "{\"messages\":[{\"data\":\"AP97\",\"attributes\":{\"reason\":\"a \\\"word\\\"\","
                                        "\"k\":\"\xc3\xa9\"}}]}"));
    close_publisher();
}

TEST(publish__sends_a_token_to_google_and_a_new_one_after_a_401)
{
    struct err err = { 0 };
    const struct script_reply token = { .status = 200, .body = SPAN(TOKEN), .headers = { { "metadata-flavor", "Google" } } };

    CHECK_OK(open_publisher("projects/p/topics/poison", NULL, &err), err);
    script_will(&f.s, token);
    script_will(&f.s, (struct script_reply){ .status = 401 });
    script_will(&f.s, token);
    script_will(&f.s, (struct script_reply){ .status = 503 });
    script_will(&f.s, (struct script_reply){ .rc = ERR_UNKNOWN_OUTCOME });
    script_will(&f.s, (struct script_reply){ .status = 200, .body = SPAN("{\"messageIds\":[\"5\"]}") });
    CHECK_OK(send(&err), err);
    CHECK_STR(f.s.requests[1].url, "https://pubsub.googleapis.com/v1/projects/p/topics/poison:publish");
    CHECK(script_sent_header(&f.s, 1, "Authorization: Bearer t1"));
    CHECK_INT(f.s.n_requests, 6);
    close_publisher();
}

TEST(publish__says_what_an_operator_can_do)
{
    static const struct {
        int status;
        enum err_code rc;
        const char *words;
    } cases[] = {
        { 403, ERR_DENIED, "HTTP 403 (too many): give the service account the role roles/pubsub.publisher on the topic" },
        { 404, ERR_NOT_FOUND, "there is no such topic: create it, or change POISON_TOPIC" },
        { 400, ERR_INVALID, "publish: 'projects/p/topics/poison': HTTP 400 (too many)" },
        { 200, ERR_PROTOCOL, "the answer names no message" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = { 0 };

        CHECK_OK(open_publisher("projects/p/topics/poison", "127.0.0.1:9", &err), err);
        script_will(&f.s, (struct script_reply){ .status = cases[i].status, .body = SPAN("{\"error\":{\"message\":\"too many\"}}") });
        CHECK_INT(send(&err), cases[i].rc);
        CHECK(strstr(err.msg, cases[i].words));
        CHECK_INT(f.s.n_requests, 1);
        close_publisher();
    }
}

TEST(publish__messages_name_what_names_the_topic)
{
    struct publisher_options o = { .topic = "poison", .emulator_host = "127.0.0.1:9", .setting = "--topic" };
    struct err err = { 0 };

    CHECK_OK(open_publisher("projects/p/topics/edits", "127.0.0.1:9", &err), err);
    o.http = &f.s.http, o.gauth = f.gauth;
    CHECK_INT(publisher_init(&f.p, &o, &f.a, &err), ERR_INVALID);
    CHECK_STR(err.msg, "--topic: 'poison' is not projects/PROJECT/topics/NAME");
    err = (struct err){ 0 };
    o.topic = "projects/p/topics/edits";
    CHECK_OK(publisher_init(&f.p, &o, &f.a, &err), err);
    script_will(&f.s, (struct script_reply){ .status = 404 });
    CHECK_INT(send(&err), ERR_NOT_FOUND);
    CHECK(strstr(err.msg, "there is no such topic: create it, or change --topic"));
    close_publisher();
}

TEST(publish__gives_up_after_a_few_tries)
{
    struct err err = { 0 };

    CHECK_OK(open_publisher("projects/p/topics/poison", "127.0.0.1:9", &err), err);
    for (int i = 0; i < 10; i++)
        script_will(&f.s, (struct script_reply){ .status = 503 });
    CHECK_INT(send(&err), ERR_UNAVAILABLE);
    CHECK_INT(f.s.n_requests, 4);
    close_publisher();
}

TEST(publish__refuses_what_is_no_topic_or_no_host)
{
    static const char *const topics[] = { "", "poison", "projects/p/topics/", "projects/p/topics/a/b", "projects/p/topics/a b",
                                          "projects/../topics/abc?x" };
    struct err err = { 0 };

    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++) {
        CHECK_INT(open_publisher(topics[i], NULL, NULL), ERR_INVALID);
        close_publisher();
    }
    CHECK_INT(open_publisher("projects/p/topics/poison", "host/path", &err), ERR_INVALID);
    CHECK(strstr(err.msg, "PUBSUB_EMULATOR_HOST"));
    close_publisher();
}
