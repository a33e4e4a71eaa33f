#include "worker/job/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "models/fill/prompt_pack_make.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/fake/fake_device.h"
#include "test/support/fake/job_scene.h"
#include "test/support/golden.h"

static struct job_scene s;

/* ---- callbacks of the cloud for what happens during a job. A CHECK in them would leave the job running. ---- */

static int firestore_is_down(void *ctx, const struct http_request *req)
{
    (void)ctx;
    return strstr(req->url, "/documents") ? 503 : 0;
}

/* Fails only the photo's requests: how often the mask is requested before the first failure cancels it is a race. */
static int storage_is_down(void *ctx, const struct http_request *req)
{
    (void)ctx;
    return strstr(req->url, "original.jpg") ? 503 : 0;
}

static int storage_finds_our_request_wrong(void *ctx, const struct http_request *req)
{
    (void)ctx;
    return strstr(req->url, "original.jpg") ? 400 : 0;
}

static int completed_cannot_be_written(void *ctx, const struct http_request *req)
{
    (void)ctx;
    return job_scene_is_commit_of(req, "\"completed\"") ? 503 : 0;
}

static int failed_cannot_be_written(void *ctx, const struct http_request *req)
{
    (void)ctx;
    return job_scene_is_commit_of(req, "\"failed\"") ? 503 : 0;
}

static int claim_lands_but_nothing_is_heard(void *ctx, const struct http_request *req)
{
    struct job_scene *scene = ctx;

    if (job_scene_is_commit_of(req, "\"processing\"")) {
        struct http_reply ignored;
        (void)http_send(&scene->cloud.firestore.http, req, &scene->arena, &ignored, NULL);
        scene->n_calls = 1;
        return -1;
    }
    return scene->n_calls > 0 && scene->n_calls++ < 6 ? 503 : 0; /* the read that follows fails in all five tries */
}

static int deleted_while_downloading(void *ctx, const struct http_request *req)
{
    (void)ctx;
    if (job_scene_is_download(req))
        fake_cloud_document(&s.cloud, NULL);
    return 0;
}

static int taken_while_downloading(void *ctx, const struct http_request *req)
{
    (void)ctx;
    if (job_scene_is_download(req))
        fake_cloud_document(&s.cloud, DOC_OTHERS_CLAIM);
    return 0;
}

static int deleted_before_the_result(void *ctx, const struct http_request *req)
{
    (void)ctx;
    if (job_scene_is_commit_of(req, "\"completed\""))
        fake_cloud_document(&s.cloud, NULL);
    return 0;
}

static int taken_before_the_result(void *ctx, const struct http_request *req)
{
    (void)ctx;
    if (job_scene_is_commit_of(req, "\"completed\""))
        fake_cloud_document(&s.cloud, DOC_OTHERS_CLAIM);
    return 0;
}

static int stopped_after_the_claim(void *ctx, const struct http_request *req)
{
    (void)ctx;
    if (job_scene_is_commit_of(req, "\"processing\""))
        pipeline_stop(&s.pipeline, 0);
    return 0;
}

static void time_runs_out(void *ctx)
{
    (void)ctx;
    if (job_scene_first_step_is_done(&s))
        fake_cloud_pass(&s.cloud, JOB_SCENE_DEADLINE_MS * 86 / 100 + 1);
}

/* ---- the twelve endings, and what the outside sees of each ---- */

#define ALL_STAGES \
    COUNT_UNTIL_DENOISE "stage_seconds_count{stage=\"compose\"} 1\nstage_seconds_count{stage=\"upload\"} 1\n"

enum setup { BOTH_INPUTS, NO_MASK, LATER, DEVICE_BREAKS };

