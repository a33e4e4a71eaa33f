/*
 * script - a struct http that answers from a list, and a struct sys whose time passes only in sleeps, so that a test of
 * minutes of retries takes no time.
 *
 *   struct script s;
 *   script_init(&s);
 *   script_will(&s, (struct script_reply){ .status = 503, .headers = { { "retry-after", "2" } } });
 *   script_will(&s, (struct script_reply){ .status = 200, .body = SPAN("{}") });
 *   ... the client gets &s.http, &s.sys and &s.budget ...
 *   CHECK_INT(s.n_requests, 2);
 *   script_done(&s);
 *
 * A request that nothing was scripted for fails the test's client with ERR_UNAVAILABLE, and is counted. Thread-safe.
 */
#ifndef TEST_SUPPORT_FAKE_SCRIPT_H
#define TEST_SUPPORT_FAKE_SCRIPT_H

#include <pthread.h>

#include "worker/http/http_client.h"

enum { SCRIPT_MAX = 64 };

struct script_reply {
    int status;
    struct http_header headers[6]; /* names in lower case; ends at the first without a name */
    struct span body;
    enum err_code rc; /* instead of success: status, headers and body are what came before the failure */
    const char *why;  /* the message of the error; NULL: the name of rc */
    int64_t takes_ms;
};

struct script_request { /* copies */
    char method[8], url[4096];
    char header_text[8192]; /* "name: value\n" each */
    struct span body;
    int64_t at_mono_ms, timeout_ms, low_speed_ms;
    bool has_budget;
};

struct script {
    struct http http;
    struct sys sys;
    struct budget budget; /* ten minutes */
    pthread_mutex_t lock;
    int64_t wall_us, mono_ms, slept_ms;
    uint64_t random; /* state of the random numbers */
    struct script_reply replies[SCRIPT_MAX];
    int n_replies, next_reply;
    struct script_reply (*handle)(void *ctx, const struct script_request *req); /* called instead of using the list */
    void *handle_ctx;
    struct script_request requests[SCRIPT_MAX];
    int n_requests;
};

void script_init(struct script *s);
void script_done(struct script *s);
void script_will(struct script *s, struct script_reply reply);
void script_pass(struct script *s, int64_t ms); /* both clocks */

bool script_sent_header(const struct script *s, int request, const char *line); /* "Authorization: Bearer x" */

#endif
