/*
 * http_server - libmicrohttpd behind a table of routes; the only file that includes it. It knows nothing of jobs.
 *
 * One thread reads and writes all connections. It also answers the routes that are `quick`, so that probes are answered
 * whatever else runs; every other handler runs on a thread of its own, and may take as long as it likes. Beyond
 * max_handlers of those, a request is answered with 429.
 *
 *   1. headers arrive   unknown path: 404; other method: 405 with Allow; malformed framing, or a body sent to a quick
 *                       route: 400
 *   2. on_headers       is called before a byte of the body is read, and may refuse the body by answering
 *   3. body             up to max_body_bytes. A longer body is not read (without Content-Length: read and thrown away,
 *                       up to HTTP_SERVER_MAX_DISCARD), and on_request is called with body_too_large
 *   4. on_request       makes the answer
 *
 * A connection that is silent for idle_timeout_s is closed. Head, body and the reading of an answer have total times,
 * too, and when there are max_connections, a newcomer takes the place of the client that is slowest (connections.h).
 * One address may have max_handlers and three quarters of the other connections: more than the requests that can be at
 * work, so a front end with a single address is not throttled, and the last quarter is for probes from elsewhere. A
 * handler need not watch the connection while it runs.
 */
#ifndef WORKER_HTTP_HTTP_SERVER_H
#define WORKER_HTTP_HTTP_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"
#include "worker/base/log.h"
#include "worker/base/sys.h"
#include "worker/http/connections.h"
#include "worker/http/linger.h"

enum {
    HTTP_SERVER_MAX_HEADERS = 128, /* more: 431; a message's 100 attributes may be headers, and others come with them */
    HTTP_SERVER_REPLY_HEADERS = 4,
    HTTP_SERVER_CONNECTION_BYTES = 64 << 10, /* request line and headers together; more: 431 */
    HTTP_SERVER_MAX_DISCARD = LINGER_MAX_BYTES,
    HTTP_SERVER_HEAD_MS = 10000, /* from the connection's begin, or from the end of its time to be idle */
    HTTP_SERVER_BODY_MS = 120000,
    HTTP_SERVER_ANSWER_MS = 30000 /* until the client has taken the answer */
};

struct http_server_header {
    const char *name, *value;
};

struct http_server_request {
    const char *method, *path; /* path as sent, without the query */
    struct http_server_header headers[HTTP_SERVER_MAX_HEADERS];
    int n_headers;
    struct span body; /* NUL-terminated beyond len */
    bool body_too_large;
    int64_t arrived_mono_ms;
    struct log_context log; /* trace, span and sampled are filled */
    struct arena *arena;    /* of this request: holds its texts and its body, and may hold the reply */
};

struct http_server_reply { /* a handler gets it zeroed, with status 500 */
    int status;
    const char *content_type; /* NULL: none */
    struct span body;
    struct http_server_header headers[HTTP_SERVER_REPLY_HEADERS];
    int n_headers;
};

struct http_server_route {
    const char *method, *path;
    bool quick; /* on_request must neither wait nor compute; on_headers is not called */
    /* true: read the body; false: `reply` is the answer. NULL: always true. */
    bool (*on_headers)(void *ctx, struct http_server_request *req, struct http_server_reply *reply);
    void (*on_request)(void *ctx, struct http_server_request *req, struct http_server_reply *reply);
    void *ctx;
};

struct http_server_options {
    int port; /* 0: any free one */
    bool loopback_only;
    const struct http_server_route *routes; /* borrowed */
    int n_routes;
    size_t max_body_bytes;
    size_t arena_bytes; /* address space of a request, its headers and body included */
    int max_connections, max_handlers;
    int other_files; /* that the rest of the process may have open at once */
    int idle_timeout_s;
    int64_t head_ms, body_ms, answer_ms; /* total times; 0: as above */
    const struct sys *sys;
};

struct http_server;

/* ERR_UNAVAILABLE: the port cannot be opened. */
MUST_CHECK enum err_code http_server_start(const struct http_server_options *options, struct http_server **ret,
                                           struct err *err);
int http_server_port(const struct http_server *s);

/* From now on every answer says Connection: close. Requests are still accepted: refusing them is up to the handlers. */
void http_server_drain(struct http_server *s);

/*
 * Accepts no more connections, waits up to wait_ms until every handler has returned and its answer is sent, and frees
 * s. false: a handler still runs, and s stays valid: call again, or end the process. Takes NULL.
 */
bool http_server_stop(struct http_server *s, int64_t wait_ms);

/* All values of a header, whatever the case of its name; returns how many there are, also when more than max. */
int http_server_values(const struct http_server_request *r, const char *name, struct span *ret, int max);

/* Asserts that there is room. */
void http_server_reply_header(struct http_server_reply *r, const char *name, const char *value);

#endif