static const struct ending {
    const char *document; /* before the push; NULL: none */
    enum setup setup;
    int (*on_request)(void *ctx, const struct http_request *req);
    void (*on_clock)(void *ctx);
    int http_status;
    const char *severity, *outcome, *code; /* in the log */
    const char *message;                   /* NULL: "push answered" */
    const char *status, *error_code;       /* in the document afterwards; NULL: no such field */
    const char *counts;
} endings[] = {
    { .document = "{" DOC_STATUS("pending") "}", .http_status = 204, .severity = "INFO", .outcome = "completed",
      .code = "", .status = "completed", .counts = COUNT_PUSHES("204") COUNT_JOB("completed") COUNT_SECONDS ALL_STAGES },
    { .document = "{}", .setup = NO_MASK, .http_status = 204, .severity = "INFO", .outcome = "failed",
      .code = "INPUT_MISSING", .status = "failed", .error_code = "INPUT_MISSING",
      .counts = COUNT_PUSHES("204") COUNT_JOB("failed") COUNT_ERROR("INPUT_MISSING") COUNT_SECONDS "stage_seconds_count{stage=\"download\"} 1\n" },
    { .document = "{" DOC_STATUS("pending") "," DOC_INPAINT(DOC_MESSAGE("m1") "," DOC_ATTEMPTS("4")) "}",
      .on_clock = time_runs_out, .http_status = 204, .severity = "INFO", .outcome = "failed", .code = "DEADLINE",
      .status = "failed", .error_code = "DEADLINE",
      .counts = COUNT_PUSHES("204") COUNT_JOB("failed") COUNT_ERROR("DEADLINE") COUNT_SECONDS COUNT_UNTIL_DENOISE },
    { .document = "{}", .on_request = stopped_after_the_claim, .http_status = 503, .severity = "WARNING",
      .outcome = "released", .code = "", .status = "pending",
      .counts = COUNT_PUSHES("503") COUNT_JOB("released") COUNT_SECONDS "stage_seconds_count{stage=\"download\"} 1\n" },
    { .document = "{}", .on_clock = time_runs_out, .http_status = 503, .severity = "WARNING", .outcome = "released",
      .code = "DEADLINE", .status = "pending",
      .counts = COUNT_PUSHES("503") COUNT_JOB("released") COUNT_ERROR("DEADLINE") COUNT_SECONDS COUNT_UNTIL_DENOISE },
    { .document = "{}", .on_request = storage_is_down, .http_status = 503, .severity = "WARNING",
      .outcome = "released", .code = "BACKEND_UNAVAILABLE", .status = "pending",
      .counts = COUNT_PUSHES("503") COUNT_JOB("released") COUNT_ERROR("BACKEND_UNAVAILABLE") COUNT_SECONDS
          "stage_seconds_count{stage=\"download\"} 1\nupstream_retries_total 4\n" },
    { .document = "{}", .on_request = storage_finds_our_request_wrong, .http_status = 500, .severity = "WARNING",
      .outcome = "released", .code = "INTERNAL", .status = "pending",
      .counts = COUNT_PUSHES("500") COUNT_JOB("released") COUNT_ERROR("INTERNAL") COUNT_SECONDS "stage_seconds_count{stage=\"download\"} 1\n" },
    { .document = "{}", .on_request = completed_cannot_be_written, .http_status = 503, .severity = "WARNING",
      .outcome = "released", .code = "BACKEND_UNAVAILABLE", .status = "pending",
      .counts = COUNT_PUSHES("503") COUNT_JOB("released") COUNT_ERROR("BACKEND_UNAVAILABLE") COUNT_SECONDS ALL_STAGES },
    { .document = "{}", .setup = NO_MASK, .on_request = failed_cannot_be_written, .http_status = 503,
      .severity = "WARNING", .outcome = "released", .code = "INPUT_MISSING", .status = "pending",
      .counts = COUNT_PUSHES("503") COUNT_JOB("released") COUNT_ERROR("INPUT_MISSING") COUNT_SECONDS "stage_seconds_count{stage=\"download\"} 1\n" },
    { .document = "{}", .setup = DEVICE_BREAKS, .http_status = 500, .severity = "WARNING", .outcome = "released",
      .code = "GPU_FAULT", .status = "pending",
      .counts = COUNT_PUSHES("500") COUNT_JOB("released") COUNT_ERROR("GPU_FAULT") COUNT_SECONDS
          "stage_seconds_count{stage=\"download\"} 1\nstage_seconds_count{stage=\"decode\"} 1\n"
          "stage_seconds_count{stage=\"encode\"} 1\n" },
    /* The broken device ends this process even if another worker has taken over. */
    { .document = "{}", .setup = DEVICE_BREAKS, .on_request = taken_while_downloading, .http_status = 409,
      .severity = "INFO", .outcome = "lost", .code = "GPU_FAULT", .status = "processing",
      .counts = COUNT_PUSHES("409") COUNT_ERROR("GPU_FAULT")
          "stage_seconds_count{stage=\"download\"} 1\nstage_seconds_count{stage=\"decode\"} 1\n"
          "stage_seconds_count{stage=\"encode\"} 1\nleases_lost_total 1\n" },
    { .document = "{}", .on_request = deleted_while_downloading, .http_status = 204, .severity = "INFO",
      .outcome = "gone", .code = "",
      .counts = COUNT_PUSHES("204") COUNT_JOB("vanished") COUNT_SECONDS COUNT_UNTIL_DENOISE "stage_seconds_count{stage=\"compose\"} 1\n" },
    { .document = "{}", .on_request = deleted_before_the_result, .http_status = 204, .severity = "INFO",
      .outcome = "gone", .code = "", .counts = COUNT_PUSHES("204") COUNT_JOB("vanished") COUNT_SECONDS ALL_STAGES },
    { .document = "{}", .on_request = taken_while_downloading, .http_status = 409, .severity = "INFO",
      .outcome = "lost", .code = "", .status = "processing",
      .counts = COUNT_PUSHES("409") COUNT_UNTIL_DENOISE "stage_seconds_count{stage=\"compose\"} 1\nleases_lost_total 1\n" },
    { .document = "{}", .on_request = taken_before_the_result, .http_status = 409, .severity = "INFO",
      .outcome = "lost", .code = "", .status = "processing", .counts = COUNT_PUSHES("409") ALL_STAGES "leases_lost_total 1\n" },
    { .document = "{}", .on_request = firestore_is_down, .http_status = 503, .severity = "WARNING",
      .outcome = "unclaimed", .code = "BACKEND_UNAVAILABLE",
      .counts = COUNT_PUSHES("503") COUNT_ERROR("BACKEND_UNAVAILABLE") "upstream_retries_total 4\n" },
    { .document = "{}", .on_request = claim_lands_but_nothing_is_heard, .http_status = 503, .severity = "WARNING",
      .outcome = "unclaimed", .code = "BACKEND_UNAVAILABLE", .status = "pending",
      .counts = COUNT_PUSHES("503") COUNT_ERROR("BACKEND_UNAVAILABLE") "upstream_retries_total 4\n" },
    { .http_status = 404, .severity = "WARNING", .outcome = "missing", .code = "", .message = "the session was not found: the message comes again",
      .counts = COUNT_PUSHES("404") "sessions_missing_total 1\n" },
    { .setup = LATER, .http_status = 204, .severity = "WARNING", .outcome = "missing", .code = "", .message = "the session was not found: acknowledged and dropped",
      .counts = COUNT_PUSHES("204") "sessions_missing_total 1\n" },
    { .document = "{" DOC_STATUS("completed") "}", .http_status = 204, .severity = "INFO", .outcome = "duplicate",
      .code = "", .status = "completed", .counts = COUNT_PUSHES("204") "duplicates_total 1\n" },
    { .document = "{" DOC_STATUS("failed") "," DOC_INPAINT(DOC_MESSAGE("m1")) "}", .http_status = 204,
      .severity = "INFO", .outcome = "duplicate", .code = "", .status = "failed",
      .counts = COUNT_PUSHES("204") "duplicates_total 1\n" },
    { .document = "{" DOC_STATUS("processing") "," DOC_INPAINT(DOC_MESSAGE("m1") "," DOC_LEASE("x", DOC_LATER)) "}",
      .http_status = 409, .severity = "INFO", .outcome = "busy", .code = "", .status = "processing",
      .counts = COUNT_PUSHES("409") "duplicates_total 1\n" },
    { .document = DOC_OTHERS_CLAIM, .http_status = 204, .severity = "INFO", .outcome = "superseded", .code = "",
      .status = "processing", .counts = COUNT_PUSHES("204") "duplicates_total 1\n" },
    { .document = "{" DOC_STATUS("pending") "," DOC_INPAINT(DOC_MESSAGE("m1") "," DOC_ATTEMPTS("5")) "}",
      .http_status = 204, .severity = "INFO", .outcome = "exhausted", .code = "ATTEMPTS_EXHAUSTED",
      .status = "failed", .error_code = "ATTEMPTS_EXHAUSTED",
      .counts = COUNT_PUSHES("204") COUNT_JOB("failed") COUNT_ERROR("ATTEMPTS_EXHAUSTED") COUNT_SECONDS },
    { .document = "{" DOC_STATUS("somewhere") "}", .http_status = 204, .severity = "INFO", .outcome = "completed",
      .code = "", .status = "completed", .counts = COUNT_PUSHES("204") COUNT_JOB("completed") COUNT_SECONDS ALL_STAGES },
};

