#include <stdio.h>
#include <string.h>

#include "test/support/check.h"
#include "test/support/fake/session_scene.h"

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
        struct session_scene *s = session_scene_open("m1");

        fake_firestore_put(&s->fake, cases[i].fields);
        CHECK_INT(session_scene_claim(s), cases[i].want);
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
        session_scene_close(s);
    }
}

TEST(session__fails_a_message_whose_attempts_are_used_up)
{
    static const char *const documents[] = {
        "{" STATUS("processing") "," INPAINT(MESSAGE("m1") "," ATTEMPTS("5") "," LEASE("x", OVER)) "}",
        "{" STATUS("pending") "," INPAINT(MESSAGE("m1") "," ATTEMPTS("9223372036854775807")) "}",
    };

    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        struct session_scene *s = session_scene_open("m1");

        fake_firestore_put(&s->fake, documents[i]);
        CHECK_INT(session_scene_claim(s), OUTCOME_EXHAUSTED);
        CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "failed");
        CHECK_STR(fake_firestore_text(&s->fake, "errorMessage"), "The edit failed several times. Please try again later.");
        CHECK_STR(fake_firestore_text(&s->fake, "inpaint.errorCode"), "ATTEMPTS_EXHAUSTED");
        CHECK_STR(fake_firestore_text(&s->fake, "inpaint.retryable"), "true");
        CHECK_STR(fake_firestore_text(&s->fake, "cost"), "0");
        CHECK(!fake_firestore_text(&s->fake, "inpaint.lease"));
        session_scene_close(s);
    }
}

TEST(session__recognises_its_own_claim_when_the_answer_was_lost)
{
    struct session_scene *s = session_scene_open("m1");

    fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
    s->fake.next_commit = FAKE_LOSE_ANSWER;
    CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
    CHECK_INT(s->fake.n_commits, 1);
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.attempts"), "1");
    session_scene_close(s);
}

TEST(session__tries_again_when_the_claim_was_lost_on_the_way_or_aborted)
{
    for (int fault = FAKE_LOSE_REQUEST; fault <= FAKE_UNAVAILABLE; fault++) {
        struct session_scene *s = session_scene_open("m1");

        fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
        s->fake.next_commit = (enum fake_fault)fault;
        CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
        CHECK_INT(s->fake.n_commits, 2);
        CHECK_STR(fake_firestore_text(&s->fake, "inpaint.attempts"), "1");
        session_scene_close(s);
    }
}

static void somebody_claims(struct fake_firestore *f, void *ctx)
{
    fake_firestore_put(f, "{" STATUS("processing") "," INPAINT(MESSAGE("m1") "," LEASE("other", ALIVE)) "}");
    (void)ctx;
}

TEST(session__gives_way_when_another_worker_claims_first)
{
    struct session_scene *s = session_scene_open("m1");

    fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
    s->fake.before_commit = somebody_claims;
    CHECK_INT(session_scene_claim(s), OUTCOME_BUSY);
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.lease.id"), "other");
    session_scene_close(s);
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
    struct session_scene *s = ctx;
    static char fields[600];

    (void)snprintf(fields, sizeof fields, "{" STATUS("processing") ",\"note\":{\"stringValue\":\"hi\"}," INPAINT(
                   MESSAGE("m1") "," ATTEMPTS("1") ",\"lease\":{\"mapValue\":{\"fields\":{\"id\":{\"stringValue\":\"%s\"}}}}") "}",
                   s->session.lease_id);
    fake_firestore_put(f, fields);
}

TEST(session__completes_although_the_app_touched_other_fields)
{
    struct session_scene *s = session_scene_open("m1");
    struct document_report r = report();

    fake_firestore_put(&s->fake, "{" STATUS("pending") ",\"errorMessage\":{\"stringValue\":\"old\"}}");
    CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
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
    session_scene_close(s);
}

