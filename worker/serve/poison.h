/*
 * poison - what becomes of a push that can never be a job: a line in the log from which it can be sent again, and, as
 * the settings say, a copy in a topic, an ack or a nack (PROTOCOL.md 1.10).
 *
 *   1. POISON=nack        it is refused, for the subscription's dead-letter policy
 *   2. POISON_TOPIC       it is published there with the reason, then acknowledged; while that fails, or as many others
 *                         as may be are on their way there, it is sent back
 *   3. else               it is acknowledged
 *
 * Beyond max_deliveries or max_age_s of the message it is acknowledged whatever fails, so that no message comes for
 * ever. What was published here once is not published again: the topic may lead back to this worker.
 */
#ifndef WORKER_SERVE_POISON_H
#define WORKER_SERVE_POISON_H

#include <stdatomic.h>

#include "worker/base/config.h"
#include "worker/google/publish.h"
#include "worker/http/http_server.h"
#include "worker/job/outcome.h"
#include "worker/push/kept.h"
#include "worker/push/push_form.h"

enum {
    POISON_LOGGED_BYTES = KEPT_LOGGED_BYTES,
    POISON_LOGGED_ATTRIBUTES = 1024, /* bytes */
    POISON_PUBLISH_MS = 15000,
    POISON_AT_ONCE = 4 /* copies on their way: a topic that does not answer must leave handlers to other pushes */
};

struct poison_rules {
    enum poison_policy policy;
    const struct publisher *publisher; /* NULL: POISON_TOPIC is not set */
    int64_t max_deliveries, max_age_s; /* 0: no bound */
    const struct sys *sys;
    atomic_int *n_publishing;     /* copies on their way, of all pushes */
    const _Atomic bool *draining; /* the worker stops: no more waiting; NULL: it never does */
};

struct poison {
    enum outcome outcome;               /* OUTCOME_POISON or OUTCOME_OTHER_SUBSCRIPTION, which stand for an ack */
    const char *why;                    /* one line */
    const struct push_message *message; /* as far as it is known */
};

/* Does all of it; returns the outcome that the push has in the end. */
enum outcome poison_end(const struct poison_rules *rules, const struct poison *p,
                        const struct http_server_request *req);

#endif