static void check_same_text(const char *got, const char *want)
{
    CHECK((got != NULL) == (want != NULL));
    if (want)
        CHECK_STR(got, want);
}

static void check_log(const struct ending *e)
{
    char head[64], tail[160];
    const char *message = e->message ? e->message : "push answered";
    const char *at = strstr(job_scene_log(&s), message), *line = at;

    CHECK(at && !strstr(at + 20, message));
    while (line > s.log_text && line[-1] != '\n')
        line--;
    (void)snprintf(head, sizeof head, "{\"severity\":\"%s\",", e->severity);
    (void)snprintf(tail, sizeof tail, "\"outcome\":\"%s\",\"code\":\"%s\",\"status\":%d,", e->outcome, e->code,
                   e->http_status);
    if (strncmp(line, head, strlen(head)) != 0 || !strstr(at, tail))
        test_fail(__FILE__, __LINE__, "%s, not %s ... %s", line, head, tail);
}

static void set_up(const struct ending *e)
{
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, e->document);
    s.cloud.on_request = e->on_request;
    s.cloud.on_clock = e->on_clock;
    if (e->setup == NO_MASK)
        ((struct fake_object *)(uintptr_t)fake_cloud_object(&s.cloud, JOB_SCENE_FOLDER "mask_auto.png"))->generation = 0;
    if (e->setup == LATER)
        fake_cloud_pass(&s.cloud, 60000);
    if (e->setup == DEVICE_BREAKS)
        fake_device(30);
}

