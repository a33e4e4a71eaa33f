#include <stdio.h>
#include <string.h>

#include "test/support/check.h"
#include "test/support/fake/fake_firestore.h"
#include "worker/base/rfc3339.h"
#include "worker/job/session.h"

/* A clock that stands still and sleeps at once; random numbers that differ. */
struct still {
    int64_t now_us, slept_ms;
    unsigned char turn;
};
static int64_t still_wall(void *c) { return ((struct still *)c)->now_us; }
static int64_t still_mono(void *c) { return ((struct still *)c)->now_us / 1000; }
static void still_sleep(void *c, int64_t ms)
{
    ((struct still *)c)->slept_ms += ms;
    ((struct still *)c)->now_us += ms * 1000;
}
static void still_random(void *c, void *buf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)buf)[i] = ((struct still *)c)->turn++;
}

struct scene {
    struct still time;
    struct sys sys;
    struct fake_firestore fake;
    struct gauth *gauth;
    struct firestore fs;
    struct session_store store;
    struct arena arena;
    struct budget budget;
    struct session session;
    enum outcome outcome;
    struct prompt_wishes wishes;
    struct err err;
};

enum { NOW = 1700000000 };

static struct scene *open_scene(const char *message_id)
{
    static struct scene s;

    memset(&s, 0, sizeof s);
    s.time.now_us = (int64_t)NOW * 1000000;
    s.sys = (struct sys){ &s.time, still_wall, still_mono, still_sleep, still_random };
    fake_firestore_init(&s.fake);
    s.fake.now_us = still_wall;
    s.fake.now_ctx = &s.time;
    CHECK_OK(arena_init(&s.arena, 64 << 20, &s.err), s.err);
    CHECK_OK(gauth_open(&(struct gauth_options){ .http = &s.fake.http, .sys = &s.sys, .emulator = { true, true },
                                                 .project = "demo" }, &s.gauth, &s.err), s.err);
    CHECK_OK(firestore_init(&s.fs, &(struct firestore_options){ &s.fake.http, s.gauth, "demo", "127.0.0.1:1", NULL }, &s.arena,
                            &s.err), s.err);
    s.store = (struct session_store){ &s.fs, &s.sys, 360000, 5, false };
    s.budget = (struct budget){ .sys = &s.sys, .deadline_mono_ms = s.time.now_us / 1000 + 280000 };
    CHECK_OK(session_init(&s.session, &s.store, "users/u/sessions/s", message_id, &s.err), s.err);
    return &s;
}

static void close_scene(struct scene *s)
{
    session_done(&s->session);
    gauth_close(s->gauth);
    arena_done(&s->arena);
    fake_firestore_done(&s->fake);
}

static enum outcome claim(struct scene *s)
{
    struct err err = { 0 };

    CHECK_OK(session_claim(&s->session, &s->budget, &s->arena, &s->outcome, &s->wishes, &err), err);
    return s->outcome;
}

#define STATUS(x) "\"processingStatus\":{\"stringValue\":\"" x "\"}"
#define INPAINT(x) "\"inpaint\":{\"mapValue\":{\"fields\":{" x "}}}"
#define MESSAGE(x) "\"messageId\":{\"stringValue\":\"" x "\"}"
#define ATTEMPTS(x) "\"attempts\":{\"integerValue\":\"" x "\"}"
#define LEASE(id, until) "\"lease\":{\"mapValue\":{\"fields\":{\"id\":{\"stringValue\":\"" id "\"},\"expiresAt\":" \
                         "{\"timestampValue\":\"" until "\"}}}}"
#define ALIVE "2033-05-18T03:33:20Z" /* second 2000000000 */
#define OVER "2020-09-13T12:26:40Z"

