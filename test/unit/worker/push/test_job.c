#include <stdio.h>
#include <string.h>

#include "test/support/check.h"
#include "worker/push/job.h"

TEST(job__names_everything_that_belongs_to_a_session)
{
    struct job job;
    struct err err = { 0 };

    CHECK_OK(job_parse(SPAN("{\"userId\":\"u_1\",\"sessionId\":\"S-2\",\"more\":{\"x\":[1]}}"), &job, &err), err);
    CHECK_STR(job.user_id, "u_1");
    CHECK_STR(job.session_id, "S-2");
    CHECK_STR(job.document, "users/u_1/sessions/S-2");
    CHECK_STR(job.original, "users/u_1/sessions/S-2/original.jpg");
    CHECK_STR(job.mask_auto, "users/u_1/sessions/S-2/mask_auto.png");
    CHECK_STR(job.edited, "users/u_1/sessions/S-2/edited.jpg");
    CHECK_STR(job.preview, "users/u_1/sessions/S-2/preview.jpg");
}

/* n times `letter` as the user's id, m times as the session's; returns what job_parse does. */
static enum err_code parse_repeated(const char *letter, int n, int m, struct job *job, struct err *err)
{
    char text[8192];
    size_t at = 0;

    at += (size_t)snprintf(text, sizeof text, "{\"userId\":\"");
    for (int i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s", letter);
    at += (size_t)snprintf(text + at, sizeof text - at, "\",\"sessionId\":\"");
    for (int i = 0; i < m; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s", letter);
    (void)snprintf(text + at, sizeof text - at, "\"}");
    return job_parse(span_of(text), job, err);
}

TEST(job__takes_ids_of_128_characters_whatever_their_length_in_bytes)
{
    struct job job;
    struct err err = { 0 };

    CHECK_OK(parse_repeated("x", 128, 128, &job, &err), err);
    CHECK_INT(strlen(job.mask_auto), 6 + 128 + 10 + 128 + strlen("/mask_auto.png"));
    CHECK_INT(parse_repeated("x", 129, 1, &job, NULL), ERR_INVALID);
    CHECK_INT(parse_repeated("x", 1, 129, &job, NULL), ERR_INVALID);
    CHECK_OK(parse_repeated("\xc3\xa9", 128, 128, &job, &err), err);
    CHECK_OK(parse_repeated("\xe4\xb8\xad", 128, 1, &job, &err), err);
    CHECK_OK(parse_repeated("\xf0\x9f\x98\x80", 128, 1, &job, &err), err);
    CHECK_INT(strlen(job.user_id), 512);
    CHECK_INT(parse_repeated("\xf0\x9f\x98\x80", 129, 1, &job, NULL), ERR_INVALID);
}

TEST(job__refuses_ids_whose_objects_would_have_names_that_storage_refuses)
{
    struct job job;
    struct err err = { 0 };

    /* 6 + 10 + 14 bytes stand around the ids in the longest name */
    CHECK_OK(parse_repeated("\xf0\x9f\x98\x80", 124, 124, &job, &err), err);
    CHECK_INT(strlen(job.mask_auto), 30 + 2 * 496);
    CHECK_INT(parse_repeated("\xf0\x9f\x98\x80", 125, 124, &job, &err), ERR_INVALID);
    CHECK(strstr(err.msg, "have 996 bytes together") && strstr(err.msg, "1024"));
    CHECK_INT(parse_repeated("\xf0\x9f\x98\x80", 128, 128, &job, NULL), ERR_INVALID);
}

static const char *const good_ids[] = {
    "a|b@c.d:\xc3\xa9\xe4\xb8\xad",
    "-",
    "___",
    "__x",
    "x__",
    "a b",
    " a",
    "a+b",
    "a`b",
    "a'b&c=d;e,f!g~h(i)j{k}l<m>n^o$p",
    "...",
    "google-oauth2|1234",
    "user@example.com",
    "\xd8\xa7\xd9\x84\xd8\xb9\xd8\xb1\xd8\xa8\xd9\x8a\xd8\xa9",
    "\xe2\x80\xa8",
    "e\xcc\x81",
};

static const char *const bad_ids[] = {
    "", ".", "..", "../x", "a/b", "a\\\\b", "a%2Fb", "50%", "a#b", "a?b", "a*b", "a[b", "a]b", "__x__", "____",
    "a\\nb", "a\\u0000b", "a\\u007fb", "a\\u0085b", "a\xc2\x80" "b", "a\xc2\x9f", "a\x7f", "\\u001b[31m", "\xc3", "a\xff",
    "\\ud800", "\xed\xa0\x80",
};

static enum err_code parse_ids(const char *user, const char *session, struct job *job)
{
    char text[512];

    (void)snprintf(text, sizeof text, "{\"userId\":\"%s\",\"sessionId\":\"%s\"}", user, session);
    return job_parse(span_of(text), job, NULL);
}

TEST(job__takes_any_legal_id_as_it_is) /* P20 of PROTOCOL.md 9.2 */
{
    struct job job;

    for (size_t i = 0; i < sizeof good_ids / sizeof *good_ids; i++) {
        CHECK_INT(parse_ids(good_ids[i], "s", &job), ERR_OK);
        CHECK_STR(job.user_id, good_ids[i]);
        CHECK_INT(parse_ids("u", good_ids[i], &job), ERR_OK);
        CHECK_STR(job.session_id, good_ids[i]);
    }
    CHECK_INT(parse_ids("\\u00e9", "\\ud83d\\ude00", &job), ERR_OK);
    CHECK_STR(job.document, "users/\xc3\xa9/sessions/\xf0\x9f\x98\x80");
}

TEST(job__refuses_ids_that_are_more_than_one_segment_of_a_path) /* P20 */
{
    struct job job;

    for (size_t i = 0; i < sizeof bad_ids / sizeof *bad_ids; i++) {
        if (parse_ids(bad_ids[i], "s", &job) != ERR_INVALID || parse_ids("u", bad_ids[i], &job) != ERR_INVALID)
            test_fail(__FILE__, __LINE__, "'%s' is taken for an id", bad_ids[i]);
    }
}

TEST(job__takes_either_spelling_and_integers_as_their_digits)
{
    static const char *const good[] = {
        "{\"userId\":\"12\",\"sessionId\":\"s\"}",
        "{\"user_id\":\"12\",\"session_id\":\"s\"}",
        "{\"userId\":\"12\",\"session_id\":\"s\"}",
        "{\"userId\":12,\"sessionId\":\"s\"}",
        "{\"user_id\":12,\"userId\":\"12\",\"session_id\":\"s\",\"sessionId\":\"s\"}",
    };
    static const char *const bad[] = {
        "{\"userId\":\"12\",\"user_id\":\"13\",\"sessionId\":\"s\"}",
        "{\"userId\":\"12\",\"user_id\":null,\"sessionId\":\"s\"}",
        "{\"userId\":\"u\",\"sessionId\":\"s\",\"session_id\":\"S\"}",
        "{\"userId\":-1,\"sessionId\":\"s\"}",
        "{\"userId\":-0,\"sessionId\":\"s\"}",
        "{\"userId\":1.0,\"sessionId\":\"s\"}",
        "{\"userId\":1e3,\"sessionId\":\"s\"}",
        "{\"userId\":true,\"sessionId\":\"s\"}",
        "{\"userId\":[\"u\"],\"sessionId\":\"s\"}",
    };
    struct job job;
    struct err err = { 0 };

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        CHECK_OK(job_parse(span_of(good[i]), &job, &err), err);
        CHECK_STR(job.document, "users/12/sessions/s");
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(job_parse(span_of(bad[i]), &job, NULL), ERR_INVALID);
    CHECK_OK(job_parse(SPAN("{\"userId\":123456789012345678901234567890,\"sessionId\":9007199254740993}"), &job, &err), err);
    CHECK_STR(job.document, "users/123456789012345678901234567890/sessions/9007199254740993");
}

TEST(job__refuses_what_is_not_its_schema)
{
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "{}",
        "\"u\"",
        "{\"hello\":\"world\"}",
        "{\"userId\":\"u\"}",
        "{\"sessionId\":\"s\"}",
        "{\"userId\":\"u\",\"sessionId\":null}",
        "{\"userid\":\"u\",\"sessionId\":\"s\"}",
        "{\"userId\":\"u\",\"userId\":\"v\",\"sessionId\":\"s\"}",
        "{\"userId\":\"u\",\"sessionId\":\"s\"} x",
    };
    struct job job;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(job_parse(span_of(bad[i]), &job, NULL), ERR_INVALID);
    CHECK_INT(job_parse((struct span){ "x", JOB_DATA_MAX + 1 }, &job, NULL), ERR_TOO_LARGE);
}