TEST(pipeline__every_ending_has_its_answer_its_log_line_its_document_and_its_counts)
{
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const struct ending *e = &endings[i];
        bool is_fault = e->setup == DEVICE_BREAKS;

        set_up(e);
        CHECK_INT(job_scene_push(&s, "m1"), e->http_status);
        s.cloud.on_clock = NULL;
        check_log(e);
        check_same_text(fake_cloud_text(&s.cloud, "processingStatus"), e->status);
        check_same_text(fake_cloud_text(&s.cloud, "inpaint.errorCode"), e->error_code);
        CHECK(!strcmp(e->outcome, "lost") || !strcmp(e->outcome, "busy") || !strcmp(e->outcome, "superseded") ||
              !fake_cloud_text(&s.cloud, "inpaint.lease"));
        CHECK_STR(job_scene_counts(&s), e->counts);
        CHECK_INT(s.handler.fault, is_fault);
        CHECK(!s.pipeline.claimed && !s.pipeline.stuck_at_ms && !s.pipeline.arena.used && !s.pipeline.beside.used);
        CHECK(!job_queue_busy(&s.queue));
        job_scene_close(&s);
    }
}

TEST(pipeline__a_missing_session_is_nacked_for_a_minute_after_its_message_was_published)
{
    job_scene_open(&s);
    fake_cloud_pass(&s.cloud, 59999);
    CHECK_INT(job_scene_push(&s, "m1"), 404);
    fake_cloud_pass(&s.cloud, 1);
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    job_scene_close(&s);
}

TEST(pipeline__a_missing_session_whose_message_has_no_time_is_acknowledged)
{
    /* data: {"userId":"u","sessionId":"s"} */
    static const char body[] = "{\"message\":{\"data\":\"eyJ1c2VySWQiOiJ1Iiwic2Vzc2lvbklkIjoicyJ9\",\"messageId\":\"m1\"}}";

    job_scene_open(&s);
    CHECK_INT(job_scene_request(&s, (struct http_server_request){ .method = "POST", .path = "/", .body = SPAN(body) }).status, 204);
    CHECK(strstr(job_scene_log(&s), "\"outcome\":\"missing\""));
    job_scene_close(&s);
}

/* How often each write is tried while Firestore has no quota left (PROTOCOL.md 7). */
static const char *busy_with;
static int busy_for;

static int has_no_quota(void *ctx, const struct http_request *req)
{
    (void)ctx;
    return job_scene_is_commit_of(req, busy_with) && s.n_calls++ < busy_for ? 429 : 0;
}

