/* Whose clock counts, and what ends without a run. */
#include <stdio.h>
#include <string.h>

#include "test/support/check.h"
#include "test/support/fake/session_scene.h"
#include "worker/base/rfc3339.h"

/* ---- whose clock ---- */

enum { HOUR_S = 3600 };

/* The server is so many seconds ahead of this worker. */
static int64_t server_ahead_s;
static int64_t server_wall(void *c) { return sys_wall_us(&((struct fake_sys *)c)->sys) + server_ahead_s * 1000000; }

static struct session_scene *open_scene_with_clocks(int64_t ahead_s)
{
    struct session_scene *s = session_scene_open("m1");

    server_ahead_s = ahead_s;
    s->fake.now_us = server_wall;
    return s;
}

/* A live lease of another worker, taken so long ago by the server's clock, with this much of it left. */
static void put_lease(struct session_scene *s, const char *message, int64_t taken_s_ago, int64_t left_s)
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
        struct session_scene *s = open_scene_with_clocks(ahead_s[i]);
        char until[RFC3339_SIZE];

        put_lease(s, "m1", 60, 300);
        CHECK_INT(session_scene_claim(s), OUTCOME_BUSY);
        CHECK_OK(session_screen(&s->session, &s->budget, &s->outcome, &s->err), s->err);
        CHECK_INT(s->outcome, OUTCOME_BUSY);
        CHECK_INT(s->fake.n_commits, 0);
        put_lease(s, "m1", 361, -1);
        CHECK_OK(session_screen(&s->session, &s->budget, &s->outcome, &s->err), s->err);
        CHECK_INT(s->outcome, OUTCOME_OPEN);
        CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
        rfc3339_format(server_wall(&s->time) + 360 * 1000000, until);
        CHECK_STR(fake_firestore_text(&s->fake, "inpaint.lease.expiresAt"), until);
        session_scene_close(s);
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
        struct session_scene *s = open_scene_with_clocks(0);

        put_lease(s, "m0", cases[i].taken_s_ago, cases[i].left_s);
        CHECK_INT(session_scene_claim(s), cases[i].want);
        session_scene_close(s);
    }
}

TEST(session__asks_for_the_time_where_answers_have_no_date)
{
    static const int64_t ahead_s[] = { -3 * HOUR_S, 3 * HOUR_S };

    for (size_t i = 0; i < sizeof ahead_s / sizeof *ahead_s; i++) {
        struct session_scene *s = open_scene_with_clocks(ahead_s[i]);
        char until[RFC3339_SIZE];

        s->fake.without_date = true;
        put_lease(s, "m1", 60, 300);
        CHECK_INT(session_scene_claim(s), OUTCOME_BUSY);
        put_lease(s, "m1", 361, -1);
        CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
        rfc3339_format(server_wall(&s->time) + 360 * 1000000, until);
        CHECK_STR(fake_firestore_text(&s->fake, "inpaint.lease.expiresAt"), until);
        CHECK(!s->store.without_time);
        session_scene_close(s);
    }
}

TEST(session__without_a_date_judges_by_its_own_clock_but_never_before_the_last_change)
{
    struct session_scene *s = open_scene_with_clocks(3 * HOUR_S);
    char until[RFC3339_SIZE];

    s->fake.without_date = s->fake.without_read_time = true;
    put_lease(s, "m1", 0, 300); /* for this worker it has just been taken */
    CHECK_INT(session_scene_claim(s), OUTCOME_BUSY);
    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
    rfc3339_format(s->fake.changed_us - s->fake.changed_us % 1000000 + 360 * 1000000, until);
    CHECK(!strncmp(fake_firestore_text(&s->fake, "inpaint.lease.expiresAt"), until, 16)); /* the same minute */
    CHECK(s->store.without_time);
    session_scene_close(s);
    s = open_scene_with_clocks(-3 * HOUR_S);
    fake_firestore_put(&s->fake, "{}");
    CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
    CHECK(!s->store.without_time);
    session_scene_close(s);
}

/* ---- what ends without a run ---- */

