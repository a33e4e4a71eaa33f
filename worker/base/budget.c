#include "worker/base/budget.h"

enum { SLEEP_SLICE_MS = 100 }; /* how late a cancellation may be noticed while waiting */

int64_t budget_left_ms(const struct budget *b)
{
    int64_t left = b->deadline_mono_ms - sys_mono_ms(b->sys);

    return left > 0 ? left : 0;
}

bool budget_cancelled(const struct budget *b)
{
    return b && b->cancelled && b->cancelled(b->cancel_ctx);
}

static int64_t jitter_ms(const struct sys *sys, const struct retry_policy *p, int retry)
{
    int64_t most = p->base_ms;

    for (int i = 0; i < retry && most < p->cap_ms; i++)
        most *= 2;
    if (most > p->cap_ms)
        most = p->cap_ms;
    return (int64_t)sys_random_below(sys, (uint64_t)most + 1);
}

static enum err_code sleep_until(const struct budget *b, int64_t until_mono_ms, int n, struct err *err)
{
    for (;;) {
        int64_t left = until_mono_ms - sys_mono_ms(b->sys);

        if (budget_cancelled(b))
            return err_set(err, ERR_CANCELLED, "cancelled while waiting for try %d", n + 1);
        if (left <= 0)
            return ERR_OK;
        sys_sleep_ms(b->sys, left < SLEEP_SLICE_MS ? left : SLEEP_SLICE_MS);
    }
}

enum err_code retry_wait(const struct budget *b, const struct retry_policy *p, int n, int64_t least_ms, struct err *err)
{
    int64_t wait = jitter_ms(b->sys, p, n - 1);

    if (wait < least_ms)
        wait = least_ms;
    if (budget_left_ms(b) < wait + p->call_timeout_ms)
        return err_set(err, ERR_DEADLINE, "no time for try %d: %lld ms are left", n + 1, (long long)budget_left_ms(b));
    if (b->retries)
        ++*b->retries;
    return sleep_until(b, sys_mono_ms(b->sys) + wait, n, err);
}