TEST(pipeline__a_firestore_without_quota_is_asked_again_as_often_as_the_table_says)
{
    static const struct {
        const char *write, *document;
        int n_refused, http_status, n_retries;
    } cases[] = {
        { "\"processing\"", "{}", 4, 204, 4 },
        { "\"processing\"", "{}", 5, 503, 4 },
        { "\"completed\"", "{}", 7, 204, 7 },
        { "\"completed\"", "{}", 8, 503, 7 },
        { "\"failed\"", "{" DOC_STATUS("pending") "," DOC_INPAINT(DOC_MESSAGE("m1") "," DOC_ATTEMPTS("5")) "}", 8, 204, 7 }, /* the first was before the queue */
        { "\"upload\"", "{}", 1, 204, 0 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char retries[60];

        job_scene_open(&s);
        fake_cloud_document(&s.cloud, cases[i].document);
        busy_with = cases[i].write;
        busy_for = cases[i].n_refused;
        s.cloud.on_request = has_no_quota;
        CHECK_INT(job_scene_push(&s, "m1"), cases[i].http_status);
        (void)snprintf(retries, sizeof retries, "upstream_retries_total %d\n", cases[i].n_retries);
        CHECK(!strstr(job_scene_counts(&s), "upstream_retries") == !cases[i].n_retries);
        CHECK(!cases[i].n_retries || strstr(job_scene_counts(&s), retries));
        job_scene_close(&s);
    }
}

/* ---- what is logged besides ---- */

TEST(pipeline__a_job_that_fails_for_its_input_is_a_warning_and_another_an_error)
{
    set_up(&(struct ending){ .document = "{}", .setup = NO_MASK });
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    job_scene_check_severity(&s, "WARNING", "\"message\":\"the job did not work\"");
    job_scene_close(&s);
    set_up(&(struct ending){ .document = "{}", .on_request = storage_is_down });
    CHECK_INT(job_scene_push(&s, "m1"), 503);
    job_scene_check_severity(&s, "ERROR", "\"message\":\"the job did not work\"");
    job_scene_close(&s);
}

/* ---- what is written on success ---- */

static struct span last_commit(void)
{
    CHECK(s.cloud.n_commits > 0);
    return s.cloud.commits[s.cloud.n_commits - 1];
}

/* Checks that the last commit has these paths and no others, in any order. */
static void check_mask(const char *const *paths, size_t n)
{
    const char *mask = strstr(last_commit().ptr, "\"fieldPaths\":[");
    size_t commas = 0;
    char path[80];

    CHECK(mask);
    for (const char *p = mask; *p != ']'; p++)
        commas += *p == ',';
    CHECK_INT(commas + 1, n);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(path, sizeof path, "\"%s\"", paths[i]);
        CHECK(strstr(mask, path));
    }
}

TEST(pipeline__success_writes_the_paths_the_cost_and_the_recipe)
{
    static const char *const paths[] = {
        "processingStatus", "editedImagePath", "previewImagePath", "errorMessage", "inpaint.errorCode",
        "inpaint.retryable", "inpaint.stage", "inpaint.progress", "cost", "inpaint.lease", "inpaint.etaSeconds",
        "inpaint.timings", "inpaint.warnings", "inpaint.recipe", "inpaint.mask", "inpaint.crops", "inpaint.output", "inpaint.colour", "inpaint.scores",
        "inpaint.shadow", "inpaint.match", "inpaint.secondPass"
    };
    static const char *const fields[][2] = {
        { "editedImagePath", JOB_SCENE_FOLDER "edited.jpg" },
        { "previewImagePath", JOB_SCENE_FOLDER "preview.jpg" },
        { "cost", "0.5" }, /* for one second */
        { "note", "the app's" },
        { "inpaint.messageId", "m1" },
        { "inpaint.attempts", "1" },
        { "inpaint.stage", "upload" },
        { "inpaint.progress", "100" },
        { "inpaint.recipe.model", "flux1-fill-Q8_0.gguf" },
        { "inpaint.recipe.prompt", "A photo of a lawn with its blades of grass, the same surface, texture and light "
                                   "continuing naturally" },
        { "inpaint.recipe.steps", "5" },
        { "inpaint.recipe.guidance", "30" },
        { "inpaint.recipe.seed", "2567147178" },
        { "inpaint.recipe.crop.x", "0" },
        { "inpaint.recipe.crop.height", "64" },
        { "inpaint.recipe.fillSize.width", "64" },
        { "inpaint.recipe.precision", "f32" },
        { "inpaint.timings.download", "1000" },
        { "inpaint.timings.upload", "0" },
    };

    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{\"note\":{\"stringValue\":\"the app's\"},\"errorMessage\":{\"stringValue\":\"old\"},"
                                  "\"sceneLabels\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"grass\"}]}}," DOC_INPAINT(
                                      "\"errorCode\":{\"stringValue\":\"OLD\"},\"retryable\":{\"booleanValue\":true}") "}");
    s.cloud.takes_ms = 500; /* for each download */
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        CHECK_STR(fake_cloud_text(&s.cloud, fields[i][0]), fields[i][1]);
    CHECK(!fake_cloud_text(&s.cloud, "errorMessage") && !fake_cloud_text(&s.cloud, "inpaint.errorCode") &&
          !fake_cloud_text(&s.cloud, "inpaint.retryable") && !fake_cloud_text(&s.cloud, "inpaint.lease") &&
          !fake_cloud_text(&s.cloud, "inpaint.etaSeconds") && !fake_cloud_text(&s.cloud, "inpaint.warnings"));
    check_mask(paths, sizeof paths / sizeof *paths);
    CHECK(strstr(last_commit().ptr, "\"cost\":{\"doubleValue\":0.5}"));
    CHECK(strstr(last_commit().ptr, "\"guidance\":{\"doubleValue\":30}"));
    job_scene_close(&s);
}