static void check_ended(struct session_scene *s, const char *code, const char *attempts)
{
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "failed");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.errorCode"), code);
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.messageId"), "m1");
    CHECK_STR(fake_firestore_text(&s->fake, "inpaint.attempts"), attempts);
    CHECK_STR(fake_firestore_text(&s->fake, "cost"), "0");
    CHECK(!fake_firestore_text(&s->fake, "inpaint.lease") && !fake_firestore_text(&s->fake, "inpaint.etaSeconds"));
    s->session.ended = OUTCOME_OPEN; /* as for the next delivery */
    CHECK_INT(session_scene_claim(s), OUTCOME_DUPLICATE);
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
        struct session_scene *s = session_scene_open("m1");
        static char inpaint[300];

        fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
        (void)snprintf(inpaint, sizeof inpaint, INPAINT(MESSAGE("m1") ",\"attempts\":%s") ",", cases[i].stored);
        s->fake.wild[s->fake.n_wild++] = span_of(inpaint);
        CHECK_INT(session_scene_claim(s), cases[i].want ? OUTCOME_OPEN : OUTCOME_EXHAUSTED);
        if (cases[i].want)
            CHECK_STR(fake_firestore_text(&s->fake, "inpaint.attempts"), cases[i].want);
        session_scene_close(s);
    }
}

TEST(session__an_end_whose_answer_was_lost_is_still_that_end)
{
    for (int by_screen = 0; by_screen < 2; by_screen++) {
        struct session_scene *s = session_scene_open("m1");

        fake_firestore_put(&s->fake, "{" STATUS("pending") "," INPAINT(MESSAGE("m1") "," ATTEMPTS("5") ",\"etaSeconds\":{\"doubleValue\":3}") "}");
        s->fake.next_commit = FAKE_LOSE_ANSWER;
        if (by_screen)
            CHECK_OK(session_screen(&s->session, &s->budget, &s->outcome, &s->err), s->err);
        CHECK_INT(by_screen ? s->outcome : session_scene_claim(s), OUTCOME_EXHAUSTED);
        CHECK_INT(s->fake.n_commits, 1);
        check_ended(s, "ATTEMPTS_EXHAUSTED", "5");
        session_scene_close(s);
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
        struct session_scene *s = session_scene_open("m1");

        fake_firestore_put(&s->fake, cases[i / 2].fields);
        s->fake.wild[s->fake.n_wild++] = span_of(i % 2 ? deep : too_large(large, "prompt"));
        CHECK_INT(session_scene_claim(s), cases[i / 2].want);
        CHECK_INT(s->fake.n_commits, cases[i / 2].attempts != NULL);
        if (cases[i / 2].attempts)
            check_ended(s, "SESSION_UNREADABLE", cases[i / 2].attempts);
        session_scene_close(s);
    }
}

TEST(session__not_even_its_own_fields_have_to_be_readable)
{
    static const char *const members[] = { "inpaint", "processingStatus", "prompt" };
    static char large[FIRESTORE_REPLY_MAX + 100];

    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        struct session_scene *s = session_scene_open("m1");

        fake_firestore_put(&s->fake, "{\"note\":{\"stringValue\":\"the app's\"}}");
        s->fake.wild[s->fake.n_wild++] = span_of(too_large(large, members[i]));
        CHECK_INT(session_scene_claim(s), OUTCOME_UNREADABLE);
        CHECK_STR(fake_firestore_text(&s->fake, "note"), "the app's");
        check_ended(s, "SESSION_UNREADABLE", "1");
        session_scene_close(s);
    }
}

/* How many of the next answers are garbled on their way. */
static int garbled;

static enum err_code garble(void *ctx, const struct http_request *req, struct arena *a, struct http_reply *ret, struct err *err)
{
    struct session_scene *s = ctx;
    enum err_code rc = http_send(&s->fake.http, req, a, ret, err);

    if (!strcmp(req->method, "GET") && garbled-- > 0)
        ret->body = SPAN("<html>");
    return rc;
}

TEST(session__an_answer_that_was_garbled_on_its_way_ends_nothing)
{
    static const struct {
        const char *document;
        enum outcome outcome;
    } cases[] = { { "{" STATUS("pending") "}", OUTCOME_OPEN },
                  { "{" STATUS("completed") "}", OUTCOME_DUPLICATE },
                  { "{" STATUS("processing") "," INPAINT(MESSAGE("m0") "," LEASE("x", ALIVE)) "}", OUTCOME_SUPERSEDED } };

    for (int n = 0; n < 7 * 3; n++) {
        struct session_scene *s = session_scene_open("m1");
        struct http http = { s, garble };
        int answers = n % 7 + 1;

        s->fs.http = &http;
        garbled = answers == 7 ? 1000 : answers;
        fake_firestore_put(&s->fake, cases[n / 7].document);
        if (answers <= 5)
            CHECK_INT(session_scene_claim(s), cases[n / 7].outcome);
        else
            CHECK_INT(session_claim(&s->session, &s->budget, &s->arena, &s->outcome, &s->wishes, NULL), ERR_PROTOCOL);
        CHECK_INT(s->fake.n_commits, answers <= 5 && n < 7);
        session_scene_close(s);
    }
}

