#include "worker/http/pair.h"

#include "test/support/check.h"

/* A call with a scripted end: it waits until it is cancelled, or ends at once with `rc`. */
struct script {
    bool waits;
    enum err_code rc;
    int retries;
    bool was_stopped;
};

static enum err_code play(void *ctx, const struct budget *budget, struct arena *a, struct err *err)
{
    struct script *s = ctx;
    char *bytes;
    enum err_code rc = arena_alloc(a, 1, 1, &bytes, err);

    if (rc)
        return rc;
    *budget->retries += s->retries;
    while (s->waits && !s->was_stopped) {
        sys_sleep_ms(budget->sys, 1);
        s->was_stopped = budget_cancelled(budget);
    }
    if (s->was_stopped)
        return err_set(err, ERR_CANCELLED, "stopped");
    return s->rc ? err_set(err, s->rc, "%s", err_name(s->rc)) : ERR_OK;
}

static enum err_code run_scripts(struct script s[2], struct budget *budget, struct err *err)
{
    struct arena arenas[2];
    struct pair_call calls[2];
    enum err_code rc;

    for (int i = 0; i < 2; i++) {
        CHECK_OK(arena_init(&arenas[i], 1 << 16, err), *err);
        calls[i] = (struct pair_call){ play, &s[i], &arenas[i] };
    }
    budget->sys = &sys_real;
    budget->deadline_mono_ms = sys_mono_ms(&sys_real) + 60000;
    rc = pair_run(calls, budget, err);
    for (int i = 0; i < 2; i++)
        arena_done(&arenas[i]);
    return rc;
}

TEST(pair__counts_the_retries_of_both)
{
    struct script s[2] = { { .retries = 2 }, { .retries = 3 } };
    int retries = 1;
    struct budget budget = { .retries = &retries };
    struct err err = { 0 };

    CHECK_OK(run_scripts(s, &budget, &err), err);
    CHECK_INT(retries, 6);
}

TEST(pair__cancels_the_second_when_the_first_fails)
{
    struct script s[2] = { { .rc = ERR_NOT_FOUND }, { .waits = true } };
    struct budget budget = { 0 };
    struct err err = { 0 };

    CHECK_INT(run_scripts(s, &budget, &err), ERR_NOT_FOUND);
    CHECK_STR(err.msg, err_name(ERR_NOT_FOUND));
    CHECK(s[1].was_stopped);
}

static bool after_a_while(void *ctx)
{
    _Atomic int *calls = ctx;

    return ++*calls > 20;
}

TEST(pair__cancels_both_with_the_caller_and_neither_when_the_second_fails)
{
    _Atomic int calls = 0;
    struct script s[2] = { { .waits = true }, { .waits = true } };
    struct budget budget = { .cancelled = after_a_while, .cancel_ctx = &calls };
    struct err err = { 0 };

    CHECK_INT(run_scripts(s, &budget, &err), ERR_CANCELLED);
    CHECK(s[0].was_stopped && s[1].was_stopped);
    calls = 0;
    err = (struct err){ 0 };
    s[0] = (struct script){ .waits = true };
    s[1] = (struct script){ .rc = ERR_DENIED };
    CHECK_INT(run_scripts(s, &budget, &err), ERR_CANCELLED); /* the error of the first, which went on */
    CHECK(calls > 20);
}

TEST(pair__returns_the_error_of_the_second_when_the_first_succeeds)
{
    struct script s[2] = { { 0 }, { .rc = ERR_DENIED } };
    struct budget budget = { 0 };
    struct err err = { 0 };

    CHECK_INT(run_scripts(s, &budget, &err), ERR_DENIED);
    CHECK_STR(err.msg, err_name(ERR_DENIED));
    s[0].rc = ERR_NOT_FOUND;
    err = (struct err){ 0 };
    CHECK_INT(run_scripts(s, &budget, &err), ERR_NOT_FOUND);
}
