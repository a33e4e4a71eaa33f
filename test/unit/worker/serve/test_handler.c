#include "worker/serve/handler.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "test/support/check.h"
#include "test/support/fake/fake_device.h"
#include "test/support/fake/job_scene.h"

static struct job_scene s;

static void open_scene(void)
{
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{}");
}

static struct http_server_reply post(const char *path, struct span body)
{
    return job_scene_request(&s, (struct http_server_request){ .method = "POST", .path = path, .body = body });
}

static struct http_server_reply get(const char *path)
{
    return job_scene_request(&s, (struct http_server_request){ .method = "GET", .path = path });
}

/* Checks that no document was read, let alone claimed. */
static void check_untouched(void)
{
    CHECK_INT(s.cloud.firestore.n_gets, 0);
    CHECK_INT(s.cloud.n_commits, 0);
}

/* Checks that nothing was claimed. Looking is allowed: a finished session needs no turn. */
static void check_unclaimed(void)
{
    CHECK_INT(s.cloud.firestore.n_gets, 1);
    CHECK_INT(s.cloud.n_commits, 0);
}

/* ---- the token ---- */

TEST(handler__a_push_without_a_good_token_is_refused_before_its_body_is_read)
{
    struct http_server_reply reply;

    open_scene();
    s.oidc = (struct oidc){ .mode = PUSH_AUTH_OIDC, .sys = &s.cloud.sys, .n_audiences = 1, .audiences = { "x" },
                            .n_emails = 1, .emails = { "x" } };
    reply = post("/", job_scene_envelope(&s, "m1"));
    CHECK_INT(reply.status, 401);
    CHECK_INT(reply.n_headers, 1);
    CHECK_STR(reply.headers[0].name, "WWW-Authenticate");
    CHECK_STR(reply.headers[0].value, "Bearer error=\"invalid_token\"");
    CHECK_STR(job_scene_counts(&s),
              "pushes_total{code=\"401\"} 1\npush_refusals_total{reason=\"no_header\"} 1\n");
    CHECK(strstr(job_scene_log(&s), "\"severity\":\"WARNING\""));
    CHECK(strstr(job_scene_log(&s), "\"message\":\"push refused\",\"reason\":\"no Authorization header"));
    CHECK(strstr(job_scene_log(&s), "\"kid\":\"\",\"email\":\"\",\"status\":401"));
    check_untouched();
    job_scene_close(&s);
}

/* ---- which program this is ---- */

TEST(handler__anybody_may_ask_for_name_version_and_routes)
{
    static const char want[] = "{\"name\":\"inpaint-worker\",\"version\":\"1.2.3-abc\",\"routes\":[\"POST /inpaint\",\"POST /\","
                               "\"GET /\",\"HEAD /\",\"GET /ready\",\"GET /health\",\"GET /metrics\"],"
                               "\"documentation\":\"" HANDLER_DOCUMENTATION "\"}";
    static const char *const methods[] = { "GET", "HEAD" };
    struct http_server_reply reply;

    open_scene();
    s.oidc = (struct oidc){ .mode = PUSH_AUTH_OIDC, .sys = &s.cloud.sys };
    s.handler.version = "1.2.3-abc";
    for (int i = 0; i < 2; i++) {
        reply = job_scene_request(&s, (struct http_server_request){ .method = methods[i], .path = "/" });
        CHECK_INT(reply.status, 200);
        CHECK_STR(reply.content_type, "application/json");
        CHECK(span_is(reply.body, want));
    }
    s.handler.version = NULL;
    reply = job_scene_request(&s, (struct http_server_request){ .method = "GET", .path = "/" });
    CHECK_INT(reply.status, 200);
    CHECK(strstr(reply.body.ptr, "\"version\":\"\""));
    CHECK_STR(job_scene_counts(&s), "");
    CHECK_STR(job_scene_log(&s), "");
    job_scene_close(&s);
}

/* ---- poison ---- */

