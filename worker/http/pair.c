#include "worker/http/pair.h"

#include <pthread.h>

struct side {
    const struct pair_call *call;
    const struct budget *caller_budget;
    struct budget budget; /* a copy of the caller's, with its own count of retries; `other_failed` cancels it, too */
    const _Atomic bool *other_failed;
    int retries;
    struct err err;
    enum err_code rc;
};

static bool must_stop(void *ctx)
{
    const struct side *s = ctx;

    return budget_cancelled(s->caller_budget) || *s->other_failed;
}

static void *run(void *arg)
{
    struct side *s = arg;

    s->budget = *s->caller_budget;
    s->budget.cancelled = must_stop;
    s->budget.cancel_ctx = s;
    s->budget.retries = &s->retries;
    s->rc = s->call->fn(s->call->ctx, &s->budget, s->call->arena, &s->err);
    return NULL;
}

enum err_code pair_run(const struct pair_call calls[2], const struct budget *budget, struct err *err)
{
    static const _Atomic bool never = false;
    _Atomic bool first_failed = false;
    struct side sides[] = { { .call = &calls[0], .caller_budget = budget, .other_failed = &never },
                            { .call = &calls[1], .caller_budget = budget, .other_failed = &first_failed } };
    pthread_t thread;
    bool in_thread = !pthread_create(&thread, NULL, run, &sides[1]);

    (void)run(&sides[0]);
    first_failed = sides[0].rc != ERR_OK;
    if (in_thread)
        (void)pthread_join(thread, NULL);
    else if (!first_failed)
        (void)run(&sides[1]);
    if (budget->retries)
        *budget->retries += sides[0].retries + sides[1].retries;
    for (int i = 0; i < 2; i++)
        if (sides[i].rc)
            return err_set(err, sides[i].rc, "%s", sides[i].err.msg);
    return ERR_OK;
}
