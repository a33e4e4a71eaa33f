/*
 * api - one call to a Google API: token, tries, waits. Firestore and Storage say what an answer means, api does the
 * rest.
 *
 * A refused token is dropped and fetched anew once a call, which does not count as a try. Between tries the arena is
 * rewound, so that retries cost no memory. Source: PROTOCOL.md 3.4 and 7.
 */
#ifndef WORKER_GOOGLE_API_H
#define WORKER_GOOGLE_API_H

#include "kernels/base/arena.h"
#include "worker/google/gauth.h"
#include "worker/http/http_client.h"

enum api_next {
    API_TAKE,     /* hand the answer, good or bad, to the caller */
    API_RETRY,    /* wait and send again while tries and time are left */
    API_GO_ON,    /* send the next request of the same conversation at once */
    API_NEW_TOKEN /* refresh the token and send again; the second time, hand the answer to the caller */
};

struct api_call {
    struct http *http;
    struct gauth *gauth;
    enum gauth_service service;
    const struct retry_policy *policy;
    const struct budget *budget;
    /* Changes the request for the next try: URL, body, headers (those of the last try are gone). false: the request is
     * sent without a token. NULL: every try is the same. */
    bool (*prepare)(void *ctx, struct http_request *req);
    /* Judges one try; `rc` is the result of http_send. Called once a try, so it may store a part of a reply that broke
     * off. api_judge serves where a request may be sent again whatever happened to the try. */
    enum api_next (*judge)(void *ctx, enum err_code rc, const struct http_reply *reply);
    void *ctx;
};

bool api_may_pass(enum err_code rc, const struct http_reply *reply); /* the failure is transient */
enum api_next api_judge(void *ctx, enum err_code rc, const struct http_reply *reply);

/* The error that the status of a refusal means: ERR_NOT_FOUND, ERR_DENIED, ERR_UNAVAILABLE, else ERR_INVALID. */
enum err_code api_code_of(int http_status);

/* A text of the error that a refusal tells, "status" or "message". False, and empty: there is none that fits. */
bool api_error_text(struct span body, const char *name, char *buf, size_t size);

/*
 * Sends req (its Authorization, timeout and budget are filled in) until judge takes an answer or the tries or the time
 * are used up; then the last answer is the result. Returns what http_send returned for that answer: ERR_OK means only
 * that ret holds one. Also the errors of gauth_header, unchanged, and ERR_CANCELLED.
 */
MUST_CHECK enum err_code api_send(const struct api_call *call, struct http_request *req, struct arena *a,
                                  struct http_reply *ret, struct err *err);

#endif