TEST(session__writes_warnings_as_a_list_and_removes_those_of_before)
{
    for (int n = 0; n <= 2; n++) {
        struct session_scene *s = session_scene_open("m1");
        struct document_report r = report();
        const struct json *warnings, *list;

        r.warnings[0] = "ONE";
        r.warnings[1] = "TWO";
        r.n_warnings = n;
        fake_firestore_put(&s->fake, "{" INPAINT("\"warnings\":{\"stringValue\":\"old\"}") "}");
        CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
        CHECK_OK(session_complete(&s->session, &r, &s->budget, &s->err), s->err);
        warnings = json_get(json_get(json_get(json_get(s->fake.fields, "inpaint"), "mapValue"), "fields"), "warnings");
        CHECK(!!warnings == (n > 0));
        list = json_get(json_get(warnings, "arrayValue"), "values");
        CHECK_INT(json_count(list), n);
        CHECK(n < 2 || !strcmp(json_string(json_get(json_at(list, 1), "stringValue")), "TWO"));
        session_scene_close(s);
    }
}

TEST(session__settles_a_lost_answer_of_its_last_write_by_reading)
{
    struct session_scene *s = session_scene_open("m1");
    struct document_report r = report();

    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
    s->fake.next_commit = FAKE_LOSE_ANSWER;
    CHECK_OK(session_fail(&s->session, &r, &s->budget, &s->err), s->err);
    CHECK_INT(s->fake.n_commits, 2);
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "failed");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.errorCode"), "INPUT_CORRUPT");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.retryable"), "false");
    session_scene_close(s);
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
        struct session_scene *s = session_scene_open("m1");
        struct document_report r = report();

        fake_firestore_put(&s->fake, "{}");
        CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
        put_before_commit = cases[i].document;
        s->fake.before_commit = the_document_changes;
        s->fake.next_commit = cases[i].fault;
        CHECK_INT(session_fail(&s->session, &r, &s->budget, NULL), cases[i].want);
        CHECK_INT(s->fake.n_commits, 2);
        session_scene_close(s);
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
    struct session_scene *s = session_scene_open("m1");
    struct document_report r = report();

    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
    s->fake.before_commit = the_first_try_lands_late;
    s->fake.next_commit = FAKE_LOSE_REQUEST;
    CHECK_OK(session_fail(&s->session, &r, &s->budget, &s->err), s->err);
    CHECK_INT(s->fake.n_commits, 3);
    session_scene_close(s);
}

static void the_app_cancels(struct fake_firestore *f, void *ctx)
{
    const struct session_scene *s = ctx;
    static char fields[600];

    (void)snprintf(fields, sizeof fields, "{" STATUS("cancelled") "," INPAINT(MESSAGE("m1") ",\"lease\":{\"mapValue\":{\"fields\":{"
                   "\"id\":{\"stringValue\":\"%s\"}}}}") "}", s->session.lease_id);
    fake_firestore_put(f, fields);
}

TEST(session__a_session_that_the_app_cancels_is_not_ours_any_more)
{
    struct session_scene *s = session_scene_open("m1");
    struct document_report r = report();

    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
    the_app_cancels(&s->fake, s);
    CHECK_INT(session_progress(&s->session, STAGE_DENOISE, 50, 3, &s->budget, NULL), ERR_CONFLICT);
    CHECK_INT(session_complete(&s->session, &r, &s->budget, NULL), ERR_CONFLICT);
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "cancelled");
    session_scene_close(s);
}

TEST(session__writes_nothing_once_the_lease_is_somebody_elses_or_the_document_is_gone)
{
    struct session_scene *s = session_scene_open("m1");
    struct document_report r = report();

    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
    somebody_claims(&s->fake, NULL);
    CHECK_INT(session_progress(&s->session, STAGE_DENOISE, 50, 3, &s->budget, NULL), ERR_CONFLICT);
    CHECK_INT(session_complete(&s->session, &r, &s->budget, NULL), ERR_CONFLICT);
    CHECK_INT(session_release(&s->session, &s->budget, NULL), ERR_CONFLICT);
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.lease.id"), "other");
    fake_firestore_put(&s->fake, NULL);
    CHECK_INT(session_progress(&s->session, STAGE_DENOISE, 50, 3, &s->budget, NULL), ERR_NOT_FOUND);
    CHECK_INT(session_complete(&s->session, &r, &s->budget, NULL), ERR_NOT_FOUND);
    CHECK(!s->fake.fields);
    session_scene_close(s);
}

TEST(session__reports_progress_and_gives_the_claim_back)
{
    struct session_scene *s = session_scene_open("m1");

    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
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
    session_scene_close(s);
}