TEST(handler__poison_is_acknowledged_logged_and_counted)
{
    /* data: {"userId":"u","sessionId":"__s__"} */
    static const char reserved[] = "{\"message\":{\"data\":\"eyJ1c2VySWQiOiJ1Iiwic2Vzc2lvbklkIjoiX19zX18ifQ==\","
                                   "\"messageId\":\"m1\"}}";
    static const struct {
        const char *body, *why;
    } cases[] = {
        { "", "push:" },
        { "{", "push:" },
        { "[]", "push:" },
        { "{}", "push: no object 'message'" },
        { "{\"message\":{\"messageId\":\"1\",\"data\":\"*\"}}", "push: message.data is not base64" },
        { reserved, "job: sessionId is not an id: 1 to 128 characters" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_scene();
        CHECK_INT(post("/", span_of(cases[i].body)).status, 204);
        CHECK_STR(job_scene_counts(&s), "pushes_total{code=\"204\"} 1\npoison_total 1\n");
        CHECK(strstr(job_scene_log(&s), "\"severity\":\"ERROR\""));
        CHECK(strstr(job_scene_log(&s), "\"message\":\"poison message: acknowledged and dropped\""));
        CHECK(strstr(job_scene_log(&s), cases[i].why));
        CHECK(strstr(job_scene_log(&s), "inpaint-worker push FILE --url"));
        check_untouched();
        job_scene_close(&s);
    }
}

TEST(handler__a_body_that_is_too_large_is_poison)
{
    struct http_server_reply reply;

    open_scene();
    reply = job_scene_request(&s, (struct http_server_request){ .method = "POST", .path = "/", .body_too_large = true });
    CHECK_INT(reply.status, 204);
    CHECK_STR(job_scene_counts(&s), "pushes_total{code=\"204\"} 1\npoison_total 1\n");
    CHECK(strstr(job_scene_log(&s), "the body is larger than a message may be"));
    job_scene_close(&s);
}

TEST(handler__a_push_that_finds_no_memory_is_nacked)
{
    struct span body;
    struct arena full;
    struct http_server_request req = { .method = "POST", .path = "/", .arena = &full };
    struct http_server_route routes[HANDLER_ROUTES];
    struct http_server_reply reply = { .status = 500 };

    open_scene();
    body = job_scene_envelope(&s, "m1");
    CHECK_OK(arena_init(&full, 4096, NULL), (struct err){ 0 });
    full.used = full.size;
    req.body = body;
    handler_routes(&s.handler, routes);
    routes[0].on_request(routes[0].ctx, &req, &reply);
    CHECK_INT(reply.status, 503);
    CHECK_STR(job_scene_counts(&s), "pushes_total{code=\"503\"} 1\n");
    check_untouched();
    arena_done(&full);
    job_scene_close(&s);
}

/* ---- whose push it is ---- */

TEST(handler__another_subscription_is_acknowledged_and_nothing_runs)
{
    open_scene();
    s.handler.subscription = "projects/demo/subscriptions/y";
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    CHECK_STR(job_scene_counts(&s), "pushes_total{code=\"204\"} 1\npoison_total 1\n");
    CHECK(strstr(job_scene_log(&s), "\"severity\":\"ERROR\""));
    CHECK(strstr(job_scene_log(&s), "\"payload\":\"{\\\"userId\\\":\\\"u\\\",\\\"sessionId\\\":\\\"s\\\"}\""));
    CHECK(strstr(job_scene_log(&s), "\"message\":\"push of another subscription: acknowledged and dropped\",\"messageId\":\"m1\""));
    check_untouched();
    s.handler.subscription = "projects/demo/subscriptions/x";
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), "completed");
    job_scene_close(&s);
}

TEST(handler__both_routes_take_a_push)
{
    open_scene();
    CHECK_INT(post("/inpaint", job_scene_envelope(&s, "m1")).status, 204);
    CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), "completed");
    job_scene_close(&s);
}

