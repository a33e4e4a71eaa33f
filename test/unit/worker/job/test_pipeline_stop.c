#include "worker/job/pipeline.h"

#include <string.h>

#include "test/support/check.h"
#include "test/support/fake/job_scene.h"

static struct job_scene s;

/* ---- SIGTERM ---- */

static void stopped_while_painting(void *ctx)
{
    (void)ctx;
    if (job_scene_first_step_is_done(&s))
        pipeline_stop(&s.pipeline, 0);
}

TEST(pipeline_stop__a_stop_ends_the_painting_at_its_next_step_and_gives_the_claim_back)
{
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{}");
    s.cloud.on_clock = stopped_while_painting;
    CHECK_INT(job_scene_push(&s, "m1"), 503);
    s.cloud.on_clock = NULL;
    CHECK_STR(job_scene_counts(&s), COUNT_PUSHES("503") COUNT_JOB("released") COUNT_SECONDS COUNT_UNTIL_DENOISE);
    CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), "pending");
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.attempts"), "1");
    CHECK(!fake_cloud_text(&s.cloud, "inpaint.lease"));
    CHECK(strstr(job_scene_log(&s), "\"code\":\"CANCELLED\""));
    job_scene_close(&s);
}

enum { GRACE_MS = 5500 };
static int64_t eta_at_stop_ms, passes_at_stop_ms;

static int stopped_with_grace(void *ctx, const struct http_request *req)
{
    (void)ctx;
    if (!job_scene_is_download(req))
        return 0;
    s.pipeline.eta_ms = eta_at_stop_ms;
    pipeline_stop(&s.pipeline, GRACE_MS);
    fake_cloud_pass(&s.cloud, passes_at_stop_ms);
    return 0;
}

TEST(pipeline_stop__a_job_that_may_be_done_within_the_grace_goes_on)
{
    static const struct {
        int64_t eta_ms, passes_ms;
        int http_status;
        const char *status;
    } cases[] = {
        { -1, 0, 204, "completed" },
        { GRACE_MS, 0, 204, "completed" },
        { GRACE_MS, GRACE_MS - 1, 204, "completed" },
        { GRACE_MS + 1, 0, 503, "pending" },
        { GRACE_MS, GRACE_MS, 503, "pending" },
        { GRACE_MS, GRACE_MS + PIPELINE_RELEASE_MS, 503, "processing" }, /* too late to give it back */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        job_scene_open(&s);
        fake_cloud_document(&s.cloud, "{}");
        eta_at_stop_ms = cases[i].eta_ms;
        passes_at_stop_ms = cases[i].passes_ms;
        s.cloud.on_request = stopped_with_grace;
        CHECK_INT(job_scene_push(&s, "m1"), cases[i].http_status);
        CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), cases[i].status);
        CHECK(!!strstr(job_scene_log(&s), "could not be given back") == !strcmp(cases[i].status, "processing"));
        job_scene_close(&s);
    }
}

static int stopped_while_downloading(void *ctx, const struct http_request *req)
{
    (void)ctx;
    if (job_scene_is_download(req))
        pipeline_stop(&s.pipeline, GRACE_MS);
    return 0;
}

TEST(pipeline_stop__the_rest_of_an_earlier_painting_stops_no_other_job)
{
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{}");
    s.pipeline.eta_ms = 10 * GRACE_MS;
    s.cloud.on_request = stopped_while_downloading;
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    job_scene_close(&s);
}

static int64_t first_step_takes_ms;

/* Two of the five steps are done when the rest of the painting is known to take one and a half times the first. */
static void stopped_once_the_rest_is_known(void *ctx)
{
    (void)ctx;
    if (job_scene_first_step_is_done(&s))
        fake_cloud_pass(&s.cloud, first_step_takes_ms);
    else if (s.done && !s.n_calls && s.pipeline.eta_ms > 0) {
        s.n_calls = 1;
        pipeline_stop(&s.pipeline, GRACE_MS);
    }
}