TEST(session__gives_back_its_own_claim_and_no_other)
{
    struct session_scene *s = session_scene_open("m1");

    fake_firestore_put(&s->fake, "{" STATUS("processing") "," INPAINT(MESSAGE("m1") "," LEASE("x", ALIVE)) "}");
    CHECK_INT(session_scene_claim(s), OUTCOME_BUSY);
    CHECK_OK(session_unclaim(&s->session, &s->budget, &s->err), s->err);
    CHECK_INT(s->fake.n_gets, 1);
    fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
    CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
    CHECK_OK(session_unclaim(&s->session, &s->budget, &s->err), s->err);
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "pending");
    CHECK(!fake_firestore_text(&s->fake, "inpaint.lease"));
    somebody_claims(&s->fake, NULL);
    CHECK_OK(session_unclaim(&s->session, &s->budget, &s->err), s->err);
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.lease.id"), "other");
    session_scene_close(s);
}

TEST(session__is_given_back_from_outside_unless_a_write_is_under_way)
{
    struct session_scene *s = session_scene_open("m1");

    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
    CHECK(!pthread_mutex_lock(&s->session.lock));
    CHECK_INT(session_release_from_outside(&s->session, &s->budget, NULL), ERR_UNAVAILABLE);
    CHECK(!pthread_mutex_unlock(&s->session.lock));
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "processing");
    CHECK_OK(session_release_from_outside(&s->session, &s->budget, &s->err), s->err);
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "pending");
    session_scene_close(s);
}

/* Firestore's form of the two fields -> what is read. */
TEST(session__reads_what_the_app_says_of_its_mask)
{
    static const struct { const char *fields; enum mask_kind kind; enum mask_orientation orientation; } cases[] = {
        { "", MASK_KIND_ANY, MASK_ORIENTATION_ANY },
        { "\"maskKind\":{\"stringValue\":\"alpha-hole\"}", MASK_KIND_ALPHA_HOLE, MASK_ORIENTATION_ANY },
        { "\"maskKind\":{\"stringValue\":\"cut-out\"},\"maskOrientation\":{\"stringValue\":\"stored\"}", MASK_KIND_CUT_OUT, MASK_STORED },
        { "\"maskOrientation\":{\"stringValue\":\"displayed\"}", MASK_KIND_ANY, MASK_DISPLAYED },
        { "\"maskKind\":{\"nullValue\":null},\"maskOrientation\":{\"stringValue\":\"\"}", MASK_KIND_ANY, MASK_ORIENTATION_ANY },
        { "\"maskKind\":{\"stringValue\":\"White\"},\"maskOrientation\":{\"stringValue\":\"turned\"}", MASK_KIND_UNKNOWN, MASK_ORIENTATION_UNKNOWN },
        { "\"maskKind\":{\"integerValue\":\"1\"},\"maskOrientation\":{\"booleanValue\":true}", MASK_KIND_UNKNOWN, MASK_ORIENTATION_UNKNOWN },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct session_scene *s = session_scene_open("m1");
        char document[256];

        (void)snprintf(document, sizeof document, "{%s}", cases[i].fields);
        fake_firestore_put(&s->fake, document);
        CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
        CHECK_INT(s->session.mask_wishes.kind, cases[i].kind);
        CHECK_INT(s->session.mask_wishes.orientation, cases[i].orientation);
        session_scene_close(s);
    }
}

TEST(session__reads_prompt_and_labels_of_either_form)
{
    struct session_scene *s = session_scene_open("m1");

    fake_firestore_put(&s->fake, "{\"prompt\":{\"stringValue\":\"a lawn\"},\"sceneLabels\":{\"arrayValue\":{\"values\":["
                                 "{\"stringValue\":\"grass\"},{\"integerValue\":\"1\"},{\"stringValue\":\"fence\"}]}}}");
    CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
    CHECK_STR(s->wishes.prompt, "a lawn");
    CHECK_INT(s->wishes.n_labels, 2);
    CHECK_STR(s->wishes.labels[1], "fence");
    session_scene_close(s);
    s = session_scene_open("m1");
    fake_firestore_put(&s->fake, "{\"prompt\":{\"integerValue\":\"1\"},\"sceneLabels\":{\"mapValue\":{\"fields\":{"
                                 "\"surface\":{\"stringValue\":\"sand\"}}}}}");
    CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
    CHECK(s->wishes.prompt_invalid && !s->wishes.prompt);
    CHECK_INT(s->wishes.n_labels, 1);
    CHECK_STR(s->wishes.labels[0], "sand");
    session_scene_close(s);
}