TEST(handler__every_form_of_a_push_runs)
{
    static const struct http_server_request forms[] = {
        { .headers = { { "x-goog-pubsub-message-id", "m1" }, { "x-goog-pubsub-publish-time", "2023-11-14T22:13:20Z" } },
          .n_headers = 2, .body = { "{\"user_id\":\"u\",\"session_id\":\"s\"}", 32 } },
        { .headers = { { "Content-Type", "application/cloudevents+json; charset=utf-8" } }, .n_headers = 1,
          .body = { "{\"id\":\"m1\",\"data\":{\"message\":{\"data\":\"eyJ1c2VySWQiOiJ1Iiwic2Vzc2lvbklkIjoicyJ9\"}}}", 82 } },
        { .headers = { { "ce-id", "m1" } }, .n_headers = 1,
          .body = { "{\"message\":{\"data\":\"ZXlKMWMyVnlTV1FpT2lKMUlpd2ljMlZ6YzJsdmJrbGtJam9pY3lKOQ==\"}}", 80 } },
        { .headers = { { "x-goog-pubsub-message-id", "m1 \t" } }, .n_headers = 1, /* libmicrohttpd leaves blanks behind */
          .body = { "{\"user_id\":\"u\",\"session_id\":\"s\"}", 32 } },
    };

    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct http_server_request req = forms[i];

        open_scene();
        req.method = "POST";
        req.path = "/";
        req.body = span_of(req.body.ptr);
        CHECK_INT(job_scene_request(&s, req).status, 204);
        CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), "completed");
        CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.messageId"), "m1");
        job_scene_close(&s);
    }
}

/* ---- before the queue ---- */

TEST(handler__takes_no_job_while_draining_or_once_the_device_is_broken)
{
    for (int i = 0; i < 2; i++) {
        open_scene();
        s.handler.draining = i == 0;
        s.handler.fault = i == 1;
        CHECK_INT(job_scene_push(&s, "m1"), 503);
        CHECK_STR(job_scene_counts(&s), "pushes_total{code=\"503\"} 1\n");
        CHECK_STR(job_scene_log(&s), "");
        check_untouched();
        CHECK_INT(post("/", SPAN("{")).status, 204); /* poison is still acknowledged */
        job_scene_close(&s);
    }
}

/* ---- the queue ---- */

enum { LATEST_MS = 159600 }; /* 280 s less the 43 % that are kept for the job */

static void check_turned_away(int status, const char *counts, int n_gets)
{
    char line[120], all[200];

    (void)snprintf(all, sizeof all, "pushes_total{code=\"%d\"} 1\n%s", status, counts);
    CHECK_STR(job_scene_counts(&s), all);
    (void)snprintf(line, sizeof line, "\"message\":\"push turned away\",\"messageId\":\"m1\",\"session\":\"users/u/sessions/s\","
                                      "\"status\":%d}", status);
    CHECK(strstr(job_scene_log(&s), "{\"severity\":\"INFO\""));
    CHECK(strstr(job_scene_log(&s), line));
    CHECK_INT(s.cloud.firestore.n_gets, n_gets);
    CHECK_INT(s.cloud.n_commits, 0);
    job_scene_close(&s);
}

TEST(handler__what_the_queue_turns_away)
{
    static const struct {
        const char *message, *session; /* of the job that runs */
        int status;
        const char *counts;
    } cases[] = {
        { "m1", "users/u/sessions/other", 409, "duplicates_total 1\n" },
        { "m2", "users/u/sessions/s", 204, "duplicates_total 1\n" },
    };

    for (int i = 0; i < 2; i++) {
        struct job_queue_entry running = { cases[i].message, cases[i].session, NULL, 0 };

        open_scene();
        (void)job_queue_enter(&s.queue, &running, 0);
        CHECK(job_queue_busy(&s.queue));
        CHECK_INT(job_scene_push(&s, "m1"), cases[i].status);
        check_turned_away(cases[i].status, cases[i].counts, 0);
    }
}

