/*
 * push_form - the request of a push, in any of its forms -> struct push_message (PROTOCOL.md 1.2).
 *
 *   unwrapped    known by the header x-goog-pubsub-message-id; the body is the payload, or base64 of it, once or twice
 *   structured   Content-Type application/cloudevents+json; the envelope is the event's `data` or `data_base64`
 *   binary       known by a ce-* header; the body is the envelope
 *   wrapped      everything else; the body is the envelope
 *
 * The first that applies counts. In an unwrapped push, Pub/Sub makes headers out of the message's attributes, so a
 * publisher may forge any header: where two headers of a name that counts are there, neither is believed. In the other
 * forms no header is a publisher's.
 */
#ifndef WORKER_PUSH_PUSH_FORM_H
#define WORKER_PUSH_PUSH_FORM_H

#include "worker/push/header_attributes.h"
#include "worker/push/pubsub.h"

enum { PUSH_FORM_LAYERS = 2 /* of base64 around an unwrapped payload */ };

struct push_request {
    const struct push_header *headers;
    int n_headers;
    struct span body;
};

/* As pubsub_parse: ret holds what could be read even where the push is poison. Of a request whose body was not read,
 * push_parse_headers returns what its headers say. */
MUST_CHECK enum err_code push_parse(const struct push_request *req, struct arena *a, struct push_message *ret,
                                    struct err *err);
MUST_CHECK enum err_code push_parse_headers(const struct push_request *req, struct arena *a, struct push_message *ret,
                                            struct err *err);

#endif
