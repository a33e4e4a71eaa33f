/*
 * pair - two calls to a service side by side, which share nothing but the clock and the wish to stop.
 *
 * When the first fails the second is given up, and not the other way round: whatever their race, the error that is told
 * is the first one's if there is one, and it never comes later than without the second.
 */
#ifndef WORKER_HTTP_PAIR_H
#define WORKER_HTTP_PAIR_H

#include "worker/http/http_client.h"

typedef enum err_code pair_fn(void *ctx, const struct budget *budget, struct arena *a, struct err *err);

struct pair_call {
    pair_fn *fn;
    void *ctx;
    struct arena *arena; /* nobody else's meanwhile */
};

/* The second runs in a thread of its own; where there is none to be had, after the first. budget->cancelled is asked
 * from both; *budget->retries grows by those of both. */
MUST_CHECK enum err_code pair_run(const struct pair_call calls[2], const struct budget *budget, struct err *err);

#endif
