#include "worker/http/linger.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/base/sys.h"

enum { POLL_MS = 200 }; /* how late linger_done is noticed */

struct lingering {
    struct linger_set *set;
    int fd;
};

void linger_init(struct linger_set *l)
{
    *l = (struct linger_set){ 0 };
    (void)pthread_mutex_init(&l->lock, NULL);
    (void)pthread_cond_init(&l->socket_closed, NULL);
}

void linger_done(struct linger_set *l)
{
    (void)pthread_mutex_lock(&l->lock);
    l->stopping = true;
    while (l->n > 0)
        (void)pthread_cond_wait(&l->socket_closed, &l->lock);
    (void)pthread_mutex_unlock(&l->lock);
    (void)pthread_cond_destroy(&l->socket_closed);
    (void)pthread_mutex_destroy(&l->lock);
}

static bool is_stopping(struct linger_set *l)
{
    bool stopping;

    (void)pthread_mutex_lock(&l->lock);
    stopping = l->stopping;
    (void)pthread_mutex_unlock(&l->lock);
    return stopping;
}

static void leave(struct linger_set *l)
{
    (void)pthread_mutex_lock(&l->lock);
    l->n--;
    (void)pthread_cond_broadcast(&l->socket_closed);
    (void)pthread_mutex_unlock(&l->lock);
}

static void *throw_away(void *arg)
{
    struct lingering w = *(struct lingering *)arg;
    int64_t end = sys_mono_ms(&sys_real) + LINGER_MAX_MS;
    size_t left = LINGER_MAX_BYTES;
    char waste[65536];

    free(arg);
    while (left > 0 && sys_mono_ms(&sys_real) < end && !is_stopping(w.set)) {
        struct pollfd p = { .fd = w.fd, .events = POLLIN };
        ssize_t n;

        if (poll(&p, 1, POLL_MS) == 0)
            continue;
        n = recv(w.fd, waste, sizeof waste, MSG_DONTWAIT);
        if (n <= 0)
            break;
        left -= (size_t)n < left ? (size_t)n : left;
    }
    (void)close(w.fd);
    leave(w.set);
    return NULL;
}

void linger_on(struct linger_set *l, int fd)
{
    struct lingering *w = malloc(sizeof *w);
    pthread_t thread;
    bool room;

    (void)pthread_mutex_lock(&l->lock);
    room = w && l->n < LINGER_MAX_SOCKETS && !l->stopping;
    l->n += room;
    (void)pthread_mutex_unlock(&l->lock);
    if (!room) {
        free(w);
        return;
    }
    *w = (struct lingering){ l, fcntl(fd, F_DUPFD_CLOEXEC, 0) };
    if (w->fd >= 0 && pthread_create(&thread, NULL, throw_away, w) == 0) {
        (void)pthread_detach(thread);
        return;
    }
    if (w->fd >= 0)
        (void)close(w->fd);
    free(w);
    leave(l);
}