TEST(pipeline__failure_tells_people_what_was_seen_in_the_photo)
{
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{}");
    fake_cloud_put(&s.cloud, JOB_SCENE_FOLDER "original.jpg", SPAN("\xff\xd8\xff\xc3\0\x0b\x08\0\x10\0\x10\1\1\x11\0"));
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    CHECK_STR(fake_cloud_text(&s.cloud, "errorMessage"), "The photo is a lossless JPEG file, which cannot be edited; please "
                                                         "save it as an ordinary JPEG and upload it again.");
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.errorCode"), "INPUT_CORRUPT");
    job_scene_close(&s);
}

TEST(pipeline__failure_writes_the_sentence_the_code_and_the_cost)
{
    static const char *const paths[] = { "processingStatus", "errorMessage", "inpaint.errorCode", "inpaint.stage", "inpaint.retryable",
                                         "cost", "inpaint.lease", "inpaint.etaSeconds", "inpaint.timings",
                                         "inpaint.warnings", "inpaint.recipe", "inpaint.mask", "inpaint.crops", "inpaint.colour",
                                         "inpaint.shadow", "inpaint.match", "inpaint.secondPass", "inpaint.output", "inpaint.scores" };

    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{}");
    fake_cloud_put(&s.cloud, JOB_SCENE_FOLDER "original.jpg", SPAN("GIF89a, and so on"));
    s.cloud.takes_ms = 500;
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    CHECK_STR(fake_cloud_text(&s.cloud, "errorMessage"), "The file is not a JPEG, PNG or WebP picture.");
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.errorCode"), "INPUT_NOT_AN_IMAGE");
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.stage"), "decode");
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.retryable"), "false");
    CHECK_STR(fake_cloud_text(&s.cloud, "cost"), "0.5");
    CHECK(!fake_cloud_text(&s.cloud, "editedImagePath") && !fake_cloud_text(&s.cloud, "inpaint.recipe"));
    check_mask(paths, sizeof paths / sizeof *paths);
    CHECK(!fake_cloud_object(&s.cloud, JOB_SCENE_FOLDER "edited.jpg"));
    job_scene_close(&s);
}

TEST(pipeline__a_repeated_job_gives_the_same_bytes_and_other_inputs_another_seed)
{
    struct span first;
    char seed[32];

    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{}");
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    (void)snprintf(seed, sizeof seed, "%s", fake_cloud_text(&s.cloud, "inpaint.recipe.seed"));
    CHECK_OK(span_dup(&s.arena, fake_cloud_object(&s.cloud, JOB_SCENE_FOLDER "edited.jpg")->body, (char **)&first.ptr, NULL),
             (struct err){ 0 });
    first.len = fake_cloud_object(&s.cloud, JOB_SCENE_FOLDER "edited.jpg")->body.len;
    fake_cloud_document(&s.cloud, "{}");
    CHECK_INT(job_scene_push(&s, "m2"), 204);
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.recipe.seed"), seed);
    CHECK(span_eq(fake_cloud_object(&s.cloud, JOB_SCENE_FOLDER "edited.jpg")->body, first));
    fake_cloud_put(&s.cloud, JOB_SCENE_FOLDER "original.jpg", fake_cloud_object(&s.cloud, JOB_SCENE_FOLDER "original.jpg")->body);
    fake_cloud_document(&s.cloud, "{}");
    CHECK_INT(job_scene_push(&s, "m3"), 204);
    CHECK(strcmp(fake_cloud_text(&s.cloud, "inpaint.recipe.seed"), seed) != 0);
    job_scene_close(&s);
}

