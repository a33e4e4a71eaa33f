/*
 * outcome - every way in which a push can end, and what the outside sees of it: the answer to Pub/Sub, the line in the
 * log, the metrics. The module that ends a push (handler, queue, session or pipeline) names a row; only the handler
 * acts on it.
 *
 *   HTTP     204 acknowledges the message; anything else makes Pub/Sub deliver it again (PROTOCOL.md 1.9). Every
 *            answer is also counted in inpaint_pushes_total{code="..."}.
 *   name     the log line's "outcome", where the line has one
 *   job      inpaint_jobs_total{outcome="..."}, and the job's time goes into inpaint_job_seconds
 *   counter  the counter that grows by one
 */
#ifndef WORKER_JOB_OUTCOME_H
#define WORKER_JOB_OUTCOME_H

#include <stddef.h>

#include "worker/base/log.h"

/* clang-format off */
#define OUTCOME_MAP(X)                                                                                              \
    /*  outcome            HTTP  name          job          counter                      level    message */        \
    /* The job was claimed, and ran: pipeline.c. RELEASED, OUR_ERROR and DEVICE_FAULT give the claim back. */       \
    X(COMPLETED,           204,  "completed",  "completed", NULL,                        INFO,    "push answered")  \
    X(FAILED,              204,  "failed",     "failed",    NULL,                        INFO,    "push answered")  \
    X(RELEASED,            503,  "released",   "released",  NULL,                        WARNING, "push answered")  \
    X(OUR_ERROR,           500,  "released",   "released",  NULL,                        WARNING, "push answered")  \
    X(DEVICE_FAULT,        500,  "released",   "released",  NULL,                        WARNING, "push answered")  \
    /* The document was deleted meanwhile; another worker has the lease. */                                         \
    X(GONE,                204,  "gone",       "vanished",  NULL,                        INFO,    "push answered")  \
    X(LOST,                409,  "lost",       NULL,        "inpaint_leases_lost_total", INFO,    "push answered")  \
    /* It was not claimed: session.c. UNCLAIMED: Firestore did not say whether a claim landed. */                   \
    X(UNCLAIMED,           503,  "unclaimed",  NULL,        NULL,                        WARNING, "push answered")  \
    /* No such document: not yet, because the message is recent and may have overtaken it; or not any more. */      \
    X(NOT_YET_THERE,       404,  "missing",    NULL,        "inpaint_sessions_missing_total", WARNING,              \
      "the session was not found: the message comes again")                                                         \
    X(MISSING,             204,  "missing",    NULL,        "inpaint_sessions_missing_total", WARNING,              \
      "the session was not found: acknowledged and dropped")                                                        \
    /* Completed, cancelled or deleted, or this message has failed: a redelivery of finished work. */                        \
    X(DUPLICATE,           204,  "duplicate",  NULL,        "inpaint_duplicates_total",  INFO,    "push answered")  \
    /* Another worker has a lease for this message, or for another message of the session. */                       \
    X(BUSY,                409,  "busy",       NULL,        "inpaint_duplicates_total",  INFO,    "push answered")  \
    X(SUPERSEDED,          204,  "superseded", NULL,        "inpaint_duplicates_total",  INFO,    "push answered")  \
    /* `failed` was written: its attempts or deliveries are used up; what the app wrote cannot be understood. */     \
    X(EXHAUSTED,           204,  "exhausted",  "failed",    NULL,                        INFO,    "push answered")  \
    X(UNREADABLE,          204,  "unreadable", "failed",    NULL,                        WARNING, "push answered")  \
    /* The last delivery, and the session can be neither read nor failed. */                                        \
    X(GIVEN_UP,            204,  "given-up",   NULL,        "inpaint_given_up_total",    ERROR,                     \
      "the session can be neither read nor failed: acknowledged and dropped")                                       \
    /* It got no turn in this worker's queue: job_queue.c. The same message or session is in the queue. */          \
    X(SAME_MESSAGE,        409,  NULL,         NULL,        "inpaint_duplicates_total",  INFO,    "push turned away") \
    X(SAME_SESSION,        204,  NULL,         NULL,        "inpaint_duplicates_total",  INFO,    "push turned away") \
    X(QUEUE_FULL,          429,  NULL,         NULL,        NULL,                        INFO,    "push turned away") \
    X(QUEUE_TIMEOUT,       503,  NULL,         NULL,        NULL,                        INFO,    "push turned away") \
    X(QUEUE_CLOSED,        503,  NULL,         NULL,        NULL,                        INFO,    "push turned away") \
    /* It did not get as far as the queue: handler.c. UNAUTHORISED may be 403 or 503 as well: oidc.h. */            \
    X(UNAUTHORISED,        401,  NULL,         NULL,        NULL,                        WARNING, "push refused")   \
    /* It can never be a job. What becomes of it then, instead of an ack, is for poison.c to say. */                  \
    X(POISON,              204,  NULL,         NULL,        "inpaint_poison_total",      ERROR,                     \
      "poison message: acknowledged and dropped")                                                                   \
    X(OTHER_SUBSCRIPTION,  204,  NULL,         NULL,        "inpaint_poison_total",      ERROR,                     \
      "push of another subscription: acknowledged and dropped")                                                     \
    X(POISON_PUBLISHED,    204,  NULL,         NULL,        "inpaint_poison_total",      ERROR,                     \
      "poison message: published to POISON_TOPIC and acknowledged")                                                 \
    X(POISON_UNPUBLISHED,  503,  NULL,         NULL,        "inpaint_poison_total",      ERROR,                     \
      "poison message: it cannot be published to POISON_TOPIC, and comes again")                                    \
    X(POISON_REFUSED,      400,  NULL,         NULL,        "inpaint_poison_total",      ERROR,                     \
      "poison message: refused, for the dead-letter policy of its subscription")                                    \
    /* These leave no line in the log. */                                                                           \
    X(NO_MEMORY,           503,  NULL,         NULL,        NULL,                        DEBUG,   NULL)             \
    X(DRAINING,            503,  NULL,         NULL,        NULL,                        DEBUG,   NULL)             \
    X(DEVICE_BROKEN,       503,  NULL,         NULL,        NULL,                        DEBUG,   NULL)
/* clang-format on */

enum outcome {
    OUTCOME_OPEN, /* none yet: the push goes on to its next stage */
#define X(outcome, http, name, job, counter, level, message) OUTCOME_##outcome,
    OUTCOME_MAP(X)
#undef X
        OUTCOMES
};

struct outcome_info {
    int http_status;
    const char *name, *job, *counter; /* NULL: none */
    enum log_level level;
    const char *message; /* NULL: no line in the log */
};

const struct outcome_info *outcome_info(enum outcome o); /* not of OUTCOME_OPEN */

/* What an operator may do about it, for the log line; "" where there is nothing to do. */
const char *outcome_remedy(enum outcome o);

#endif
