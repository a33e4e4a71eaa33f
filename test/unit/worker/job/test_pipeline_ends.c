/* Messages and sessions that end without a run, and the time until a run. */
#include "worker/job/pipeline.h"

#include <stdio.h>
#include <string.h>

#include "test/support/check.h"
#include "test/support/fake/job_scene.h"
#include "worker/base/rfc3339.h"

static struct job_scene s;

static int firestore_is_down(void *ctx, const struct http_request *req)
{
    (void)ctx;
    return strstr(req->url, "/documents") ? 503 : 0;
}

/* ---- the last delivery of a message ---- */

static int push_as(int64_t delivery, int64_t published_s_ago)
{
    struct span body;
    char *text = NULL, at[RFC3339_SIZE];

    rfc3339_format(((int64_t)JOB_SCENE_NOW_S - published_s_ago) * 1000000, at);
    CHECK(!arena_printf(&s.arena, &text, NULL, "{\"message\":{\"data\":\"eyJ1c2VySWQiOiJ1Iiwic2Vzc2lvbklkIjoicyJ9\",\"messageId\":\"m1\","
                        "\"publishTime\":\"%s\"},\"deliveryAttempt\":%lld}", at, (long long)delivery));
    body = span_of(text);
    return job_scene_request(&s, (struct http_server_request){ .method = "POST", .path = "/", .body = body }).status;
}

static void open_with_bounds(const char *document)
{
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, document);
    s.pipeline.settings.max_deliveries = 50;
    s.pipeline.settings.max_message_age_ms = 604800 * INT64_C(1000);
}

TEST(pipeline__the_last_delivery_ends_the_session_whatever_the_cause)
{
    static const struct {
        int64_t delivery, age_s;
        bool is_last;
    } cases[] = {
        { 50, 0, false },      { 51, 0, true },          { INT64_MAX, 0, true },    { 1, 604800, false },
        { 1, 604801, true },   { 0, 9000000, true },     { 1, -3600, false },       { 1, INT64_C(-2000000000), false },
        { 1, 1700000000, true },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_with_bounds("{" DOC_STATUS("pending") "}");
        CHECK_INT(push_as(cases[i].delivery, cases[i].age_s), 204);
        CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), cases[i].is_last ? "failed" : "completed");
        CHECK(!fake_cloud_text(&s.cloud, "inpaint.errorCode") == !cases[i].is_last);
        if (cases[i].is_last) {
            job_scene_check_severity(&s, "WARNING", "a message has come too often or is too old: its session is failed");
            CHECK_STR(job_scene_counts(&s), COUNT_PUSHES("204") COUNT_JOB("failed") COUNT_ERROR("ATTEMPTS_EXHAUSTED") COUNT_SECONDS);
        }
        job_scene_close(&s);
    }
}

TEST(pipeline__the_last_delivery_leaves_alone_what_has_ended_or_is_under_way)
{
    static const struct {
        const char *document;
        int http_status;
    } cases[] = {
        { "{" DOC_STATUS("completed") "}", 204 },
        { "{" DOC_STATUS("cancelled") "}", 204 },
        { DOC_OTHERS_CLAIM, 204 },
        { "{" DOC_STATUS("processing") "," DOC_INPAINT(DOC_MESSAGE("m1") "," DOC_LEASE("x", DOC_LATER)) "}", 409 },
        { NULL, 204 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_with_bounds(cases[i].document);
        CHECK_INT(push_as(51, 700000), cases[i].http_status);
        CHECK_INT(s.cloud.n_commits, 0);
        job_scene_close(&s);
    }
}

static int everything_is_denied(void *ctx, const struct http_request *req)
{
    (void)ctx, (void)req;
    return 403;
}

static int writes_are_denied(void *ctx, const struct http_request *req)
{
    (void)ctx;
    return strstr(req->url, ":commit") ? 403 : 0;
}

static int reads_are_no_documents(void *ctx, const struct http_request *req)
{
    (void)ctx;
    return strstr(req->url, ":commit") ? 0 : 200; /* with the body "fake" */
}

static int somebody_else_answers_reads(void *ctx, const struct http_request *req)
{
    (void)ctx;
    return strstr(req->url, ":commit") ? 0 : 404; /* without a status of Firestore's */
}

static int somebody_else_answers_writes(void *ctx, const struct http_request *req)
{
    (void)ctx;
    return strstr(req->url, ":commit") ? 400 : 0;
}

TEST(pipeline__the_last_delivery_is_acknowledged_unless_firestore_cannot_be_reached)
{
    static const struct {
        int (*on_request)(void *ctx, const struct http_request *req);
        int http_status;
    } cases[] = { { everything_is_denied, 204 }, { writes_are_denied, 204 }, { reads_are_no_documents, 204 }, { firestore_is_down, 503 },
                  { somebody_else_answers_reads, 503 }, { somebody_else_answers_writes, 503 } };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_with_bounds("{" DOC_STATUS("pending") "}");
        s.cloud.on_request = cases[i].on_request;
        CHECK_INT(push_as(50, 0), 503);
        CHECK_INT(push_as(51, 0), cases[i].http_status);
        job_scene_check_severity(&s, "ERROR", "a message has come too often or is too old, and its session could not be failed");
        if (cases[i].http_status == 204) {
            job_scene_check_severity(&s, "ERROR", "the session can be neither read nor failed: acknowledged and dropped");
            CHECK(strstr(job_scene_counts(&s), "given_up_total 1\n"));
        }
        CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), "pending");
        job_scene_close(&s);
    }
}