TEST(session__decides_by_state_and_message)
{
    static const struct {
        const char *fields; /* NULL: no document */
        enum outcome want;
        const char *attempts;
    } cases[] = {
        { NULL, OUTCOME_MISSING, NULL },
        { "{}", OUTCOME_OPEN, "1" },
        { "{\"processingStatus\":{\"nullValue\":null}}", OUTCOME_OPEN, "1" },
        { "{" STATUS("pending") "}", OUTCOME_OPEN, "1" },
        { "{" STATUS("pending") "," INPAINT(MESSAGE("m1") "," ATTEMPTS("2")) "}", OUTCOME_OPEN, "3" },
        { "{" STATUS("pending") "," INPAINT(MESSAGE("m0") "," ATTEMPTS("4")) "}", OUTCOME_OPEN, "1" },
        { "{" STATUS("pending") "," INPAINT(MESSAGE("m0") "," ATTEMPTS("9")) "}", OUTCOME_OPEN, "1" },
        { "{" STATUS("pending") "," INPAINT(MESSAGE("m1") "," ATTEMPTS("-3") ",\"etaSeconds\":{\"doubleValue\":3}") "}", OUTCOME_OPEN, "1" },
        { "{" STATUS("pending") "," INPAINT(MESSAGE("m1") ",\"attempts\":{\"stringValue\":\"3\"}") "}", OUTCOME_OPEN, "1" },
        { "{" STATUS("completed") "}", OUTCOME_DUPLICATE, NULL },
        { "{" STATUS("cancelled") "}", OUTCOME_DUPLICATE, NULL },
        { "{" STATUS("failed") "," INPAINT(MESSAGE("m1")) "}", OUTCOME_DUPLICATE, NULL },
        { "{" STATUS("failed") "," INPAINT(MESSAGE("m0") "," ATTEMPTS("5")) "}", OUTCOME_OPEN, "1" },
        { "{" STATUS("processing") "," INPAINT(MESSAGE("m1") "," LEASE("x", ALIVE)) "}", OUTCOME_BUSY, NULL },
        { "{" STATUS("processing") "," INPAINT(MESSAGE("m0") "," LEASE("x", ALIVE)) "}", OUTCOME_SUPERSEDED, NULL },
        { "{" STATUS("processing") "," INPAINT(MESSAGE("m1") "," ATTEMPTS("2") "," LEASE("x", OVER)) "}", OUTCOME_OPEN, "3" },
        { "{" STATUS("processing") "," INPAINT(MESSAGE("m0") "," ATTEMPTS("2") "," LEASE("x", OVER)) "}", OUTCOME_OPEN, "1" },
        { "{" STATUS("processing") "}", OUTCOME_OPEN, "1" },
        { "{" STATUS("canceled") "}", OUTCOME_DUPLICATE, NULL },
        { "{" STATUS("deleted") "," INPAINT(MESSAGE("m1")) "}", OUTCOME_DUPLICATE, NULL },
        /* Every other word and every other value is pending. */
        { "{" STATUS("queued") "}", OUTCOME_OPEN, "1" },
        { "{" STATUS("uploaded") "," INPAINT(MESSAGE("m1") "," ATTEMPTS("2")) "}", OUTCOME_OPEN, "3" },
        { "{" STATUS("Completed") "}", OUTCOME_OPEN, "1" },
        { "{" STATUS("") "}", OUTCOME_OPEN, "1" },
        { "{\"processingStatus\":{\"integerValue\":\"3\"}}", OUTCOME_OPEN, "1" },
        { "{\"processingStatus\":{\"mapValue\":{\"fields\":{\"stringValue\":{\"stringValue\":\"completed\"}}}}}", OUTCOME_OPEN, "1" },
        { "{\"processingStatus\":{\"arrayValue\":{}}}", OUTCOME_OPEN, "1" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene *s = open_scene("m1");

        fake_firestore_put(&s->fake, cases[i].fields);
        CHECK_INT(claim(s), cases[i].want);
        CHECK_INT(s->fake.n_commits, cases[i].want == OUTCOME_OPEN);
        if (cases[i].want == OUTCOME_OPEN) {
            CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "processing");
            CHECK_STR(fake_firestore_text(&s->fake, "inpaint.messageId"), "m1");
            CHECK_STR(fake_firestore_text(&s->fake, "inpaint.attempts"), cases[i].attempts);
            CHECK_STR(fake_firestore_text(&s->fake, "inpaint.lease.id"), s->session.lease_id);
            CHECK_STR(fake_firestore_text(&s->fake, "inpaint.lease.messageId"), "m1");
            CHECK(strstr(fake_firestore_text(&s->fake, "inpaint.lease.expiresAt"), "2023-11-14T22:19:20"));
            CHECK_STR(fake_firestore_text(&s->fake, "inpaint.stage"), "download");
            CHECK_STR(fake_firestore_text(&s->fake, "inpaint.progress"), "0");
            CHECK(!fake_firestore_text(&s->fake, "inpaint.etaSeconds"));
        }
        close_scene(s);
    }
}

TEST(session__fails_a_message_whose_attempts_are_used_up)
{
    static const char *const documents[] = {
        "{" STATUS("processing") "," INPAINT(MESSAGE("m1") "," ATTEMPTS("5") "," LEASE("x", OVER)) "}",
        "{" STATUS("pending") "," INPAINT(MESSAGE("m1") "," ATTEMPTS("9223372036854775807")) "}",
    };

    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        struct scene *s = open_scene("m1");

        fake_firestore_put(&s->fake, documents[i]);
        CHECK_INT(claim(s), OUTCOME_EXHAUSTED);
        CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "failed");
        CHECK_STR(fake_firestore_text(&s->fake, "errorMessage"), "The edit failed several times. Please try again later.");
        CHECK_STR(fake_firestore_text(&s->fake, "inpaint.errorCode"), "ATTEMPTS_EXHAUSTED");
        CHECK_STR(fake_firestore_text(&s->fake, "inpaint.retryable"), "true");
        CHECK_STR(fake_firestore_text(&s->fake, "cost"), "0");
        CHECK(!fake_firestore_text(&s->fake, "inpaint.lease"));
        close_scene(s);
    }
}

TEST(session__recognises_its_own_claim_when_the_answer_was_lost)
{
    struct scene *s = open_scene("m1");

    fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
    s->fake.next_commit = FAKE_LOSE_ANSWER;
    CHECK_INT(claim(s), OUTCOME_OPEN);
    CHECK_INT(s->fake.n_commits, 1);
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.attempts"), "1");
    close_scene(s);
}

