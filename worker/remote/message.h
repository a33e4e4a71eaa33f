/*
 * message - a message about a session, as an app publishes it, and the envelope in which Pub/Sub pushes it.
 */
#ifndef WORKER_REMOTE_MESSAGE_H
#define WORKER_REMOTE_MESSAGE_H

#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"
#include "worker/base/sys.h"

/* {"userId":...,"sessionId":...}. ERR_INVALID: the worker would refuse such ids, and the message says why. */
MUST_CHECK enum err_code message_payload(const char *user, const char *session, struct arena *a, char **ret,
                                         struct err *err);

struct message {
    struct span data;         /* the payload */
    struct span attributes;   /* a JSON object */
    const char *id;           /* messageId */
    int64_t published_us;     /* publishTime */
    const char *subscription; /* "": none */
};

/* The body of a wrapped push. ERR_INVALID and ERR_CORRUPT: the attributes. */
MUST_CHECK enum err_code message_wrap(const struct message *m, struct arena *a, char **ret, struct err *err);

/* PREFIX and 24 random hexadecimal digits. */
MUST_CHECK enum err_code message_new_id(const char *prefix, const struct sys *sys, struct arena *a, const char **ret,
                                        struct err *err);

#endif