TEST(pipeline__a_session_that_cannot_be_understood_is_failed_and_acknowledged)
{
    static char large[FIRESTORE_REPLY_MAX + 100];
    size_t at = (size_t)sprintf(large, "\"prompt\":{\"stringValue\":\"");

    memset(large + at, 'x', FIRESTORE_REPLY_MAX);
    (void)strcpy(large + at + FIRESTORE_REPLY_MAX, "\"},");
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{" DOC_STATUS("pending") "}");
    s.cloud.firestore.wild[s.cloud.firestore.n_wild++] = span_of(large);
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), "failed");
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.errorCode"), "SESSION_UNREADABLE");
    CHECK_STR(job_scene_counts(&s), COUNT_PUSHES("204") COUNT_JOB("failed") COUNT_ERROR("SESSION_UNREADABLE") COUNT_SECONDS);
    job_scene_check_severity(&s, "WARNING", "the session can be reached but not understood: it is failed\",\"messageId\":\"m1\",\"session\":\"users/u/sessions/s\","
                              "\"error\":\"firestore: 'users/u/sessions/s': fake: the reply is too long");
    CHECK(strstr(job_scene_log(&s), "\"outcome\":\"unreadable\",\"code\":\"SESSION_UNREADABLE\",\"status\":204"));
    job_scene_close(&s);
}

TEST(pipeline__a_prompt_with_a_nul_is_an_invalid_prompt)
{
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{" DOC_STATUS("pending") "}");
    s.cloud.firestore.wild[s.cloud.firestore.n_wild++] = SPAN("\"prompt\":{\"stringValue\":\"grass\\u0000\"},");
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.errorCode"), "PROMPT_INVALID");
    job_scene_close(&s);
}

/* ---- a missing database is not a missing session ---- */

TEST(pipeline__a_missing_database_ends_no_job)
{
    job_scene_open(&s);
    s.cloud.firestore.missing = "{\"error\":{\"code\":404,\"message\":\"The database (default) does not exist for project demo Please visit "
                                "https://console.cloud.google.com to add a Cloud Firestore database. \",\"status\":\"NOT_FOUND\"}}";
    fake_cloud_pass(&s.cloud, 3600000);
    CHECK_INT(job_scene_push(&s, "m1"), 503);
    CHECK(strstr(job_scene_log(&s), "FIRESTORE_DATABASE"));
    CHECK(strstr(job_scene_counts(&s), COUNT_ERROR("BACKEND_UNAVAILABLE")) && !strstr(job_scene_counts(&s), "missing"));
    job_scene_close(&s);
}

/* ---- the server's clock, for the age of a message ---- */

static int64_t skew_s;
static int64_t skewed_wall(void *ctx)
{
    return sys_wall_us(ctx) + skew_s * 1000000;
}

TEST(pipeline__the_age_of_a_message_is_measured_by_the_servers_clock)
{
    static const int64_t behind_s[] = { 0, 3 * 3600, -3 * 3600 };

    for (size_t i = 0; i < sizeof behind_s / sizeof *behind_s; i++) {
        job_scene_open(&s); /* the worker is so far behind the cloud, or ahead of it */
        s.cloud.firestore.now_us = skewed_wall;
        s.cloud.firestore.now_ctx = &s.cloud.sys;
        skew_s = behind_s[i];
        CHECK_INT(push_as(1, -behind_s[i] + 59), 404);
        CHECK_INT(push_as(1, -behind_s[i] + 61), 204);
        job_scene_close(&s);
    }
}

/* ---- time before the claim ---- */

static int the_claims_read_takes_all_the_time(void *ctx, const struct http_request *req)
{
    (void)ctx;
    if (strstr(req->url, "fieldPaths=prompt"))
        fake_cloud_pass(&s.cloud, JOB_SCENE_DEADLINE_MS);
    return 0;
}

TEST(pipeline__a_claim_that_is_late_is_not_made)
{
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{" DOC_STATUS("pending") "}");
    s.cloud.on_request = the_claims_read_takes_all_the_time;
    CHECK_INT(job_scene_push(&s, "m1"), 503);
    CHECK_INT(s.cloud.n_commits, 0);
    CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), "pending");
    job_scene_close(&s);
}

/* ---- how long a claim waited ---- */

TEST(pipeline__tells_how_long_a_job_has_waited_and_how_old_its_message_is)
{
    struct span page = { 0 };

    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{}");
    fake_cloud_pass(&s.cloud, 40000);
    CHECK_INT(job_scene_request(&s, (struct http_server_request){ .method = "POST", .path = "/", .body = job_scene_envelope(&s, "m1"),
                                                                  .arrived_mono_ms = sys_mono_ms(&s.cloud.sys) - 4000 }).status, 204);
    CHECK(!metrics_print(&s.metrics, &s.arena, &page, NULL));
    CHECK(strstr(page.ptr, "inpaint_claim_wait_seconds_sum 4.000000\n"));
    CHECK(strstr(page.ptr, "inpaint_message_age_seconds_sum 40.000000\n"));
    CHECK(strstr(page.ptr, "inpaint_claim_wait_seconds_count 1\n"));
    job_scene_close(&s);
}