TEST(session__tries_again_when_the_claim_was_lost_on_the_way_or_aborted)
{
    for (int fault = FAKE_LOSE_REQUEST; fault <= FAKE_UNAVAILABLE; fault++) {
        struct scene *s = open_scene("m1");

        fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
        s->fake.next_commit = (enum fake_fault)fault;
        CHECK_INT(claim(s), OUTCOME_OPEN);
        CHECK_INT(s->fake.n_commits, 2);
        CHECK_STR(fake_firestore_text(&s->fake, "inpaint.attempts"), "1");
        close_scene(s);
    }
}

static void somebody_claims(struct fake_firestore *f, void *ctx)
{
    fake_firestore_put(f, "{" STATUS("processing") "," INPAINT(MESSAGE("m1") "," LEASE("other", ALIVE)) "}");
    (void)ctx;
}

TEST(session__gives_way_when_another_worker_claims_first)
{
    struct scene *s = open_scene("m1");

    fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
    s->fake.before_commit = somebody_claims;
    CHECK_INT(claim(s), OUTCOME_BUSY);
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.lease.id"), "other");
    close_scene(s);
}

static struct document_report report(void)
{
    static const struct document_recipe recipe = { .model_file = "f.gguf", .prompt = "p", .precision = "bf16", .steps = 4,
                                                  .guidance = 30, .seed = 7, .crop_x = 1, .crop_y = 2, .crop_width = 10, .crop_height = 20,
                                                  .fill_width = 32, .fill_height = 48 };

    return (struct document_report){ .edited_path = "e", .preview_path = "p", .cost_usd = 0.25, .recipe = &recipe,
                                    .times = { .has_run[STAGE_DECODE] = true, .ms[STAGE_DECODE] = 12 }, .error = JOB_INPUT_CORRUPT };
}

static void the_app_writes(struct fake_firestore *f, void *ctx)
{
    struct scene *s = ctx;
    static char fields[600];

    (void)snprintf(fields, sizeof fields, "{" STATUS("processing") ",\"note\":{\"stringValue\":\"hi\"}," INPAINT(
                   MESSAGE("m1") "," ATTEMPTS("1") ",\"lease\":{\"mapValue\":{\"fields\":{\"id\":{\"stringValue\":\"%s\"}}}}") "}",
                   s->session.lease_id);
    fake_firestore_put(f, fields);
}

TEST(session__completes_although_the_app_touched_other_fields)
{
    struct scene *s = open_scene("m1");
    struct document_report r = report();

    fake_firestore_put(&s->fake, "{" STATUS("pending") ",\"errorMessage\":{\"stringValue\":\"old\"}}");
    CHECK_INT(claim(s), OUTCOME_OPEN);
    s->fake.before_commit = the_app_writes;
    s->fake.before_ctx = s;
    CHECK_OK(session_complete(&s->session, &r, &s->budget, &s->err), s->err);
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "completed");
    CHECK_STR(fake_firestore_text(&s->fake, "note"), "hi");
    CHECK_STR(fake_firestore_text(&s->fake, "editedImagePath"), "e");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.recipe.seed"), "7");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.recipe.precision"), "bf16");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.recipe.crop.x"), "1");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.recipe.crop.y"), "2");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.recipe.crop.width"), "10");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.recipe.crop.height"), "20");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.recipe.fillSize.width"), "32");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.recipe.fillSize.height"), "48");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.timings.decode"), "12");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.progress"), "100");
    CHECK(!fake_firestore_text(&s->fake, "inpaint.lease") && !fake_firestore_text(&s->fake, "errorMessage"));
    close_scene(s);
}

TEST(session__writes_warnings_as_a_list_and_removes_those_of_before)
{
    for (int n = 0; n <= 2; n++) {
        struct scene *s = open_scene("m1");
        struct document_report r = report();
        const struct json *warnings, *list;

        r.warnings[0] = "ONE";
        r.warnings[1] = "TWO";
        r.n_warnings = n;
        fake_firestore_put(&s->fake, "{" INPAINT("\"warnings\":{\"stringValue\":\"old\"}") "}");
        CHECK_INT(claim(s), OUTCOME_OPEN);
        CHECK_OK(session_complete(&s->session, &r, &s->budget, &s->err), s->err);
        warnings = json_get(json_get(json_get(json_get(s->fake.fields, "inpaint"), "mapValue"), "fields"), "warnings");
        CHECK(!!warnings == (n > 0));
        list = json_get(json_get(warnings, "arrayValue"), "values");
        CHECK_INT(json_count(list), n);
        CHECK(n < 2 || !strcmp(json_string(json_get(json_at(list, 1), "stringValue")), "TWO"));
        close_scene(s);
    }
}

TEST(session__settles_a_lost_answer_of_its_last_write_by_reading)
{
    struct scene *s = open_scene("m1");
    struct document_report r = report();

    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(claim(s), OUTCOME_OPEN);
    s->fake.next_commit = FAKE_LOSE_ANSWER;
    CHECK_OK(session_fail(&s->session, &r, &s->budget, &s->err), s->err);
    CHECK_INT(s->fake.n_commits, 2);
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "failed");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.errorCode"), "INPUT_CORRUPT");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.retryable"), "false");
    close_scene(s);
}