TEST(pipeline_stop__the_rest_of_the_painting_decides_whether_a_stopped_job_goes_on)
{
    for (int is_slow = 0; is_slow <= 1; is_slow++) {
        job_scene_open(&s);
        fake_cloud_document(&s.cloud, "{}");
        first_step_takes_ms = is_slow ? 4000 : 3000;
        s.cloud.on_clock = stopped_once_the_rest_is_known;
        CHECK_INT(job_scene_push(&s, "m1"), is_slow ? 503 : 204);
        s.cloud.on_clock = NULL;
        CHECK_INT(s.n_calls, 1);
        CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), is_slow ? "pending" : "completed");
        job_scene_close(&s);
    }
}

static int stopped_while_uploading(void *ctx, const struct http_request *req)
{
    (void)ctx;
    if (job_scene_is_upload(req)) {
        pipeline_stop(&s.pipeline, 0);
        return 503;
    }
    return 0;
}

TEST(pipeline_stop__a_stop_during_the_upload_gives_the_claim_back)
{
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{}");
    s.cloud.on_request = stopped_while_uploading;
    CHECK_INT(job_scene_push(&s, "m1"), 503);
    CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), "pending");
    CHECK(!fake_cloud_object(&s.cloud, JOB_SCENE_FOLDER "edited.jpg"));
    job_scene_close(&s);
}

TEST(pipeline_stop__a_job_that_comes_after_the_stop_is_not_claimed)
{
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{}");
    pipeline_stop(&s.pipeline, 0);
    CHECK_INT(job_scene_push(&s, "m1"), 503);
    CHECK_INT(s.cloud.n_commits, 0);
    CHECK_STR(job_scene_counts(&s), COUNT_PUSHES("503") COUNT_ERROR("BACKEND_UNAVAILABLE"));
    job_scene_close(&s);
}

/* ---- a job that does not listen ---- */

static bool was_given_back, was_stuck_early, was_stuck_in_time;

static void abandoned_while_painting(void *ctx)
{
    (void)ctx;
    if (!job_scene_first_step_is_done(&s))
        return;
    pipeline_abandon(&s.pipeline);
    was_given_back = !strcmp(fake_cloud_text(&s.cloud, "processingStatus"), "pending") &&
                     !fake_cloud_text(&s.cloud, "inpaint.lease");
    fake_cloud_document(&s.cloud, DOC_OTHERS_CLAIM);
}

TEST(pipeline_stop__an_abandoned_job_is_given_back_from_outside_and_leaves_the_next_worker_alone)
{
    job_scene_open(&s);
    pipeline_abandon(&s.pipeline); /* there is none: nothing happens */
    CHECK_INT(s.cloud.n_commits, 0);
    fake_cloud_document(&s.cloud, "{}");
    s.cloud.on_clock = abandoned_while_painting;
    CHECK_INT(job_scene_push(&s, "m1"), 409);
    s.cloud.on_clock = NULL;
    CHECK(s.done && was_given_back);
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.lease.id"), "other");
    CHECK(!fake_cloud_object(&s.cloud, JOB_SCENE_FOLDER "edited.jpg"));
    job_scene_close(&s);
}

static void time_passes_twice_over(void *ctx)
{
    (void)ctx;
    if (!job_scene_first_step_is_done(&s))
        return;
    fake_cloud_pass(&s.cloud, 2 * JOB_SCENE_DEADLINE_MS + 7999);
    was_stuck_early = pipeline_is_stuck(&s.pipeline);
    fake_cloud_pass(&s.cloud, 1);
    was_stuck_in_time = pipeline_is_stuck(&s.pipeline);
}

TEST(pipeline_stop__a_job_counts_as_stuck_after_twice_its_time)
{
    job_scene_open(&s);
    CHECK(!pipeline_is_stuck(&s.pipeline));
    fake_cloud_document(&s.cloud, "{}");
    s.cloud.on_clock = time_passes_twice_over;
    CHECK_INT(job_scene_push(&s, "m1"), 503);
    s.cloud.on_clock = NULL;
    CHECK(s.done && !was_stuck_early && was_stuck_in_time && !pipeline_is_stuck(&s.pipeline));
    CHECK_STR(fake_cloud_text(&s.cloud, "processingStatus"), "processing"); /* its lease ends by itself */
    job_scene_close(&s);
}
