/*
 * http_client - one HTTP request with a deadline and a size cap.
 *
 * `struct http` is the seam: production sends through libcurl, tests through a scripted peer. Only http_client.c
 * includes curl. TLS is verified, redirects are never followed, no Expect header, bodies are not decoded. The
 * environment may name authorities and a proxy (egress.h). URLs with http:// are sent only when the request says
 * allow_plain (emulator, metadata server, loopback tests); those that name a user never. HTTP/1.1 only. No request is
 * sent twice, except a GET or HEAD on a kept connection that turns out to be closed. Thread-safe: any number of threads
 * may send through one http (idle curl handles are lent, connections reused).
 */
#ifndef WORKER_HTTP_HTTP_CLIENT_H
#define WORKER_HTTP_HTTP_CLIENT_H

#include <stdbool.h>

#include "kernels/base/arena.h"
#include "kernels/base/err.h"
#include "kernels/base/span.h"
#include "worker/base/budget.h"

enum { HTTP_MAX_HEADERS = 16, HTTP_REPLY_MAX_HEADERS = 64 };

struct http_header {
    const char *name;
    const char *value; /* refused if it holds CR or LF */
};

struct http_request {
    const char *method; /* "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE" */
    const char *url;
    struct http_header headers[HTTP_MAX_HEADERS];
    int n_headers;
    struct span body;
    bool chunked;           /* the body goes out in chunks, without its length */
    int64_t timeout_ms;     /* for the whole call, > 0 */
    int64_t low_speed_ms;   /* > 0: abort when slower than 10 kB/s for this long */
    size_t max_reply_bytes; /* ERR_TOO_LARGE beyond */
    bool allow_plain;
    /* Takes the body of a 200 or 206 piece by piece as it arrives, in place of the reply's; of all other answers the
     * reply has it. It counts against max_reply_bytes. false: no more of it is wanted, and the call ends with
     * ERR_TOO_LARGE. NULL: every body is the reply's. */
    bool (*take)(void *ctx, int status, const char *bytes, size_t n);
    void *take_ctx;
    const struct budget *budget; /* NULL: none. The call ends within a second after it is cancelled or used up */
};

struct http_reply {
    int status;
    struct span body; /* from the arena given to http_send, NUL-terminated beyond len */
    struct http_header headers[HTTP_REPLY_MAX_HEADERS]; /* names in lower case; repeated ones joined with ", " */
    int n_headers;
    size_t sent_bytes; /* of the request's body, handed to the connection: an early answer may leave the rest unsent */
};

struct http {
    void *ctx;
    /*
     * ERR_OK with any HTTP status. ERR_UNAVAILABLE: nothing was sent (resolve, connect, TLS). ERR_UNKNOWN_OUTCOME:
     * sent, but no whole answer came (reset, timeout, truncated body): ret then holds the part that came, so that a
     * download can continue; status 0: not even a head. ERR_TOO_LARGE: the reply; ret as before. ERR_INVALID: the
     * request is malformed and was not sent. ERR_DEADLINE: no budget left, not sent. ERR_CANCELLED: sent or not.
     * ERR_NOMEM.
     */
    enum err_code (*send)(void *ctx, const struct http_request *req, struct arena *a, struct http_reply *ret,
                          struct err *err);
};

/* The first call also makes the process ignore SIGPIPE. ERR_INVALID: a variable of egress.h, which the message names.
 */
MUST_CHECK enum err_code http_client_open(struct http **ret, struct err *err);
void http_client_close(struct http *h); /* takes NULL */

static inline enum err_code http_send(struct http *h, const struct http_request *req, struct arena *a,
                                      struct http_reply *ret, struct err *err)
{
    return h->send(h->ctx, req, a, ret, err);
}

const char *http_reply_header(const struct http_reply *r, const char *lower_case_name); /* NULL: absent */
void http_request_header(struct http_request *r, const char *name, const char *value);  /* asserts that there is room */

/* Percent-encodes every byte outside [A-Za-z0-9-._~]. */
MUST_CHECK enum err_code http_encode(struct arena *a, struct span text, char **ret, struct err *err);
/* "a/b" as "/a/b", each segment percent-encoded. */
MUST_CHECK enum err_code http_encode_path(struct arena *a, const char *path, char **ret, struct err *err);

/*
 * The address to which `reference`, taken from an answer, leads from `base`, if that is on the same scheme, host and
 * port: what was meant for one server is sent to no other. ERR_PROTOCOL: it is elsewhere, names a user, is no address,
 * or has more than size - 1 bytes.
 */
MUST_CHECK enum err_code http_own_url(const char *base, const char *reference, char *ret, size_t size, struct err *err);

/* How long the server asks to wait before the next try (Retry-After), at most 60 s; 0: it does not ask. */
int64_t http_retry_after_ms(const struct http_reply *r, const struct sys *sys);

bool http_status_is_transient(int status); /* 408, 429, 500, 502, 503, 504 */

#endif
