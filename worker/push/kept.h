/*
 * kept - messages as somebody kept them -> what is needed to push them again.
 *
 *   1. an envelope of a push                         {"message": {...}, "subscription": ...}
 *   2. what was pulled from a subscription           [{"ackId": ..., "message": {...}}], {"receivedMessages": [...]}
 *   3. a message alone                               {"data": "<base64>", "messageId": ...}
 *   4. a structured CloudEvent                       {"specversion": ..., "data": <envelope>}, or data_base64
 *   5. a line of the worker's log, as it was written or as Cloud Logging exports it ({"jsonPayload": {...}}): that of
 *      a poison by its payload, where the line held all of it and may have been mended since; any other by its session
 *   6. a payload                                     {"userId": ..., "sessionId": ...}, or base64 of it
 *
 * A text is one of these, a list of them, or several of them a line each.
 */
#ifndef WORKER_PUSH_KEPT_H
#define WORKER_PUSH_KEPT_H

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

enum {
    KEPT_TEXT_MAX = 16 << 20,
    KEPT_MESSAGES_MAX = 10000,
    KEPT_LOGGED_BYTES = 256 /* of a payload, in a line of the log */
};

struct kept_message {
    const char *message_id;   /* "": not known */
    struct span data;         /* the payload without layers of base64 around its JSON, never empty */
    struct span attributes;   /* a JSON object, "{}" where there are none */
    const char *subscription; /* "": not known */
};

/* At least one message. Everything in ret is in the arena or in `text`. ERR_INVALID and
 * ERR_CORRUPT (no JSON): the message says which element or line is the wrong one, and why; ERR_TOO_LARGE, ERR_NOMEM. */
MUST_CHECK enum err_code kept_parse(struct span text, struct arena *a, const struct kept_message **ret, int *ret_n,
                                    struct err *err);

#endif
