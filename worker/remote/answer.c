#include "worker/remote/answer.h"

#include <stdio.h>
#include <string.h>

#include "worker/job/outcome.h"

bool answer_is_ack(int status)
{
    return status == 102 || status == 200 || status == 201 || status == 202 || status == 204;
}

/* ---- the worker's own ---- */

static const char *meaning(int status)
{
    static const struct {
        int status;
        const char *words;
    } table[] = {
        { 204, "acknowledged: it is done, was done before, or can never be done; the worker's log says which" },
        { 400, "refused: it can never be a job, and POISON=nack leaves it to the dead-letter policy" },
        { 401, "refused: there is no token, or it is not valid; --token-file or --audience gives one" },
        { 403, "refused: the token is good, but not of an account that PUSH_SERVICE_ACCOUNT names" },
        { 404, "not taken: there is no such session yet, or the path of the URL is neither / nor /inpaint" },
        { 405, "not taken: the URL is not one for pushes" },
        { 408, "not taken: the body took too long" },
        { 409, "not taken: the message or its session is being worked on at this moment" },
        { 429, "not taken: too many pushes wait already; send it again later" },
        { 500, "given back: the worker has failed; its log says why" },
        { 503, "not taken, or given back: the worker loads its model, is stopping, or lacks a service that it needs; "
               "send it again later" },
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].status == status)
            return table[i].words;
    return answer_is_ack(status) ? "acknowledged, but not by this worker: it answers 204 alone"
                                 : "not an answer of this worker: is the URL right?";
}

/* ---- those before it ---- */

/* The first row that fits counts; status 0 is any. */
static const struct {
    int status;
    const char *phrase; /* a part of the body */
    struct answer answer;
} pages[] = {
    { 401,
      "Your client does not have permission",
      { ANSWER_BY_IAM, "Cloud Run's IAM check does not accept the token: its audience must be the service's URL or a "
                       "custom audience, and it must not be expired" } },
    { 403,
      "Your client does not have permission",
      { ANSWER_BY_IAM, "Cloud Run's IAM check refuses the caller: give its account roles/run.invoker, or, with "
                       "PUSH_AUTH=oidc, switch the check off with --no-invoker-iam-check" } },
    { 403,
      "Access is forbidden",
      { ANSWER_BY_CLOUD_RUN, "the service's ingress setting lets no such caller in: gcloud run services update SERVICE "
                             "--ingress=all" } },
    { 429,
      "Rate exceeded",
      { ANSWER_BY_CLOUD_RUN, "Cloud Run has no free instance (Rate exceeded): try later, or "
                             "raise --max-instances" } },
    { 500,
      "could not be processed",
      { ANSWER_BY_CLOUD_RUN, "Cloud Run could not start an instance: look at the revision's log" } },
    { 503,
      "Service Unavailable",
      { ANSWER_BY_CLOUD_RUN, "Cloud Run's instance did not start or did not answer: look at the revision's log" } },
    { 504, "", { ANSWER_BY_CLOUD_RUN, "the request took longer than the service's timeout" } },
    { 404,
      "was not found on this server",
      { ANSWER_BY_FRONT_END, "Google's front end knows no such service or path: is the URL right, and does the "
                             "service's ingress setting let you in?" } },
    { 0, "<html", { ANSWER_BY_OTHER, "a page of HTML, which this worker never sends: is the URL right?" } },
    { 0, "<HTML", { ANSWER_BY_OTHER, "a page of HTML, which this worker never sends: is the URL right?" } },
};

static bool has(struct span text, const char *phrase)
{
    return !*phrase || (text.len && memmem(text.ptr, text.len, phrase, strlen(phrase)));
}

/* Of the IAM check there are answers without a page, which a header gives away: the worker's says nothing more than
 * invalid_token. */
static bool is_of_iam(const struct http_reply *r)
{
    const char *challenge = http_reply_header(r, "www-authenticate");

    return (r->status == 401 || r->status == 403) && challenge && strstr(challenge, "error_description=");
}

struct answer answer_judge(const struct http_reply *r)
{
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if ((!pages[i].status || pages[i].status == r->status) && has(r->body, pages[i].phrase))
            return pages[i].answer;
    if (is_of_iam(r))
        return pages[r->status == 401 ? 0 : 1].answer;
    return (struct answer){ ANSWER_BY_WORKER, meaning(r->status) };
}

void answer_print_outcomes(int status)
{
    const char *last = NULL;

    for (int i = OUTCOME_OPEN + 1; i < OUTCOMES; i++) {
        const struct outcome_info *o = outcome_info((enum outcome)i);

        if (o->http_status != status || !o->name || (last && strcmp(o->name, last) == 0))
            continue;
        (void)printf("%s%s", last ? ", " : " (its outcome is one of: ", o->name);
        last = o->name;
    }
    if (last)
        (void)printf(")");
}
