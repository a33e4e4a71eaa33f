/*
 * api - one call to a Google API: token, tries, waits. Firestore and Storage say what an answer means, api does the
 * rest.
 *
 * A refused token is dropped and fetched anew once a call, which is no try of its own. Between tries the arena is
 * rewound, so that retries cost no memory. Source: PROTOCOL.md 3.4 and 7.
 */
#ifndef WORKER_GOOGLE_API_H
#define WORKER_GOOGLE_API_H

#include "kernels/base/arena.h"
#include "worker/google/gauth.h"
#include "worker/http/http_client.h"

enum api_next {
    API_TAKE,     /* the answer, good or bad, is the caller's */
    API_RETRY,    /* wait and send again while there are tries and time */
    API_GO_ON,    /* all is well, the next request of the same conversation follows at once */
    API_NEW_TOKEN /* refresh the token and send again; the second time it is the caller's */
};

struct api_call {
    struct http *http;
    struct gauth *gauth;
    enum gauth_service service;
    const struct retry_policy *policy;
    const struct budget *budget;
    /* Makes the request of the next try from what came before: headers beyond those it had, URL, body. false: it
     * goes without a token. NULL: every try is the same. */
    bool (*prepare)(void *ctx, struct http_request *req);
    /* Judges one try. rc: of http_send. Called once a try, so it may keep what a broken one has brought. */
    enum api_next (*judge)(void *ctx, enum err_code rc, const struct http_reply *reply);
    void *ctx;
};

/*
 * Sends req (its Authorization, timeout and budget are filled in) until judge takes the answer or tries and time are
 * used up; then the last answer stands. Returns what http_send returned for it: ERR_OK means only that ret holds an
 * answer. The errors of gauth_header come through as they are, and ERR_CANCELLED.
 */
MUST_CHECK enum err_code api_send(const struct api_call *call, struct http_request *req, struct arena *a,
                                  struct http_reply *ret, struct err *err);

#endif