static void *wait_in_queue(void *arg)
{
    (void)job_queue_enter(&s.queue, arg, 10000);
    return NULL;
}

TEST(handler__a_full_queue_turns_a_push_away)
{
    struct job_queue_entry running = { "m7", "s7", NULL, 0 }, waiting = { "m8", "s8", NULL, 0 };
    pthread_t thread;
    int status;

    open_scene();
    (void)job_queue_enter(&s.queue, &running, 0);
    CHECK(!pthread_create(&thread, NULL, wait_in_queue, &waiting));
    while (job_queue_waiting(&s.queue) < 1)
        (void)usleep(1000);
    status = job_scene_push(&s, "m1");
    job_queue_close(&s.queue);
    (void)pthread_join(thread, NULL);
    CHECK_INT(status, 429);
    check_turned_away(429, "", 1);
}

TEST(handler__a_push_waits_for_its_turn_as_long_as_a_job_still_fits_behind_it)
{
    struct job_queue_entry running = { "m7", "s7", NULL, 0 };
    int64_t now, real_ms;

    for (int left_ms = 0; left_ms <= 150; left_ms += 150) {
        open_scene();
        (void)job_queue_enter(&s.queue, &running, 0);
        now = sys_mono_ms(&s.cloud.sys);
        real_ms = sys_mono_ms(&sys_real);
        CHECK_INT(job_scene_request(&s, (struct http_server_request){ .method = "POST", .path = "/",
                                                                      .body = job_scene_envelope(&s, "m1"),
                                                                      .arrived_mono_ms = now - LATEST_MS + left_ms }).status, 503);
        CHECK(sys_mono_ms(&sys_real) - real_ms >= left_ms);
        check_turned_away(503, "", 1);
    }
}

TEST(handler__a_closed_queue_sends_a_push_back)
{
    open_scene();
    job_queue_close(&s.queue);
    CHECK_INT(job_scene_push(&s, "m1"), 503);
    check_turned_away(503, "", 0);
}

TEST(handler__what_needs_no_claim_is_answered_while_a_job_runs_and_the_queue_is_full)
{
    static const struct {
        const char *document;
        int status;
    } cases[] = {
        { "{" DOC_STATUS("completed") "}", 204 },
        { "{" DOC_STATUS("failed") "," DOC_INPAINT(DOC_MESSAGE("m1")) "}", 204 },
        { "{" DOC_STATUS("canceled") "}", 204 },
        { "{" DOC_STATUS("pending") "," DOC_INPAINT(DOC_MESSAGE("m1") "," DOC_ATTEMPTS("5")) "}", 204 },
        { "{" DOC_STATUS("processing") "," DOC_INPAINT(DOC_MESSAGE("m1") "," DOC_LEASE("x", DOC_LATER)) "}", 409 },
        { NULL, 404 },
        { "{}", 429 },
    };
    struct job_queue_entry running = { "m7", "s7", NULL, 0 }, waiting = { "m8", "s8", NULL, 0 };
    pthread_t thread;

    open_scene();
    (void)job_queue_enter(&s.queue, &running, 0);
    CHECK(!pthread_create(&thread, NULL, wait_in_queue, &waiting));
    while (job_queue_waiting(&s.queue) < 1)
        (void)usleep(1000);
    for (int round = 0; round < 8; round++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            fake_cloud_document(&s.cloud, cases[i].document);
            CHECK_INT(job_scene_push(&s, "m1"), cases[i].status);
            CHECK_INT(job_queue_waiting(&s.queue), 1);
        }
    job_queue_close(&s.queue);
    (void)pthread_join(thread, NULL);
    job_scene_close(&s);
}

static int firestore_is_silent(void *ctx, const struct http_request *req)
{
    (void)ctx;
    if (!strstr(req->url, "/documents/"))
        return 0;
    fake_cloud_pass(&s.cloud, 10000);
    return s.n_calls++ ? 0 : -1;
}