static const char *put_before_commit;

static void the_document_changes(struct fake_firestore *f, void *ctx)
{
    (void)ctx;
    fake_firestore_put(f, put_before_commit);
}

/* Only a document that reads as the write would leave it is proof, and only where an answer was lost. */
TEST(session__takes_nothing_else_for_its_last_write)
{
    static const struct {
        const char *document;
        enum fake_fault fault;
        enum err_code want;
    } cases[] = {
        { "{" STATUS("failed") "," INPAINT(MESSAGE("m1")) "}", FAKE_LOSE_REQUEST, ERR_OK },
        { "{" STATUS("failed") "," INPAINT(MESSAGE("m1")) "}", FAKE_NO_FAULT, ERR_CONFLICT },
        { "{" STATUS("failed") "," INPAINT(MESSAGE("m2")) "}", FAKE_LOSE_REQUEST, ERR_CONFLICT },
        { "{" STATUS("completed") "," INPAINT(MESSAGE("m1")) "}", FAKE_LOSE_REQUEST, ERR_CONFLICT },
        { "{" STATUS("failed") "," INPAINT(MESSAGE("m1") "," LEASE("other", ALIVE)) "}", FAKE_LOSE_REQUEST, ERR_CONFLICT },
        { NULL, FAKE_LOSE_REQUEST, ERR_NOT_FOUND },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene *s = open_scene("m1");
        struct document_report r = report();

        fake_firestore_put(&s->fake, "{}");
        CHECK_INT(claim(s), OUTCOME_OPEN);
        put_before_commit = cases[i].document;
        s->fake.before_commit = the_document_changes;
        s->fake.next_commit = cases[i].fault;
        CHECK_INT(session_fail(&s->session, &r, &s->budget, NULL), cases[i].want);
        CHECK_INT(s->fake.n_commits, 2);
        close_scene(s);
    }
}

static void the_first_try_lands_late(struct fake_firestore *f, void *ctx)
{
    put_before_commit = "{" STATUS("failed") "," INPAINT(MESSAGE("m1")) "}";
    f->before_commit = the_document_changes;
    (void)ctx;
}

TEST(session__recognises_its_last_write_when_the_first_try_lands_after_the_look)
{
    struct scene *s = open_scene("m1");
    struct document_report r = report();

    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(claim(s), OUTCOME_OPEN);
    s->fake.before_commit = the_first_try_lands_late;
    s->fake.next_commit = FAKE_LOSE_REQUEST;
    CHECK_OK(session_fail(&s->session, &r, &s->budget, &s->err), s->err);
    CHECK_INT(s->fake.n_commits, 3);
    close_scene(s);
}

static void the_app_cancels(struct fake_firestore *f, void *ctx)
{
    const struct scene *s = ctx;
    static char fields[600];

    (void)snprintf(fields, sizeof fields, "{" STATUS("cancelled") "," INPAINT(MESSAGE("m1") ",\"lease\":{\"mapValue\":{\"fields\":{"
                   "\"id\":{\"stringValue\":\"%s\"}}}}") "}", s->session.lease_id);
    fake_firestore_put(f, fields);
}

TEST(session__a_session_that_the_app_cancels_is_not_ours_any_more)
{
    struct scene *s = open_scene("m1");
    struct document_report r = report();

    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(claim(s), OUTCOME_OPEN);
    the_app_cancels(&s->fake, s);
    CHECK_INT(session_progress(&s->session, STAGE_DENOISE, 50, 3, &s->budget, NULL), ERR_CONFLICT);
    CHECK_INT(session_complete(&s->session, &r, &s->budget, NULL), ERR_CONFLICT);
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "cancelled");
    close_scene(s);
}

TEST(session__writes_nothing_once_the_lease_is_somebody_elses_or_the_document_is_gone)
{
    struct scene *s = open_scene("m1");
    struct document_report r = report();

    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(claim(s), OUTCOME_OPEN);
    somebody_claims(&s->fake, NULL);
    CHECK_INT(session_progress(&s->session, STAGE_DENOISE, 50, 3, &s->budget, NULL), ERR_CONFLICT);
    CHECK_INT(session_complete(&s->session, &r, &s->budget, NULL), ERR_CONFLICT);
    CHECK_INT(session_release(&s->session, &s->budget, NULL), ERR_CONFLICT);
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.lease.id"), "other");
    fake_firestore_put(&s->fake, NULL);
    CHECK_INT(session_progress(&s->session, STAGE_DENOISE, 50, 3, &s->budget, NULL), ERR_NOT_FOUND);
    CHECK_INT(session_complete(&s->session, &r, &s->budget, NULL), ERR_NOT_FOUND);
    CHECK(!s->fake.fields);
    close_scene(s);
}

