/*
 * peer - a scripted HTTP server on loopback that can give clients every answer and break off in every way.
 *
 *   struct peer *p = peer_open();
 *   peer_will(p, (struct peer_reply){ .status = 503, .headers = "Retry-After: 2\r\n" });
 *   peer_will(p, (struct peer_reply){ .status = 200, .body = SPAN("{}") });
 *   ... the client sends to peer_url(p) twice ...
 *   CHECK_STR(peer_request(p, 0)->target, "/v1/x?y=z");
 *   peer_close(p);
 *
 * Replies are given in the order the requests come, over all connections; connections stay open between requests.
 * With peer_handle() a function answers instead, which is how a fake of a whole service is made. It runs on the
 * connection's thread, one request at a time. A request that nothing was scripted for is answered 599.
 */
#ifndef TEST_SUPPORT_FAKE_PEER_H
#define TEST_SUPPORT_FAKE_PEER_H

#include <stdbool.h>

#include "kernels/base/span.h"

enum { PEER_MAX_REQUESTS = 512, PEER_MAX_REPLIES = 512, PEER_MAX_CONNECTIONS = 256 };

struct peer;

struct peer_request {
    int connection;     /* 0 is the first one accepted */
    const char *method; /* all strings live until peer_close */
    const char *target; /* path and query as sent */
    const char *head;   /* request line and headers as sent, with CRLF */
    struct span body;   /* NUL-terminated beyond len; chunked ones are decoded */
};

struct peer_reply {
    int status;          /* 0: the connection ends, and no byte is sent */
    const char *headers; /* whole lines with CRLF, or NULL; borrowed until peer_close */
    struct span body;    /* borrowed until peer_close; from a handler, until its next call */
    bool no_length;      /* no Content-Length: the body ends with the connection */
    bool chunked;        /* in chunks of at most 1,000 bytes */
    int delay_ms;        /* silence before the first byte */
    int pace_ms;         /* silence before every 1,000 bytes of the rest */
    size_t cut_after;    /* > 0: the connection ends after this many bytes of the reply, status line included */
    bool reset;          /* where the connection ends it does so with RST instead of FIN */
    bool close;          /* ends the connection after a whole reply, without having announced it */
    const char *raw;     /* instead of all that: these bytes, then the connection ends */
};

struct peer *peer_open(void);
void peer_close(struct peer *p); /* takes NULL; waits for the connections' threads */

const char *peer_url(const struct peer *p); /* "http://127.0.0.1:PORT" */
int peer_port(const struct peer *p);

void peer_will(struct peer *p, struct peer_reply reply);
void peer_handle(struct peer *p, struct peer_reply (*fn)(void *ctx, const struct peer_request *req), void *ctx);

int peer_count(struct peer *p);                                 /* requests received so far */
const struct peer_request *peer_request(struct peer *p, int i); /* fails the test when there are fewer */
const char *peer_header(const struct peer_request *r, const char *name, char *buf, size_t size); /* NULL: absent */

#endif
