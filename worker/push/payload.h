/*
 * payload - takes off the layers of base64 that a sender put around the JSON of a message.
 *
 * Pub/Sub encodes the data of a message once. A sender that encodes it, too, means the same message. A layer may use
 * either alphabet, with padding or without, and hold line breaks, as the tools that people encode with write it. JSON
 * begins with "{", which is no character of base64, so nothing can be understood in two ways.
 */
#ifndef WORKER_PUSH_PAYLOAD_H
#define WORKER_PUSH_PAYLOAD_H

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

/* The bytes of a text in base64 (flags: base64.h), in the arena. ERR_INVALID: it is none, and err says nothing, because
 * the caller knows what it is called; ERR_NOMEM. */
MUST_CHECK enum err_code payload_decode(struct span text, unsigned flags, struct arena *a, struct span *ret,
                                        struct err *err);

/* The text inside at most max_layers layers, if it begins with "{" after white space; else `bytes` themselves. ret
 * points into `bytes` or into the arena. ERR_NOMEM. */
MUST_CHECK enum err_code payload_open(struct span bytes, int max_layers, struct arena *a, struct span *ret,
                                      struct err *err);

#endif