TEST(session__reports_progress_and_gives_the_claim_back)
{
    struct scene *s = open_scene("m1");

    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(claim(s), OUTCOME_OPEN);
    CHECK_OK(session_progress(&s->session, STAGE_DENOISE, 40, 2.5, &s->budget, &s->err), s->err);
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.stage"), "denoise");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.progress"), "40");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.etaSeconds"), "2.5");
    CHECK_OK(session_progress(&s->session, STAGE_DENOISE, 50, 0, &s->budget, &s->err), s->err);
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.etaSeconds"), "0");
    s->fake.next_commit = FAKE_UNAVAILABLE;
    CHECK_OK(session_progress(&s->session, STAGE_DENOISE, 60, 2, &s->budget, &s->err), s->err);
    CHECK_OK(session_release(&s->session, &s->budget, &s->err), s->err);
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "pending");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.messageId"), "m1");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.attempts"), "1");
    CHECK(!fake_firestore_text(&s->fake, "inpaint.lease"));
    CHECK(!fake_firestore_text(&s->fake, "inpaint.etaSeconds"));
    close_scene(s);
}

TEST(session__gives_back_its_own_claim_and_no_other)
{
    struct scene *s = open_scene("m1");

    fake_firestore_put(&s->fake, "{" STATUS("processing") "," INPAINT(MESSAGE("m1") "," LEASE("x", ALIVE)) "}");
    CHECK_INT(claim(s), OUTCOME_BUSY);
    CHECK_OK(session_unclaim(&s->session, &s->budget, &s->err), s->err);
    CHECK_INT(s->fake.n_gets, 1);
    fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
    CHECK_INT(claim(s), OUTCOME_OPEN);
    CHECK_OK(session_unclaim(&s->session, &s->budget, &s->err), s->err);
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "pending");
    CHECK(!fake_firestore_text(&s->fake, "inpaint.lease"));
    somebody_claims(&s->fake, NULL);
    CHECK_OK(session_unclaim(&s->session, &s->budget, &s->err), s->err);
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.lease.id"), "other");
    close_scene(s);
}

TEST(session__is_given_back_from_outside_unless_a_write_is_under_way)
{
    struct scene *s = open_scene("m1");

    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(claim(s), OUTCOME_OPEN);
    CHECK(!pthread_mutex_lock(&s->session.lock));
    CHECK_INT(session_release_from_outside(&s->session, &s->budget, NULL), ERR_UNAVAILABLE);
    CHECK(!pthread_mutex_unlock(&s->session.lock));
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "processing");
    CHECK_OK(session_release_from_outside(&s->session, &s->budget, &s->err), s->err);
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "pending");
    close_scene(s);
}

TEST(session__reads_prompt_and_labels_of_either_form)
{
    struct scene *s = open_scene("m1");

    fake_firestore_put(&s->fake, "{\"prompt\":{\"stringValue\":\"a lawn\"},\"sceneLabels\":{\"arrayValue\":{\"values\":["
                                 "{\"stringValue\":\"grass\"},{\"integerValue\":\"1\"},{\"stringValue\":\"fence\"}]}}}");
    CHECK_INT(claim(s), OUTCOME_OPEN);
    CHECK_STR(s->wishes.prompt, "a lawn");
    CHECK_INT(s->wishes.n_labels, 2);
    CHECK_STR(s->wishes.labels[1], "fence");
    close_scene(s);
    s = open_scene("m1");
    fake_firestore_put(&s->fake, "{\"prompt\":{\"integerValue\":\"1\"},\"sceneLabels\":{\"mapValue\":{\"fields\":{"
                                 "\"surface\":{\"stringValue\":\"sand\"}}}}}");
    CHECK_INT(claim(s), OUTCOME_OPEN);
    CHECK(s->wishes.prompt_invalid && !s->wishes.prompt);
    CHECK_INT(s->wishes.n_labels, 1);
    CHECK_STR(s->wishes.labels[0], "sand");
    close_scene(s);
}

/* ---- whose clock ---- */

enum { HOUR_S = 3600 };

/* The server is so many seconds ahead of this worker. */
static int64_t server_ahead_s;
static int64_t server_wall(void *c) { return still_wall(c) + server_ahead_s * 1000000; }

static struct scene *open_scene_with_clocks(int64_t ahead_s)
{
    struct scene *s = open_scene("m1");

    server_ahead_s = ahead_s;
    s->fake.now_us = server_wall;
    return s;
}

/* A live lease of another worker, taken so long ago by the server's clock, with this much of it left. */
static void put_lease(struct scene *s, const char *message, int64_t taken_s_ago, int64_t left_s)
{
    static char fields[600];
    char until[RFC3339_SIZE];

    rfc3339_format(server_wall(&s->time) + left_s * 1000000, until);
    (void)snprintf(fields, sizeof fields, "{" STATUS("processing") "," INPAINT(MESSAGE("%s") "," LEASE("other", "%s")) "}", message, until);
    server_ahead_s -= taken_s_ago;
    s->fake.changed_us = 0;
    fake_firestore_put(&s->fake, fields);
    server_ahead_s += taken_s_ago;
}

