/*
 * pubsub - the body of a push request -> struct push_message (PROTOCOL.md 1.2, wrapped form).
 *
 *   1. one JSON object and nothing after it but white space; at most PUBSUB_BODY_MAX bytes, PUBSUB_DEPTH_MAX levels;
 *      unknown members are ignored, no member comes twice, UTF-8 is valid, no U+0000
 *   2. message                    object, required
 *   3. message.messageId          string of 1 to PUBSUB_MESSAGE_ID_MAX printable ASCII characters without blanks;
 *      message.message_id         its older spelling: enough by itself; if both are there they are equal
 *   4. message.data               standard base64 with padding, required, at least one byte
 *   5. message.publishTime        RFC 3339, or message.publish_time; anything else counts as unknown
 *   6. subscription               string, optional
 *   7. deliveryAttempt            integer >= 1, next to `message`; anything else counts as unknown
 *
 * A body that breaks these rules is poison: retrying cannot help, so it is acknowledged, with an error in the log.
 */
#ifndef WORKER_PUSH_PUBSUB_H
#define WORKER_PUSH_PUBSUB_H

#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

enum { PUBSUB_BODY_MAX = 1 << 20, PUBSUB_DEPTH_MAX = 16, PUBSUB_MESSAGE_ID_MAX = 128 };

#define PUBSUB_TIME_UNKNOWN INT64_MIN

struct push_message {
    const char *message_id;   /* the same on every redelivery */
    struct span data;         /* decoded, never empty */
    int64_t publish_time_us;  /* since 1970, or PUBSUB_TIME_UNKNOWN */
    const char *subscription; /* full resource name, or "" */
    int64_t delivery_attempt; /* approximate; 0: unknown */
};

/* Everything in ret lives in the arena. ERR_INVALID: poison, and the message says which rule broke; ERR_TOO_LARGE:
 * poison by size; ERR_NOMEM: the arena is too small. `body` need not outlive the call. */
MUST_CHECK enum err_code pubsub_parse(struct span body, struct arena *a, struct push_message *ret, struct err *err);

#endif
