#include "worker/job/reporter.h"

#include <string.h>
#include <unistd.h>

#include "test/support/check.h"
#include "test/support/fake/job_scene.h"

static struct job_scene s;
static struct session session;
static struct reporter reporter;
static struct budget budget;

/* A session that is claimed, with one commit so far, and a reporter. */
static void open_reporter(void)
{
    enum outcome outcome;
    struct prompt_wishes wishes;
    struct err err = { 0 };

    job_scene_open(&s);
    fake_cloud_document(&s.cloud, "{}");
    budget = (struct budget){ .sys = &s.cloud.sys, .deadline_mono_ms = sys_mono_ms(&s.cloud.sys) + 100000 };
    CHECK_OK(session_init(&session, &s.sessions, "users/u/sessions/s", "m1", &err), err);
    CHECK_OK(session_claim(&session, &budget, &s.arena, &outcome, &wishes, &err), err);
    CHECK_INT(outcome, OUTCOME_OPEN);
    CHECK_OK(reporter_start(&reporter, &session, &budget, &err), err);
}

static void close_reporter(void)
{
    reporter_stop(&reporter);
    session_done(&session);
    job_scene_close(&s);
}

static bool until(bool (*holds)(void))
{
    for (int i = 0; i < 1000 && !holds(); i++)
        (void)usleep(10000);
    return holds();
}

static bool one_report_is_written(void)
{
    return fake_cloud_commits(&s.cloud) == 2;
}

static bool is_lost(void)
{
    return reporter_lost(&reporter) != ERR_OK;
}

TEST(reporter__writes_the_newest_state_at_most_once_a_second)
{
    int64_t begin, ms;

    open_reporter();
    begin = sys_mono_ms(&sys_real);
    for (int i = 0; i < 24; i++) {
        reporter_set(&reporter, i < 12 ? STAGE_ENCODE : STAGE_DENOISE, i, i < 12 ? -1 : 100 - i);
        (void)usleep(100000);
    }
    ms = sys_mono_ms(&sys_real) - begin;
    CHECK(fake_cloud_commits(&s.cloud) >= 2);
    CHECK(fake_cloud_commits(&s.cloud) <= 1 + ms / REPORTER_INTERVAL_MS);
    reporter_stop(&reporter);
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.stage"), "denoise");
    CHECK(strstr("13 14 15 16 17 18 19 20 21 22 23", fake_cloud_text(&s.cloud, "inpaint.progress")));
    CHECK(fake_cloud_text(&s.cloud, "inpaint.etaSeconds"));
    close_reporter();
}

TEST(reporter__a_change_of_stage_is_written_and_an_unknown_time_is_deleted)
{
    open_reporter();
    reporter_set(&reporter, STAGE_DENOISE, 50, 2.5);
    reporter_set(&reporter, STAGE_COMPOSE, 92, -1);
    CHECK(until(one_report_is_written));
    reporter_stop(&reporter);
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.stage"), "compose");
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.progress"), "92");
    CHECK(!fake_cloud_text(&s.cloud, "inpaint.etaSeconds"));
    close_reporter();
}

TEST(reporter__writes_nothing_without_news_and_nothing_after_its_end)
{
    open_reporter();
    reporter_set(&reporter, STAGE_DECODE, 5, -1);
    CHECK(until(one_report_is_written));
    (void)usleep(1300000);
    CHECK(one_report_is_written());
    reporter_set(&reporter, STAGE_ENCODE, 8, -1);
    reporter_stop(&reporter);
    CHECK(one_report_is_written());
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.stage"), "decode");
    close_reporter();
}

TEST(reporter__notes_that_the_document_is_gone_or_the_lease_taken)
{
    static const struct {
        const char *document;
        enum err_code want;
    } cases[] = {
        { NULL, ERR_NOT_FOUND },
        { "{" DOC_STATUS("processing") "," DOC_INPAINT(DOC_LEASE("other", DOC_LATER)) "}", ERR_CONFLICT },
    };

    for (int i = 0; i < 2; i++) {
        open_reporter();
        CHECK_INT(reporter_lost(&reporter), ERR_OK);
        fake_cloud_document(&s.cloud, cases[i].document);
        reporter_set(&reporter, STAGE_DECODE, 5, -1);
        CHECK(until(is_lost));
        CHECK_INT(reporter_lost(&reporter), cases[i].want);
        close_reporter();
    }
}

static int firestore_is_down(void *ctx, const struct http_request *req)
{
    struct job_scene *scene = ctx;

    (void)req;
    scene->done = true;
    return 503;
}

static bool has_been_asked(void)
{
    return s.done;
}

TEST(reporter__a_write_that_fails_loses_nothing)
{
    open_reporter();
    s.cloud.on_request = firestore_is_down;
    reporter_set(&reporter, STAGE_DECODE, 5, -1);
    CHECK(until(has_been_asked));
    reporter_stop(&reporter);
    CHECK_INT(reporter_lost(&reporter), ERR_OK);
    close_reporter();
}

TEST(reporter__stops_without_waiting_for_the_second_to_be_over)
{
    int64_t begin;

    open_reporter();
    (void)usleep(50000);
    begin = sys_mono_ms(&sys_real);
    reporter_stop(&reporter);
    CHECK(sys_mono_ms(&sys_real) - begin < 700);
    close_reporter();
}

TEST(reporter__hears_of_a_loss_that_another_write_found_and_stops_twice)
{
    struct reporter none = { 0 };

    reporter_stop(&none);
    open_reporter();
    CHECK_INT(reporter_lose(&reporter, ERR_CONFLICT), ERR_CONFLICT);
    CHECK_INT(reporter_lost(&reporter), ERR_CONFLICT);
    reporter_stop(&reporter);
    close_reporter();
}