TEST(handler__a_look_that_fails_leaves_the_push_to_the_queue)
{
    open_scene();
    s.cloud.on_request = firestore_is_silent;
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), "completed");
    job_scene_close(&s);
}

TEST(handler__shows_the_age_of_the_oldest_message_that_waits)
{
    struct job_queue_entry running = { "m7", "s7", NULL, 0 }, waiting = { "m8", "s8", NULL, 0 };
    pthread_t thread;

    open_scene();
    running.since_ms = sys_mono_ms(&s.cloud.sys) - 90000;
    waiting.since_ms = sys_mono_ms(&s.cloud.sys) - 30000;
    (void)job_queue_enter(&s.queue, &running, 0);
    CHECK(strstr(get("/metrics").body.ptr, "\ninpaint_oldest_message_seconds 0\n"));
    CHECK(!pthread_create(&thread, NULL, wait_in_queue, &waiting));
    while (job_queue_waiting(&s.queue) < 1)
        (void)usleep(1000);
    CHECK(strstr(get("/metrics").body.ptr, "\ninpaint_oldest_message_seconds 30\n"));
    job_queue_close(&s.queue);
    (void)pthread_join(thread, NULL);
    job_scene_close(&s);
}

static void *push_m1(void *arg)
{
    *(int *)arg = job_scene_push(&s, "m1");
    return NULL;
}

TEST(handler__a_push_that_waited_behind_a_job_which_broke_the_device_is_not_claimed)
{
    struct job_queue_entry running = { "m7", "s7", NULL, 0 };
    pthread_t thread;
    int status = 0;

    open_scene();
    (void)job_queue_enter(&s.queue, &running, 0);
    CHECK(!pthread_create(&thread, NULL, push_m1, &status));
    while (job_queue_waiting(&s.queue) < 1)
        (void)usleep(1000);
    s.handler.fault = true;
    job_queue_leave(&s.queue, &running);
    (void)pthread_join(thread, NULL);
    CHECK_INT(status, 503);
    CHECK_STR(job_scene_counts(&s), "pushes_total{code=\"503\"} 1\n");
    CHECK_STR(job_scene_log(&s), "");
    check_unclaimed();
    CHECK(!job_queue_busy(&s.queue));
    job_scene_close(&s);
}

/* ---- probes ---- */

static void check_probe(const char *path, int status, const char *body)
{
    struct http_server_reply reply = get(path);

    CHECK_INT(reply.status, status);
    CHECK_STR(reply.content_type, "application/json");
    CHECK(span_is(reply.body, body));
}

/* Replaces the scene's engine by one in another state. */
static int refuse_all(void *ctx, const struct http_request *req)
{
    (void)ctx, (void)req;
    return 403;
}

static void use_engine(const char *model_dir, bool load)
{
    struct err err = { 0 };

    engine_free(s.engine);
    CHECK_OK(engine_new(&(struct engine_options){ .model_dir = model_dir, .backend = BACKEND_CPU, .max_steps = 1 },
                        &s.engine, &err), err);
    if (load)
        CHECK(engine_load(s.engine, &err) != ERR_OK);
    s.handler.engine = s.engine;
}

TEST(handler__probes_tell_the_state)
{
    open_scene();
    check_probe("/ready", 200, "{\"status\":\"ready\"}");
    check_probe("/health", 200, "{\"status\":\"ok\"}");
    s.handler.draining = true;
    check_probe("/ready", 503, "{\"status\":\"draining\"}");
    check_probe("/health", 200, "{\"status\":\"ok\"}");
    s.handler.draining = false;
    s.handler.fault = true;
    check_probe("/ready", 503, "{\"status\":\"failed\"}");
    check_probe("/health", 503, "{\"status\":\"broken\"}");
    s.handler.fault = false;
    use_engine("/nowhere", false);
    check_probe("/ready", 503, "{\"status\":\"loading\",\"stage\":\"backend\",\"progress\":0}");
    check_probe("/health", 200, "{\"status\":\"ok\"}");
    use_engine("/nowhere", true);
    check_probe("/ready", 503, "{\"status\":\"failed\"}");
    check_probe("/health", 503, "{\"status\":\"broken\"}");
    job_scene_close(&s);
}

