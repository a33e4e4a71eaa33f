/*
 * linger - makes sure that an early answer arrives.
 *
 * When a server answers before it has read the body, and then closes, the kernel resets the connection as soon as the
 * rest of the body comes in, and the reset may overtake the answer: the sender would see an error and send again. So a
 * second descriptor holds the socket open, and what arrives there is thrown away, until the sender closes, has sent
 * LINGER_MAX_BYTES more, or LINGER_MAX_MS have passed. (RFC 9112 9.6)
 */
#ifndef WORKER_HTTP_LINGER_H
#define WORKER_HTTP_LINGER_H

#include <pthread.h>
#include <stdbool.h>

enum {
    LINGER_MAX_SOCKETS = 32,
    LINGER_MAX_BYTES = 32 << 20, /* Cloud Run's own limit of a request */
    LINGER_MAX_MS = 5000
};

struct linger_set {
    pthread_mutex_t lock;
    pthread_cond_t socket_closed;
    int n; /* sockets held open */
    bool stopping;
};

void linger_init(struct linger_set *l);
void linger_done(struct linger_set *l); /* waits for all sockets, 0.2 s at most */

/* Best effort: beyond LINGER_MAX_SOCKETS, or without a thread, the socket closes with its owner. */
void linger_on(struct linger_set *l, int fd);

#endif
