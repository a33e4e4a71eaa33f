/*
 * budget - the time that a chain of calls may still take, passed down so that no layer repeats the retries of the
 * layer below; and the wait between two tries, which never outlasts it.
 *
 * The wait has full jitter: before retry n (counted from 0) it is uniform in [0, min(cap, base * 2^n)], and never
 * shorter than the server asked for. Source: PROTOCOL.md 7.
 */
#ifndef WORKER_BASE_BUDGET_H
#define WORKER_BASE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "worker/base/sys.h"

struct budget {
    const struct sys *sys;
    int64_t deadline_mono_ms;
    bool (*cancelled)(void *ctx); /* NULL: never */
    void *cancel_ctx;
    int *retries; /* retry_wait adds one each time; NULL: retries are not counted */
};

struct retry_policy {
    int64_t base_ms, cap_ms;
    int tries;
    int64_t call_timeout_ms;
};

int64_t budget_left_ms(const struct budget *b); /* >= 0 */
bool budget_cancelled(const struct budget *b);  /* NULL: no budget, so never cancelled */

/*
 * Sleeps before try `n` >= 1, which is retry n - 1, for at least `least_ms` (what the server asked for; 0: it did not).
 * ERR_DEADLINE, without sleeping, when the budget is too short for the wait and one call after it; ERR_CANCELLED.
 */
MUST_CHECK enum err_code retry_wait(const struct budget *b, const struct retry_policy *p, int n, int64_t least_ms,
                                    struct err *err);

#endif
