/*
 * header_attributes - which headers of an unwrapped push may be attributes of its message.
 *
 * Pub/Sub writes each attribute as a header of its name, next to those that it and the servers on the way add. Left out
 * are the headers that HTTP, Pub/Sub and Cloud Run are known to send, and everything that may be a credential, by its
 * name or by the look of its value: what is returned goes into the log.
 */
#ifndef WORKER_PUSH_HEADER_ATTRIBUTES_H
#define WORKER_PUSH_HEADER_ATTRIBUTES_H

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

struct push_header {
    const char *name, *value;
};

/* A JSON object in the arena; of headers with one name the first counts, and bytes that are no printable text are
 * escaped (printable.h). ERR_NOMEM. */
MUST_CHECK enum err_code header_attributes(const struct push_header *headers, int n, struct arena *a, struct span *ret,
                                           struct err *err);

#endif
