/*
 * publish - one message to a Pub/Sub topic (PROTOCOL.md 1.10).
 *
 * A message that was sent without an answer may have been published, and is sent again: a topic may get it twice, never
 * not at all. Thread-safe.
 */
#ifndef WORKER_GOOGLE_PUBLISH_H
#define WORKER_GOOGLE_PUBLISH_H

#include "kernels/base/arena.h"
#include "kernels/base/span.h"
#include "worker/google/gauth.h"

enum { /* the limits of Pub/Sub, in bytes but for the first */
       PUBLISH_ATTRIBUTES_MAX = 100,
       PUBLISH_KEY_MAX = 256,
       PUBLISH_VALUE_MAX = 1024
};

struct publish_attribute {
    const char *key, *value; /* UTF-8 */
};

struct publish_message {
    struct span data; /* any bytes; may be empty where there are attributes */
    const struct publish_attribute *attributes;
    int n_attributes;
};

struct publisher_options { /* NULL or "": not set */
    struct http *http;
    struct gauth *gauth;       /* opened with uses_pubsub */
    const char *topic;         /* projects/PROJECT/topics/NAME */
    const char *emulator_host; /* host:port */
    const char *setting;       /* what names the topic, for messages; not set: POISON_TOPIC */
};

struct publisher {
    struct http *http;
    struct gauth *gauth;
    const char *topic, *base; /* base: the URL of the topic, to which a verb is added */
    const char *setting;
    bool emulator;
};

/* ERR_INVALID: bad options. The texts are in the arena. */
MUST_CHECK enum err_code publisher_init(struct publisher *p, const struct publisher_options *o, struct arena *a,
                                        struct err *err);

/* ERR_OK: the topic has the message, by the id in *ret_id, which is in the arena (NULL: not wanted). ERR_DENIED,
 * ERR_NOT_FOUND (no such topic), ERR_INVALID (Pub/Sub refuses the message), ERR_UNAVAILABLE, ERR_UNKNOWN_OUTCOME,
 * ERR_PROTOCOL, and those of gauth_header. */
MUST_CHECK enum err_code publisher_send(const struct publisher *p, const struct publish_message *message,
                                        const struct budget *budget, struct arena *a, const char **ret_id,
                                        struct err *err);

#endif
