/*
 * http_client - one HTTP request with a deadline and a size cap; and the retry rule on top of it.
 *
 * `struct http` is the seam: production sends through libcurl, tests through a scripted peer. Only http_client.c
 * includes curl. TLS is verified, redirects are never followed, no proxy, no Expect header, libcurl decodes nothing.
 * URLs with http:// are sent only when the request says allow_plain (emulator, metadata server, loopback tests).
 * HTTP/1.1 only. What was sent is never sent again by itself, a GET on a connection that had died unnoticed excepted.
 * Thread-safe: any number of threads may send through one http (idle curl handles are lent, connections reused).
 */
#ifndef WORKER_HTTP_HTTP_CLIENT_H
#define WORKER_HTTP_HTTP_CLIENT_H

#include <stdbool.h>

#include "kernels/base/arena.h"
#include "kernels/base/err.h"
#include "kernels/base/span.h"
#include "worker/base/sys.h"

enum { HTTP_MAX_HEADERS = 16, HTTP_REPLY_MAX_HEADERS = 64 };

struct budget; /* below */

struct http_header {
    const char *name;
    const char *value; /* no CR, LF or NUL: refused */
};

struct http_request {
    const char *method; /* "GET", "POST", "PUT", "PATCH", "DELETE" */
    const char *url;
    struct http_header headers[HTTP_MAX_HEADERS];
    int n_headers;
    struct span body;
    int64_t timeout_ms;     /* for the whole call, > 0 */
    int64_t low_speed_ms;   /* > 0: abort when slower than 10 kB/s for this long */
    size_t max_reply_bytes; /* ERR_TOO_LARGE beyond */
    bool allow_plain;
    const struct budget *budget; /* NULL: none. The call ends within a second of its being cancelled or used up */
};

struct http_reply {
    int status;
    struct span body; /* from the arena given to http_send, NUL-terminated beyond len */
    struct http_header headers[HTTP_REPLY_MAX_HEADERS]; /* names in lower case; repeated ones joined with ", " */
    int n_headers;
};

struct http {
    void *ctx;
    /*
     * Any HTTP status is success. ERR_UNAVAILABLE: nothing was sent (resolve, connect, TLS). ERR_UNKNOWN_OUTCOME:
     * sent, but no whole answer came (reset, timeout, truncated body): ret then holds what did come, status 0 if
     * nothing, so that a download can go on from there. ERR_TOO_LARGE: the reply; likewise. ERR_INVALID: the request,
     * not sent. ERR_DEADLINE: no budget left, not sent. ERR_CANCELLED: sent or not. ERR_NOMEM.
     */
    enum err_code (*send)(void *ctx, const struct http_request *req, struct arena *a, struct http_reply *ret,
                          struct err *err);
};

/* The first one also makes the process ignore SIGPIPE. */
MUST_CHECK enum err_code http_client_open(struct http **ret, struct err *err);
void http_client_close(struct http *h); /* takes NULL */

static inline enum err_code http_send(struct http *h, const struct http_request *req, struct arena *a,
                                      struct http_reply *ret, struct err *err)
{
    return h->send(h->ctx, req, a, ret, err);
}

const char *http_reply_header(const struct http_reply *r, const char *lower_case_name); /* NULL: absent */
void http_request_header(struct http_request *r, const char *name, const char *value);  /* asserts room */

/* Percent-encodes every byte outside [A-Za-z0-9-._~]. */
MUST_CHECK enum err_code http_encode(struct arena *a, struct span text, char **ret, struct err *err);

/*
 * budget - the time one job may still take, passed down so that no layer retries what a lower one has.
 * retry - full jitter: before retry n (0-based) wait uniform [0, min(cap, base * 2^n)], never less than Retry-After
 * (clamped to 60 s), never past the budget. Source: PROTOCOL.md 7.
 */
struct budget {
    const struct sys *sys;
    int64_t deadline_mono_ms;
    bool (*cancelled)(void *ctx); /* NULL: never */
    void *cancel_ctx;
    int *retries; /* retry_wait adds one to it; NULL: nobody wants to know */
};

struct retry_policy {
    int64_t base_ms, cap_ms;
    int tries;
    int64_t call_timeout_ms;
};

int64_t budget_left_ms(const struct budget *b); /* >= 0 */
bool budget_cancelled(const struct budget *b);

/* Sleeps before try `n` >= 1, which is retry n - 1. ERR_DEADLINE when the rest of the budget would not hold wait +
 * one call, ERR_CANCELLED when cancelled. retry_after: the reply's header or NULL (seconds or HTTP date). */
MUST_CHECK enum err_code retry_wait(const struct budget *b, const struct retry_policy *p, int n,
                                    const char *retry_after, struct err *err);
bool http_status_is_transient(int status); /* 408, 429, 500, 502, 503, 504 */

#endif
