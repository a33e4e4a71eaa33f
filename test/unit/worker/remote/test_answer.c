#include "worker/remote/answer.h"

#include <stdio.h>
#include <string.h>

#include "test/support/check.h"

static struct answer judge(int status, const char *body, const char *challenge)
{
    struct http_reply r = { .status = status, .body = span_of(body) };

    if (challenge)
        r.headers[r.n_headers++] = (struct http_header){ "www-authenticate", challenge };
    return answer_judge(&r);
}

TEST(answer__statuses_that_pubsub_takes_as_an_ack)
{
    static const int acks[] = { 102, 200, 201, 202, 204 };
    int n = 0;

    for (int status = 100; status < 600; status++)
        n += answer_is_ack(status);
    CHECK_INT(n, 5);
    for (int i = 0; i < 5; i++)
        CHECK(answer_is_ack(acks[i]));
}

TEST(answer__empty_bodies_are_the_workers)
{
    static const int statuses[] = { 204, 400, 401, 403, 404, 405, 408, 409, 429, 500, 503 };

    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        struct answer a = judge(statuses[i], "", NULL);

        if (a.by != ANSWER_BY_WORKER || strstr(a.words, "is the URL right?"))
            test_fail(__FILE__, __LINE__, "%d: %d, %s", statuses[i], (int)a.by, a.words);
    }
    CHECK_INT(judge(401, "", "Bearer error=\"invalid_token\"").by, ANSWER_BY_WORKER);
    CHECK_INT(judge(503, "{\"status\":\"loading\"}", NULL).by, ANSWER_BY_WORKER);
    CHECK(strstr(judge(202, "", NULL).words, "it answers 204 alone"));
    CHECK(strstr(judge(418, "", NULL).words, "is the URL right?"));
}

/* The pages as they come from Cloud Run and from Google's front end, cut to what matters. */
TEST(answer__pages_of_others_are_told_apart)
{
    static const struct {
        int status;
        const char *body, *challenge;
        enum answer_by by;
        const char *words;
    } cases[] = {
        { 403, "<html><head><title>403 Forbidden</title></head><body><h1>Error: Forbidden</h1><h2>Your client does not have "
               "permission to get URL <code>/inpaint</code> from this server.</h2></body></html>",
          NULL, ANSWER_BY_IAM, "roles/run.invoker" },
        { 401, "<html><head><title>401 Unauthorized</title></head><h2>Your client does not have permission to the requested "
               "URL <code>/inpaint</code>.</h2></html>",
          "Bearer error=\"invalid_token\" error_description=\"The access token could not be verified\"", ANSWER_BY_IAM, "audience" },
        { 401, "", "Bearer error=\"invalid_token\" error_description=\"The access token could not be verified\"", ANSWER_BY_IAM,
          "audience" },
        { 403, "<html><h1>Error: Forbidden</h1><h2>Access is forbidden.</h2></html>", NULL, ANSWER_BY_CLOUD_RUN, "--ingress" },
        { 429, "Rate exceeded.", NULL, ANSWER_BY_CLOUD_RUN, "--max-instances" },
        { 500, "The request could not be processed", NULL, ANSWER_BY_CLOUD_RUN, "start an instance" },
        { 503, "Service Unavailable", NULL, ANSWER_BY_CLOUD_RUN, "revision's log" },
        { 504, "upstream request timeout", NULL, ANSWER_BY_CLOUD_RUN, "timeout" },
        { 404, "<html><title>Error 404 (Not Found)!!1</title><p>The requested URL <code>/</code> was not found on this "
               "server.</html>",
          NULL, ANSWER_BY_FRONT_END, "is the URL right" },
        { 502, "<html><head>", NULL, ANSWER_BY_OTHER, "a page of HTML" },
        { 200, "<HTML>", NULL, ANSWER_BY_OTHER, "a page of HTML" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer a = judge(cases[i].status, cases[i].body, cases[i].challenge);

        if (a.by != cases[i].by || !strstr(a.words, cases[i].words))
            test_fail(__FILE__, __LINE__, "case %zu: %d, %s", i, (int)a.by, a.words);
    }
}