TEST(session__a_lease_is_judged_by_the_servers_clock)
{
    static const int64_t ahead_s[] = { 0, -3 * HOUR_S, 3 * HOUR_S, -26 * HOUR_S };

    for (size_t i = 0; i < sizeof ahead_s / sizeof *ahead_s; i++) {
        struct scene *s = open_scene_with_clocks(ahead_s[i]);
        char until[RFC3339_SIZE];

        put_lease(s, "m1", 60, 300);
        CHECK_INT(claim(s), OUTCOME_BUSY);
        CHECK_OK(session_screen(&s->session, &s->budget, &s->outcome, &s->err), s->err);
        CHECK_INT(s->outcome, OUTCOME_BUSY);
        CHECK_INT(s->fake.n_commits, 0);
        put_lease(s, "m1", 361, -1);
        CHECK_OK(session_screen(&s->session, &s->budget, &s->outcome, &s->err), s->err);
        CHECK_INT(s->outcome, OUTCOME_OPEN);
        CHECK_INT(claim(s), OUTCOME_OPEN);
        rfc3339_format(server_wall(&s->time) + 360 * 1000000, until);
        CHECK_STR(fake_firestore_text(&s->fake, "inpaint.lease.expiresAt"), until);
        close_scene(s);
    }
}

TEST(session__a_lease_ends_with_the_last_change_and_the_time_of_a_lease)
{
    static const struct {
        int64_t taken_s_ago, left_s;
        enum outcome want;
    } cases[] = {
        { 359, (int64_t)75 * 365 * 24 * HOUR_S, OUTCOME_SUPERSEDED }, /* until the year 2098 */
        { 361, (int64_t)75 * 365 * 24 * HOUR_S, OUTCOME_OPEN },
        { 100000, 1, OUTCOME_OPEN },
        { 1, 1, OUTCOME_SUPERSEDED },
        { 1, -1, OUTCOME_OPEN },
        { 1, 0, OUTCOME_OPEN },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene *s = open_scene_with_clocks(0);

        put_lease(s, "m0", cases[i].taken_s_ago, cases[i].left_s);
        CHECK_INT(claim(s), cases[i].want);
        close_scene(s);
    }
}

TEST(session__without_a_date_judges_by_its_own_clock_but_never_before_the_last_change)
{
    struct scene *s = open_scene_with_clocks(3 * HOUR_S);
    char until[RFC3339_SIZE];

    s->fake.without_date = true;
    put_lease(s, "m1", 0, 300); /* for this worker it has just been taken */
    CHECK_INT(claim(s), OUTCOME_BUSY);
    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(claim(s), OUTCOME_OPEN);
    rfc3339_format(s->fake.changed_us - s->fake.changed_us % 1000000 + 360 * 1000000, until);
    CHECK(!strncmp(fake_firestore_text(&s->fake, "inpaint.lease.expiresAt"), until, 16)); /* the same minute */
    CHECK(s->store.without_time);
    close_scene(s);
    s = open_scene_with_clocks(-3 * HOUR_S);
    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(claim(s), OUTCOME_OPEN);
    CHECK(!s->store.without_time);
    close_scene(s);
}

/* ---- what ends without a run ---- */

static void check_ended(struct scene *s, const char *code, const char *attempts)
{
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "failed");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.errorCode"), code);
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.messageId"), "m1");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.attempts"), attempts);
    CHECK_STR(fake_firestore_text(&s->fake, "cost"), "0");
    CHECK(!fake_firestore_text(&s->fake, "inpaint.lease") && !fake_firestore_text(&s->fake, "inpaint.etaSeconds"));
    s->session.ended = OUTCOME_OPEN; /* as for the next delivery */
    CHECK_INT(claim(s), OUTCOME_DUPLICATE);
}