static void hold_queue(void *ctx, bool held)
{
    (void)ctx;
    job_queue_hold(&s.queue, held);
}

/* What the cloud says, without a thread that asks it. */
static void use_cloud(struct cloud_check *c, enum access_verdict database, const char *reason)
{
    struct err err = { 0 };

    CHECK_OK(cloud_check_init(c, &(struct cloud_check_options){ .sys = &s.cloud.sys, .hold = hold_queue }, &err), err);
    for (int p = 0; p < CLOUD_PARTS; p++) {
        c->asked[p] = true;
        c->parts[p].verdict = p == CLOUD_DATABASE ? database : ACCESS_GRANTED;
    }
    (void)snprintf(c->parts[CLOUD_DATABASE].reason, ACCESS_REASON_SIZE, "%s", reason);
    s.handler.cloud = c;
}

TEST(handler__ready_tells_what_the_cloud_refuses)
{
    struct cloud_check c;

    open_scene();
    use_cloud(&c, ACCESS_REFUSED, "the \"database\"\\");
    check_probe("/ready", 503, "{\"status\":\"refused\",\"reason\":\"the \\\"database\\\"\\\\\"}");
    check_probe("/health", 200, "{\"status\":\"ok\"}");
    use_cloud(&c, ACCESS_REFUSED, "caf\xc3"); /* what was cut in the middle of a character */
    check_probe("/ready", 503, "{\"status\":\"refused\",\"reason\":\"caf\\\\xc3\"}");
    use_cloud(&c, ACCESS_UNSURE, "later");
    check_probe("/ready", 503, "{\"status\":\"waiting\",\"reason\":\"later\"}");
    c.asked[CLOUD_BUCKET] = false; /* a trouble that is known comes before what is not known */
    check_probe("/ready", 503, "{\"status\":\"waiting\",\"reason\":\"later\"}");
    use_cloud(&c, ACCESS_GRANTED, "");
    check_probe("/ready", 200, "{\"status\":\"ready\"}");
    c.asked[CLOUD_BUCKET] = false;
    check_probe("/ready", 503, "{\"status\":\"asking\"}");
    use_engine("/nowhere", false);
    check_probe("/ready", 503, "{\"status\":\"loading\",\"stage\":\"backend\",\"progress\":0}");
    use_cloud(&c, ACCESS_REFUSED, "no");
    check_probe("/ready", 503, "{\"status\":\"refused\",\"reason\":\"no\"}");
    s.handler.draining = true;
    check_probe("/ready", 503, "{\"status\":\"draining\"}");
    job_scene_close(&s);
}

TEST(handler__a_job_that_the_cloud_stops_puts_the_cloud_in_doubt)
{
    struct cloud_check c;

    open_scene();
    use_cloud(&c, ACCESS_GRANTED, "");
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    CHECK(!c.doubted);
    fake_cloud_document(&s.cloud, "{}");
    s.cloud.on_request = refuse_all;
    CHECK_INT(job_scene_push(&s, "m2"), 503);
    CHECK(c.doubted);
    job_scene_close(&s);
}

