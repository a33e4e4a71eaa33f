/*
 * handler - the answer on each route. A push (POST / and /inpaint) goes through token, envelope, ids, a look at the
 * session, turn in the queue and pipeline; worker/job/outcome.h lists how it can end (PROTOCOL.md 1.9). GET /ready,
 * /health and /metrics report the state, GET / names the program, its version and its routes.
 */
#ifndef WORKER_SERVE_HANDLER_H
#define WORKER_SERVE_HANDLER_H

#include "worker/http/http_server.h"
#include "worker/serve/cloud_check.h"
#include "worker/serve/job_queue.h"
#include "worker/serve/metrics.h"
#include "worker/auth/oidc.h"
#include "worker/job/pipeline.h"
#include "worker/serve/poison.h"

struct handler {
    const struct oidc *oidc;
    struct engine *engine;
    struct job_queue *queue;
    struct pipeline *pipeline;
    struct metrics *metrics;
    struct cloud_check *cloud; /* NULL: the cloud is taken to be there */
    const struct sys *sys;
    const char *version;      /* for GET /; NULL: not known */
    const char *subscription; /* NULL: any */
    struct poison_rules poison;
    atomic_int n_publishing; /* for `poison` */
    int64_t job_deadline_ms;
    _Atomic bool draining;
    _Atomic bool fault; /* the device broke during a job: the process must be replaced */
};

#define HANDLER_PROGRAM "inpaint-worker"

/* Where the answer to GET / leads the reader; a build may name an address instead. */
#ifndef HANDLER_DOCUMENTATION
#define HANDLER_DOCUMENTATION "README.md"
#endif

enum { HANDLER_ROUTES = 7 };
void handler_routes(struct handler *h, struct http_server_route ret[HANDLER_ROUTES]);

#endif