TEST(session__attempts_never_overflow)
{
    static const struct {
        const char *stored, *want; /* NULL: exhausted */
    } cases[] = {
        { "{\"integerValue\":\"9223372036854775807\"}", NULL },
        { "{\"integerValue\":\"9223372036854775808\"}", "1" },
        { "{\"integerValue\":\"-9223372036854775808\"}", "1" },
        { "{\"integerValue\":\"-1\"}", "1" },
        { "{\"doubleValue\":9007199254740991}", NULL },
        { "{\"doubleValue\":1e300}", "1" },
        { "{\"doubleValue\":\"NaN\"}", "1" },
        { "{\"doubleValue\":2.5}", "1" },
        { "{\"doubleValue\":-0.0}", "1" },
        { "{\"doubleValue\":3}", "4" },
        { "{\"integerValue\":\"1\\u0000\"}", "1" },
        { "{\"nullValue\":null}", "1" },
        { "{\"arrayValue\":{\"values\":[{\"integerValue\":\"4\"}]}}", "1" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene *s = open_scene("m1");
        static char inpaint[300];

        fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
        (void)snprintf(inpaint, sizeof inpaint, INPAINT(MESSAGE("m1") ",\"attempts\":%s") ",", cases[i].stored);
        s->fake.wild[s->fake.n_wild++] = span_of(inpaint);
        CHECK_INT(claim(s), cases[i].want ? OUTCOME_OPEN : OUTCOME_EXHAUSTED);
        if (cases[i].want)
            CHECK_STR(fake_firestore_text(&s->fake, "inpaint.attempts"), cases[i].want);
        close_scene(s);
    }
}

TEST(session__an_end_whose_answer_was_lost_is_still_that_end)
{
    for (int by_screen = 0; by_screen < 2; by_screen++) {
        struct scene *s = open_scene("m1");

        fake_firestore_put(&s->fake, "{" STATUS("pending") "," INPAINT(MESSAGE("m1") "," ATTEMPTS("5") ",\"etaSeconds\":{\"doubleValue\":3}") "}");
        s->fake.next_commit = FAKE_LOSE_ANSWER;
        if (by_screen)
            CHECK_OK(session_screen(&s->session, &s->budget, &s->outcome, &s->err), s->err);
        CHECK_INT(by_screen ? s->outcome : claim(s), OUTCOME_EXHAUSTED);
        CHECK_INT(s->fake.n_commits, 1);
        check_ended(s, "ATTEMPTS_EXHAUSTED", "5");
        close_scene(s);
    }
}

static char *too_large(char *to, const char *member)
{
    size_t n = (size_t)FIRESTORE_REPLY_MAX + 1, at = (size_t)sprintf(to, "\"%s\":{\"stringValue\":\"", member);

    memset(to + at, 'x', n);
    (void)sprintf(to + at + n, "\"},");
    return to;
}

TEST(session__what_can_be_reached_but_not_understood_fails)
{
    static char large[FIRESTORE_REPLY_MAX + 100], deep[2000];
    static const struct {
        const char *fields, *attempts;
        enum outcome want;
    } cases[] = {
        { "{" STATUS("pending") "}", "1", OUTCOME_UNREADABLE },
        { "{" STATUS("queued") "," INPAINT(MESSAGE("m1") "," ATTEMPTS("2")) "}", "3", OUTCOME_UNREADABLE },
        { "{" STATUS("pending") "," INPAINT(MESSAGE("m1") "," ATTEMPTS("9223372036854775807")) "}", "9223372036854775807", OUTCOME_UNREADABLE },
        { "{" STATUS("pending") "," INPAINT(MESSAGE("m0") "," ATTEMPTS("4")) "}", "1", OUTCOME_UNREADABLE },
        { "{" STATUS("processing") "," INPAINT(MESSAGE("m0") "," LEASE("x", OVER)) "}", "1", OUTCOME_UNREADABLE },
        { "{" STATUS("completed") "}", NULL, OUTCOME_DUPLICATE },
        { "{" STATUS("deleted") "}", NULL, OUTCOME_DUPLICATE },
        { "{" STATUS("processing") "," INPAINT(MESSAGE("m1") "," LEASE("x", ALIVE)) "}", NULL, OUTCOME_BUSY },
    };

    memset(deep, '[', sizeof deep);
    (void)sprintf(deep, "\"sceneLabels\":");
    deep[strlen(deep)] = '[';
    deep[1000] = 0;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        struct scene *s = open_scene("m1");

        fake_firestore_put(&s->fake, cases[i / 2].fields);
        s->fake.wild[s->fake.n_wild++] = span_of(i % 2 ? deep : too_large(large, "prompt"));
        CHECK_INT(claim(s), cases[i / 2].want);
        CHECK_INT(s->fake.n_commits, cases[i / 2].attempts != NULL);
        if (cases[i / 2].attempts)
            check_ended(s, "SESSION_UNREADABLE", cases[i / 2].attempts);
        close_scene(s);
    }
}

TEST(session__not_even_its_own_fields_have_to_be_readable)
{
    static const char *const members[] = { "inpaint", "processingStatus", "prompt" };
    static char large[FIRESTORE_REPLY_MAX + 100];

    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        struct scene *s = open_scene("m1");

        fake_firestore_put(&s->fake, "{\"note\":{\"stringValue\":\"the app's\"}}");
        s->fake.wild[s->fake.n_wild++] = span_of(too_large(large, members[i]));
        CHECK_INT(claim(s), OUTCOME_UNREADABLE);
        CHECK_STR(fake_firestore_text(&s->fake, "note"), "the app's");
        check_ended(s, "SESSION_UNREADABLE", "1");
        close_scene(s);
    }
}

/* How many of the next answers are garbled on their way. */
static int garbled;

static enum err_code garble(void *ctx, const struct http_request *req, struct arena *a, struct http_reply *ret, struct err *err)
{
    struct scene *s = ctx;
    enum err_code rc = http_send(&s->fake.http, req, a, ret, err);

    if (!strcmp(req->method, "GET") && garbled-- > 0)
        ret->body = SPAN("<html>");
    return rc;
}

TEST(session__an_answer_that_was_garbled_on_its_way_ends_nothing)
{
    for (int n = 1; n <= 7; n++) {
        struct scene *s = open_scene("m1");
        struct http http = { s, garble };

        s->fs.http = &http;
        garbled = n == 7 ? 1000 : n;
        fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
        if (n <= 5)
            CHECK_INT(claim(s), n < 2 ? OUTCOME_OPEN : OUTCOME_UNREADABLE);
        else
            CHECK_INT(session_claim(&s->session, &s->budget, &s->arena, &s->outcome, &s->wishes, NULL), ERR_PROTOCOL);
        CHECK_INT(s->fake.n_commits, n <= 5);
        close_scene(s);
    }
}