static int64_t write_takes_ms;

static int first_write_of_the_end_takes_long(void *ctx, const struct http_request *req)
{
    (void)ctx;
    if (s.done || !(job_scene_is_commit_of(req, "\"completed\"") || job_scene_is_commit_of(req, "\"failed\"")))
        return 0;
    s.done = true;
    fake_cloud_pass(&s.cloud, write_takes_ms);
    return 503;
}

TEST(pipeline__the_end_may_be_written_until_eight_seconds_after_the_deadline)
{
    static const struct {
        enum setup setup;
        int64_t takes_ms;
        int http_status;
        const char *status, *cost;
    } cases[] = {
        { BOTH_INPUTS, 7000, 204, "completed", "0" },
        { NO_MASK, 7000, 204, "failed", "0" },
        { BOTH_INPUTS, 8000, 503, "processing", NULL },
        { NO_MASK, 8000, 503, "processing", NULL },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_up(&(struct ending){ .document = "{}", .setup = cases[i].setup, .on_request = first_write_of_the_end_takes_long });
        write_takes_ms = JOB_SCENE_DEADLINE_MS + cases[i].takes_ms;
        CHECK_INT(job_scene_push(&s, "m1"), cases[i].http_status);
        CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), cases[i].status);
        check_same_text(fake_cloud_text(&s.cloud, "cost"), cases[i].cost);
        job_scene_close(&s);
    }
}

/* A prompt pack that knows one prompt, with tables for one step, in the place of the text encoders. */
static void make_packed(char dir[300])
{
    static const char *const names[] = { "flux1-fill-Q8_0.gguf", "ae.safetensors" };
    const struct pack_size size = { 64, 64 };
    const char *prompt = "grass";
    char from[400], to[400];
    struct backend *be = NULL;
    struct err err = { 0 };

    temp_folder("pipeline-pack", dir, 300);
    for (int i = 0; i < 2; i++) {
        char *real = realpath(golden("small/models/%s", names[i]), NULL);
        (void)snprintf(to, sizeof to, "%s/%s", dir, names[i]);
        CHECK(real && !symlink(real, to));
        free(real);
    }
    (void)snprintf(from, sizeof from, "%s", golden("small/models"));
    (void)snprintf(to, sizeof to, "%s/prompts.safetensors", dir);
    CHECK_OK(backend_open(BACKEND_CPU, PRECISION_DEFAULT, &be, &err), err);
    CHECK_OK(prompt_pack_make(&(struct pack_options){ .dir = from, .transformer = names[0], .prompts = &prompt, .n_prompts = 1,
                                                      .t5_len = 16, .sizes = &size, .n_sizes = 1, .steps = 1, .guidance = 30 },
                              be, to, &err), err);
    backend_close(be);
}

static void use_models(const char *dir)
{
    struct err err = { 0 };

    engine_free(s.engine);
    CHECK_OK(engine_new(&(struct engine_options){ .model_dir = dir, .transformer = "flux1-fill-Q8_0.gguf",
                                                  .backend = BACKEND_CUDA, .max_steps = JOB_SCENE_STEPS }, &s.engine, &err), err);
    CHECK_OK(engine_load(s.engine, &err), err);
    s.handler.engine = s.pipeline.engine = s.engine;
}

TEST(pipeline__what_the_prompt_pack_lacks_is_a_warning)
{
    const char *line;
    char dir[300];

    make_packed(dir);
    job_scene_open(&s);
    use_models(dir);
    fake_cloud_document(&s.cloud, "{}");
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.recipe.prompt"), "grass");
    CHECK(strstr(last_commit().ptr, "\"warnings\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"PROMPT_NOT_IN_PACK\"}]}}"));
    CHECK(strstr(job_scene_counts(&s), "modulation_rereads_total 1\n"));
    job_scene_check_severity(&s, "WARNING", "no table of the prompt pack covers such a job");
    fake_cloud_document(&s.cloud, "{}");
    CHECK_INT(job_scene_push(&s, "m2"), 204);
    CHECK(strstr(job_scene_counts(&s), "modulation_rereads_total 2\n"));
    line = strstr(job_scene_log(&s), "no table of the prompt pack");
    CHECK(line && strstr(line, "\"width\":64,\"height\":64,\"steps\":5}") && !strstr(line + 1, "no table of the prompt pack"));
    job_scene_close(&s);
}

