/*
 * pair - two calls to a service at the same time, which share only the clock and the request to stop.
 *
 * A failure of the first cancels the second, but not the other way round: so the error returned is that of the first
 * whenever the first fails, however the two race, and it is never later than it would be without the second call.
 */
#ifndef WORKER_HTTP_PAIR_H
#define WORKER_HTTP_PAIR_H

#include "kernels/base/arena.h"
#include "worker/base/budget.h"

typedef enum err_code pair_fn(void *ctx, const struct budget *budget, struct arena *a, struct err *err);

struct pair_call {
    pair_fn *fn;
    void *ctx;
    struct arena *arena; /* used by this call only until pair_run returns */
};

/* The second call runs in a thread of its own or, if no thread can be created, after the first. Both threads ask
 * budget->cancelled; *budget->retries grows by the retries of both. */
MUST_CHECK enum err_code pair_run(const struct pair_call calls[2], const struct budget *budget, struct err *err);

#endif
