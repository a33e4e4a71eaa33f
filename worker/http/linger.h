/*
 * linger - lets an early answer arrive.
 *
 * A server that answers before it has read the body, and then closes, makes the kernel reset the connection when the
 * rest of the body comes in, and a reset may overtake the answer: the sender would see an error and send again. So the
 * socket is held open a little longer by a second descriptor, and what arrives there is thrown away, until the sender
 * closes, has sent LINGER_MAX_BYTES more, or LINGER_MAX_MS are over. (RFC 9112 9.6)
 */
#ifndef WORKER_HTTP_LINGER_H
#define WORKER_HTTP_LINGER_H

#include <pthread.h>
#include <stdbool.h>

enum { LINGER_MAX_SOCKETS = 32, LINGER_MAX_BYTES = 32 << 20, LINGER_MAX_MS = 5000 };

struct linger_set {
    pthread_mutex_t lock;
    pthread_cond_t fewer;
    int n;
    bool stopping;
};

void linger_init(struct linger_set *l);
void linger_done(struct linger_set *l); /* waits for all of them, a fifth of a second at most */

/* Best effort: with too many of them, or no thread, the socket simply ends with its owner. */
void linger_on(struct linger_set *l, int fd);

#endif