TEST(session__a_claim_that_firestore_finds_invalid_ends_the_session)
{
    struct scene *s = open_scene("m1");

    fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
    s->fake.next_commit = FAKE_INVALID;
    CHECK_INT(claim(s), OUTCOME_UNREADABLE);
    check_ended(s, "SESSION_UNREADABLE", "1");
    close_scene(s);
}

static int invalid_left;

static enum err_code finds_invalid(void *ctx, const struct http_request *req, struct arena *a, struct http_reply *ret, struct err *err)
{
    struct scene *s = ctx;

    if (!strcmp(req->method, "POST") && invalid_left-- > 0)
        s->fake.next_commit = FAKE_INVALID;
    return http_send(&s->fake.http, req, a, ret, err);
}

TEST(session__where_nothing_else_fits_the_status_alone_is_written)
{
    struct scene *s = open_scene("m1");
    struct http http = { s, finds_invalid };

    s->fs.http = &http;
    fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
    invalid_left = 2;
    CHECK_INT(claim(s), OUTCOME_UNREADABLE);
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "failed");
    CHECK(!fake_firestore_text(&s->fake, "inpaint"));
    fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
    invalid_left = 3;
    CHECK_INT(session_claim(&s->session, &s->budget, &s->arena, &s->outcome, &s->wishes, NULL), ERR_INVALID);
    close_scene(s);
}

TEST(session__gives_up_what_could_be_claimed_and_nothing_else)
{
    static char large[FIRESTORE_REPLY_MAX + 100];
    static const struct {
        const char *fields, *attempts;
        enum outcome want;
    } cases[] = {
        { "{" STATUS("pending") "}", "0", OUTCOME_EXHAUSTED },
        { "{" STATUS("pending") "," INPAINT(MESSAGE("m1") "," ATTEMPTS("2")) "}", "2", OUTCOME_EXHAUSTED },
        { "{" STATUS("failed") "," INPAINT(MESSAGE("m0") "," ATTEMPTS("2")) "}", "0", OUTCOME_EXHAUSTED },
        { "{" STATUS("processing") "," INPAINT(MESSAGE("m1") "," LEASE("x", OVER)) "}", "0", OUTCOME_EXHAUSTED },
        { "{" STATUS("processing") "," INPAINT(MESSAGE("m1") "," LEASE("x", ALIVE)) "}", NULL, OUTCOME_BUSY },
        { "{" STATUS("processing") "," INPAINT(MESSAGE("m0") "," LEASE("x", ALIVE)) "}", NULL, OUTCOME_SUPERSEDED },
        { "{" STATUS("completed") "}", NULL, OUTCOME_DUPLICATE },
        { "{" STATUS("canceled") "}", NULL, OUTCOME_DUPLICATE },
        { "{" STATUS("failed") "," INPAINT(MESSAGE("m1")) "}", NULL, OUTCOME_DUPLICATE },
        { NULL, NULL, OUTCOME_MISSING },
    };

    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        struct scene *s = open_scene("m1");

        fake_firestore_put(&s->fake, cases[i / 2].fields);
        if (i % 2)
            s->fake.wild[s->fake.n_wild++] = span_of(too_large(large, "prompt"));
        CHECK_OK(session_give_up(&s->session, &s->budget, &s->outcome, &s->err), s->err);
        CHECK_INT(s->outcome, cases[i / 2].want);
        CHECK_INT(s->fake.n_commits, cases[i / 2].attempts != NULL);
        s->fake.n_wild = 0;
        if (cases[i / 2].attempts)
            check_ended(s, "ATTEMPTS_EXHAUSTED", cases[i / 2].attempts);
        close_scene(s);
    }
}

TEST(session__a_text_that_is_none_is_no_prompt_and_no_label)
{
    static const struct {
        const char *prompt, *label;
        bool is_text;
    } cases[] = {
        { "a\\u0000b", "a\\u0000b", false },       { "\\u0000", "\\u0000grass", false },
        { "grass\\ud800", "\\udc00grass", false }, { "\\ud83d\\ude00", "\\ud83d\\ude00", true },
        { "gr\\u00e4s", "gr\\u00e4s", true },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene *s = open_scene("m1");
        static char prompt[100], labels[300];

        fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
        (void)snprintf(prompt, sizeof prompt, "\"prompt\":{\"stringValue\":\"%s\"},", cases[i].prompt);
        (void)snprintf(labels, sizeof labels, "\"sceneLabels\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"%s\"},"
                       "{\"stringValue\":\"lawn\"}]}},", cases[i].label);
        s->fake.wild[s->fake.n_wild++] = span_of(prompt);
        s->fake.wild[s->fake.n_wild++] = span_of(labels);
        CHECK_INT(claim(s), OUTCOME_OPEN);
        CHECK(s->wishes.prompt_invalid == !cases[i].is_text && !s->wishes.prompt == !cases[i].is_text);
        CHECK_INT(s->wishes.n_labels, cases[i].is_text ? 2 : 1);
        CHECK_STR(s->wishes.labels[s->wishes.n_labels - 1], "lawn");
        close_scene(s);
    }
}
