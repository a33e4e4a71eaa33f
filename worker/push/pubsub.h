/*
 * pubsub - the envelope of a push -> struct push_message (PROTOCOL.md 1.2, wrapped form).
 *
 *   1. one JSON object and nothing after it but white space; at most PUBSUB_BODY_MAX bytes, PUBSUB_DEPTH_MAX levels;
 *      unknown members are ignored, no member comes twice, UTF-8 is valid, no U+0000
 *   2. message                    object, required
 *   3. message.messageId          1 to PUBSUB_MESSAGE_ID_MAX printable ASCII characters without blanks: a string, or an
 *                                 integer without a sign, which stands for its digits as written;
 *      message.message_id         its older spelling: enough by itself; if both are there they are equal
 *   4. message.data               standard base64 with padding, required, at least one byte; what is inside may be
 *                                 base64 once more (payload.h)
 *   5. message.attributes         object of strings, optional
 *   6. message.publishTime        RFC 3339, or message.publish_time; anything else counts as unknown
 *   7. subscription               string, optional
 *   8. deliveryAttempt            integer >= 1, next to `message`; anything else counts as unknown
 *
 * A body that breaks these rules is poison: retrying cannot help. push_form.h reads all forms of a push.
 */
#ifndef WORKER_PUSH_PUBSUB_H
#define WORKER_PUSH_PUBSUB_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

enum { PUBSUB_BODY_MAX = 1 << 20, PUBSUB_DEPTH_MAX = 16, PUBSUB_MESSAGE_ID_MAX = 128 };

#define PUBSUB_TIME_UNKNOWN INT64_MIN

struct push_message {
    const char *message_id;   /* the same on every redelivery; "" only in a message that is poison */
    struct span data;         /* the payload without any base64 around it; empty only in a message that is poison */
    struct span published;    /* the payload as it was published: `data`, or base64 of it */
    struct span attributes;   /* a JSON object, "{}" where there are none */
    int64_t publish_time_us;  /* since 1970, or PUBSUB_TIME_UNKNOWN */
    const char *subscription; /* full resource name, or "" */
    int64_t delivery_attempt; /* approximate; 0: unknown */
};

/* A message of which nothing is known. */
struct push_message pubsub_unknown(void);

/* event_id: the message's id where the envelope has none; NULL: there is no other. Everything in ret lives in the arena
 * or in `body`. ERR_INVALID: poison, and the error says which rule broke; ERR_TOO_LARGE: poison by size; of either,
 * ret holds what could be read all the same. ERR_NOMEM: the arena is too small. */
MUST_CHECK enum err_code pubsub_parse(struct span body, const char *event_id, struct arena *a, struct push_message *ret,
                                      struct err *err);

bool pubsub_message_id_is_valid(struct span id);

#endif
