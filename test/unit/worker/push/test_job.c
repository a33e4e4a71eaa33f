#include <stdio.h>

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

TEST(job__takes_ids_of_128_characters)
{
    char id[JOB_ID_MAX + 1], text[512];
    struct job job;
    struct err err = { 0 };

    memset(id, 'x', JOB_ID_MAX);
    id[JOB_ID_MAX] = 0;
    (void)snprintf(text, sizeof text, "{\"userId\":\"%s\",\"sessionId\":\"%s\"}", id, id);
    CHECK_OK(job_parse(span_of(text), &job, &err), err);
    CHECK_INT(strlen(job.mask_auto), 6 + 128 + 10 + 128 + strlen("/mask_auto.png"));
    (void)snprintf(text, sizeof text, "{\"userId\":\"%sx\",\"sessionId\":\"s\"}", id);
    CHECK_INT(job_parse(span_of(text), &job, NULL), ERR_INVALID);
}

TEST(job__refuses_ids_that_would_need_escaping) /* P20 of PROTOCOL.md 9.2 */
{
    static const char *const bad[] = { "../x",     "a/b", "a%2Fb",     "__x__", "____", ".",   "..", "",
                                       "\xc3\xa9", "a b", "a\\u0000b", "a\\nb", "a+b",  "a:b", "a`b" };
    char text[256];
    struct job job;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(text, sizeof text, "{\"userId\":\"%s\",\"sessionId\":\"s\"}", bad[i]);
        CHECK_INT(job_parse(span_of(text), &job, NULL), ERR_INVALID);
        (void)snprintf(text, sizeof text, "{\"userId\":\"u\",\"sessionId\":\"%s\"}", bad[i]);
        CHECK_INT(job_parse(span_of(text), &job, NULL), ERR_INVALID);
    }
    CHECK(job_id_is_valid(SPAN("__x")) && job_id_is_valid(SPAN("___")) && job_id_is_valid(SPAN("-")));
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
        "{\"userId\":1,\"sessionId\":\"s\"}",
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
