#include <string.h>

#include "worker/base/json.h"
#include "worker/google/access.h"
#include "worker/google/access_parts.h"

#define PERMISSION "pubsub.topics.publish"
#define ROLE       "roles/pubsub.publisher"

/* Of a topic that does not exist nothing is granted, too, so that one remedy has to serve both. */
static void topic_is_denied(const struct access *x, const struct publisher *p, const struct access_reply *r,
                            const struct budget *budget, struct access_answer *ret)
{
    char account[GAUTH_ACCOUNT_SIZE];

    access_reason(ret, ACCESS_REFUSED,
                  "the topic %s of %s does not exist or refuses us: missing " PERMISSION ", which the role " ROLE
                  " has%s%.120s",
                  p->topic, p->setting, *r->message ? ": " : "", r->message);
    access_remedy(ret,
                  "gcloud pubsub topics add-iam-policy-binding %s --member=serviceAccount:%s --role=" ROLE
                  " (where it is missing: gcloud pubsub topics create %s)",
                  p->topic, access_account(x, budget, account), p->topic);
}

/* Whether this is an answer to the question, and a no. Google leaves the list out where it is empty. */
static bool says_no(const struct json *root)
{
    const struct json *list = json_get(root, "permissions");
    const char *first = json_string(json_first(list));

    if (json_type(list) != JSON_T_ARRAY)
        return json_type(root) == JSON_T_OBJECT && json_count(root) == 0;
    return !first || strcmp(first, PERMISSION) != 0;
}

static enum err_code ask(const struct access *x, const struct publisher *p, const struct budget *budget,
                         struct arena *a, struct access_reply *ret, struct err *err)
{
    struct access_question q = { .method = "POST",
                                 .service = GAUTH_PUBSUB,
                                 .body = SPAN("{\"permissions\":[\"" PERMISSION "\"]}") };
    char *url;

    TRY(arena_printf(a, &url, err, "%s:testIamPermissions", p->base));
    q.url = url;
    access_ask(x, &q, budget, a, ret);
    return ERR_OK;
}

/* The emulator has no permissions, and a server that does not know the question may yet take messages. */
void access_topic(const struct access *x, const struct publisher *p, const struct budget *budget, struct arena *a,
                  struct access_answer *ret)
{
    struct access_reply r;
    struct err err = { 0 };
    enum err_code rc;

    *ret = (struct access_answer){ .verdict = ACCESS_GRANTED };
    if (p->emulator)
        return;
    rc = ask(x, p, budget, a, &r, &err);
    if (rc)
        access_judge_failure(rc, err.msg, ret);
    else if (!access_judge_common(x, "the topic's service", &r, budget, ret) &&
             (r.status == 403 || (r.status == 200 && says_no(r.root))))
        topic_is_denied(x, p, &r, budget, ret);
}