TEST(session__a_claim_that_firestore_finds_invalid_ends_the_session)
{
    struct session_scene *s = session_scene_open("m1");

    fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
    s->fake.next_commit = FAKE_INVALID;
    CHECK_INT(session_scene_claim(s), OUTCOME_UNREADABLE);
    check_ended(s, "SESSION_UNREADABLE", "1");
    session_scene_close(s);
}

static int invalid_left;

static enum err_code finds_invalid(void *ctx, const struct http_request *req, struct arena *a, struct http_reply *ret, struct err *err)
{
    struct session_scene *s = ctx;

    if (!strcmp(req->method, "POST") && invalid_left-- > 0)
        s->fake.next_commit = FAKE_INVALID;
    return http_send(&s->fake.http, req, a, ret, err);
}

TEST(session__where_nothing_else_fits_the_status_alone_is_written)
{
    struct session_scene *s = session_scene_open("m1");
    struct http http = { s, finds_invalid };

    s->fs.http = &http;
    fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
    invalid_left = 2;
    CHECK_INT(session_scene_claim(s), OUTCOME_UNREADABLE);
    CHECK_STR(fake_firestore_text(&s->fake, "processingStatus"), "failed");
    CHECK(!fake_firestore_text(&s->fake, "inpaint"));
    fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
    invalid_left = 3;
    CHECK_INT(session_claim(&s->session, &s->budget, &s->arena, &s->outcome, &s->wishes, NULL), ERR_INVALID);
    session_scene_close(s);
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
        { "{" STATUS("processing") "," INPAINT(MESSAGE("m1") "," LEASE("x", OVER)) "}", "0", OUTCOME_EXHAUSTED },
        { "{" STATUS("processing") "," INPAINT(MESSAGE("m1") "," LEASE("x", ALIVE)) "}", NULL, OUTCOME_BUSY },
        { "{" STATUS("processing") "," INPAINT(MESSAGE("m0") "," LEASE("x", ALIVE)) "}", NULL, OUTCOME_SUPERSEDED },
        { "{" STATUS("completed") "}", NULL, OUTCOME_DUPLICATE },
        { "{" STATUS("canceled") "}", NULL, OUTCOME_DUPLICATE },
        { "{" STATUS("failed") "," INPAINT(MESSAGE("m1")) "}", NULL, OUTCOME_DUPLICATE },
        /* why a newer message has failed must stay */
        { "{" STATUS("failed") "," INPAINT(MESSAGE("m0") "," ATTEMPTS("2")) "}", NULL, OUTCOME_DUPLICATE },
        { "{" STATUS("failed") "}", NULL, OUTCOME_DUPLICATE },
        { NULL, NULL, OUTCOME_MISSING },
    };

    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        struct session_scene *s = session_scene_open("m1");

        fake_firestore_put(&s->fake, cases[i / 2].fields);
        if (i % 2)
            s->fake.wild[s->fake.n_wild++] = span_of(too_large(large, "prompt"));
        CHECK_OK(session_give_up(&s->session, &s->budget, &s->outcome, &s->err), s->err);
        CHECK_INT(s->outcome, cases[i / 2].want);
        CHECK_INT(s->fake.n_commits, cases[i / 2].attempts != NULL);
        s->fake.n_wild = 0;
        if (cases[i / 2].attempts)
            check_ended(s, "ATTEMPTS_EXHAUSTED", cases[i / 2].attempts);
        session_scene_close(s);
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
        struct session_scene *s = session_scene_open("m1");
        static char prompt[100], labels[300];

        fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
        (void)snprintf(prompt, sizeof prompt, "\"prompt\":{\"stringValue\":\"%s\"},", cases[i].prompt);
        (void)snprintf(labels, sizeof labels, "\"sceneLabels\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"%s\"},"
                       "{\"stringValue\":\"lawn\"}]}},", cases[i].label);
        s->fake.wild[s->fake.n_wild++] = span_of(prompt);
        s->fake.wild[s->fake.n_wild++] = span_of(labels);
        CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
        CHECK(s->wishes.prompt_invalid == !cases[i].is_text && !s->wishes.prompt == !cases[i].is_text);
        CHECK_INT(s->wishes.n_labels, cases[i].is_text ? 2 : 1);
        CHECK_STR(s->wishes.labels[s->wishes.n_labels - 1], "lawn");
        session_scene_close(s);
    }
}