TEST(handler__what_needs_no_claim_is_answered_while_the_bucket_is_refused)
{
    static const struct {
        const char *document;
        int64_t max_deliveries;
        int status;
        const char *state;
    } cases[] = {
        { "{" DOC_STATUS("completed") "}", 0, 204, "completed" },
        { "{" DOC_STATUS("pending") "}", 2, 204, "failed" }, /* the last delivery ends it, whatever the cause */
        { "{" DOC_STATUS("pending") "}", 3, 503, "pending" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int part = 0; part < CLOUD_PARTS; part++) {
            bool has_database = part > CLOUD_DATABASE;
            struct cloud_check c;

            open_scene();
            use_cloud(&c, ACCESS_GRANTED, "");
            c.parts[part].verdict = ACCESS_REFUSED;
            job_queue_hold(&s.queue, true);
            fake_cloud_document(&s.cloud, cases[i].document);
            s.pipeline.settings.max_deliveries = cases[i].max_deliveries;
            CHECK_INT(job_scene_request(&s, (struct http_server_request){ .method = "POST", .path = "/",
                                                                          .headers = { { "x-goog-pubsub-message-id", "m1" }, { "x-goog-pubsub-delivery-attempt", "3" } },
                                                                          .n_headers = 2, .body = SPAN("{\"userId\":\"u\",\"sessionId\":\"s\"}"),
                                                                          .arrived_mono_ms = sys_mono_ms(&s.cloud.sys) - LATEST_MS }).status,
                      has_database ? cases[i].status : 503);
            CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), has_database ? cases[i].state : i == 0 ? "completed" : "pending");
            CHECK_INT(s.cloud.firestore.n_gets > 0, has_database);
            job_scene_close(&s);
        }
}

static int firestore_is_down_for_a_while(void *ctx, const struct http_request *req)
{
    (void)ctx;
    return strstr(req->url, "/documents/") && s.n_calls++ < 5 ? 503 : 0;
}

static int the_bucket_is_missing(void *ctx, const struct http_request *req)
{
    (void)ctx;
    return strstr(req->url, "/storage/") ? 503 : 0;
}

TEST(handler__a_job_that_the_cloud_stops_holds_the_next_one_back)
{
    struct cloud_check c;

    open_scene();
    use_cloud(&c, ACCESS_GRANTED, "");
    s.cloud.on_request = the_bucket_is_missing;
    CHECK_INT(job_scene_push(&s, "m1"), 503);
    CHECK(s.queue.held);
    CHECK_INT(job_scene_request(&s, (struct http_server_request){ .method = "POST", .path = "/", .body = job_scene_envelope(&s, "m1"),
                                                                  .arrived_mono_ms = sys_mono_ms(&s.cloud.sys) - LATEST_MS }).status, 503);
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.attempts"), "1");
    CHECK(strstr(job_scene_log(&s), "push turned away"));
    job_scene_close(&s);
}

TEST(handler__counts_the_tries_of_a_look_that_came_to_nothing)
{
    open_scene();
    s.cloud.on_request = firestore_is_down_for_a_while;
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    CHECK(strstr(job_scene_counts(&s), "upstream_retries_total 4\n"));
    job_scene_close(&s);
}

TEST(handler__a_job_that_breaks_the_device_makes_the_process_useless)
{
    open_scene();
    fake_device(30);
    CHECK_INT(job_scene_push(&s, "m1"), 500);
    check_probe("/ready", 503, "{\"status\":\"failed\"}");
    check_probe("/health", 503, "{\"status\":\"broken\"}");
    CHECK_INT(job_scene_push(&s, "m2"), 503);
    job_scene_close(&s);
}

TEST(handler__metrics_show_the_queue_as_it_is)
{
    struct job_queue_entry running = { "m7", "s7", NULL, 0 };
    struct http_server_reply reply;

    open_scene();
    (void)job_queue_enter(&s.queue, &running, 0);
    reply = get("/metrics");
    CHECK_INT(reply.status, 200);
    CHECK_STR(reply.content_type, METRICS_CONTENT_TYPE);
    CHECK(strstr(reply.body.ptr, "\ninpaint_job_running 1\n") && strstr(reply.body.ptr, "\ninpaint_queue_depth 0\n"));
    job_queue_leave(&s.queue, &running);
    reply = get("/metrics");
    CHECK(strstr(reply.body.ptr, "\ninpaint_job_running 0\n"));
    job_scene_close(&s);
}