/* ---- what is in the bucket ---- */

static int inputs_are_replaced(void *ctx, const struct http_request *req)
{
    s.n_calls += strstr(req->url, "mask_auto.png") && strstr(req->url, "alt=media");
    if (job_scene_is_download(req) && !s.done) {
        s.done = true;
        fake_cloud_put(&s.cloud, JOB_SCENE_FOLDER "original.jpg",
                       fake_cloud_object(&s.cloud, JOB_SCENE_FOLDER "original.jpg")->body);
    }
    (void)ctx;
    return 0;
}

TEST(pipeline__reads_both_inputs_anew_when_one_was_replaced_meanwhile)
{
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{}");
    s.cloud.on_request = inputs_are_replaced;
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    CHECK_INT(s.n_calls, 2);
    CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), "completed");
    job_scene_close(&s);
}

TEST(pipeline__uploads_of_a_deleted_session_are_removed_and_those_of_a_lost_lease_stay)
{
    static const struct {
        int (*on_request)(void *ctx, const struct http_request *req);
        bool stay;
    } cases[] = { { deleted_before_the_result, false }, { taken_before_the_result, true } };

    for (int i = 0; i < 2; i++) {
        job_scene_open(&s);
        fake_cloud_document(&s.cloud, "{}");
        s.cloud.on_request = cases[i].on_request;
        (void)job_scene_push(&s, "m1");
        CHECK(!!fake_cloud_object(&s.cloud, JOB_SCENE_FOLDER "edited.jpg") == cases[i].stay);
        CHECK(!!fake_cloud_object(&s.cloud, JOB_SCENE_FOLDER "preview.jpg") == cases[i].stay);
        job_scene_close(&s);
    }
}

static int another_job_makes_the_same_picture(void *ctx, const struct http_request *req)
{
    (void)ctx;
    if (job_scene_is_upload(req))
        fake_cloud_put(&s.cloud, JOB_SCENE_FOLDER "edited.jpg", fake_cloud_object(&s.cloud, JOB_SCENE_FOLDER "edited.jpg")->body);
    return deleted_before_the_result(ctx, req);
}

TEST(pipeline__an_object_that_another_job_made_is_not_removed)
{
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{}");
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    fake_cloud_document(&s.cloud, "{}");
    s.cloud.on_request = another_job_makes_the_same_picture;
    CHECK_INT(job_scene_push(&s, "m2"), 204);
    CHECK(strstr(job_scene_log(&s), "\"outcome\":\"gone\""));
    CHECK(fake_cloud_object(&s.cloud, JOB_SCENE_FOLDER "edited.jpg"));
    CHECK(!fake_cloud_object(&s.cloud, JOB_SCENE_FOLDER "preview.jpg"));
    job_scene_close(&s);
}

TEST(pipeline__nothing_is_uploaded_for_a_session_that_is_not_ours_any_more)
{
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{}");
    s.cloud.on_request = taken_while_downloading;
    CHECK_INT(job_scene_push(&s, "m1"), 409);
    CHECK(!fake_cloud_object(&s.cloud, JOB_SCENE_FOLDER "edited.jpg"));
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.lease.id"), "other");
    job_scene_close(&s);
}

/* ---- a lease that is lost while the model paints ---- */

static int count_looks(void *ctx, const struct http_request *req)
{
    (void)ctx;
    s.n_calls += !strcmp(req->method, "GET") && strstr(req->url, "/documents/");
    return 0;
}

/* Holds the painting until the reporter, a second later, has seen what became of the document. */
static void taken_while_painting(void *ctx)
{
    (void)ctx;
    if (!job_scene_first_step_is_done(&s))
        return;
    fake_cloud_document(&s.cloud, DOC_OTHERS_CLAIM);
    for (int i = 0, looks = s.n_calls; i < 1000 && s.n_calls == looks; i++)
        (void)usleep(10000);
    (void)usleep(200000);
}

TEST(pipeline__a_lease_that_is_lost_stops_the_painting)
{
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{}");
    s.cloud.on_request = count_looks;
    s.cloud.on_clock = taken_while_painting;
    CHECK_INT(job_scene_push(&s, "m1"), 409);
    s.cloud.on_clock = NULL;
    CHECK_STR(job_scene_counts(&s), COUNT_PUSHES("409") COUNT_UNTIL_DENOISE "leases_lost_total 1\n");
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.lease.id"), "other");
    job_scene_close(&s);
}
