/*
 * connections - who is connected, what each is waited for and since when. Knows sockets, and nothing of HTTP.
 *
 * Slow senders must not keep out the others, however many they are and whatever they send now and then:
 *
 *   1. every stage in which the client is awaited has a total time, which no byte prolongs. A thread shuts the sockets
 *      of those that exceed it
 *   2. a newcomer is always let in. Where that makes more than `most`, the client that keeps the server waiting
 *      longest is shut in its place: first those whose head (or, for more than CONNECTIONS_SLOW_MS, whose body, or
 *      whose reading of an answer) is not done, then those between two requests, then the others. Never one whose
 *      request a handler works on, none in the first CONNECTIONS_GRACE_MS of its connection, a body or an answer, and
 *      no newcomer whose first bytes have not been read yet: in a burst the last ones wait in the reserve, or with the
 *      kernel, until that time is over. So a client that sends its head at once, as a probe does, is heard among any
 *      number of slow ones
 *   3. one address has at most `most_of_one` connections: beyond that a newcomer takes the place of one from its own
 *      address, by the same rule. An address whose clients behave is never refused: on Cloud Run all requests come
 *      from the few addresses of its front end
 *
 * A client that has closed its side while something is awaited from it is shut, too: the owner of the socket may have
 * missed its end, when that came together with the last bytes.
 *
 * A socket is only shut here; its owner notices that, closes it and calls connections_leave. What was closed is
 * reported in the log, once a minute at most.
 */
#ifndef WORKER_HTTP_CONNECTIONS_H
#define WORKER_HTTP_CONNECTIONS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "worker/base/sys.h"

enum {
    CONNECTIONS_SLOW_MS = 2000,
    CONNECTIONS_GRACE_MS = 100,
    /* places beyond `most`: for those that are shut but not closed yet, and for a burst. Each serves one newcomer in
     * about the grace, and the kernel keeps 4096 waiting, who must all be let in within two seconds */
    CONNECTIONS_RESERVE = 512
};

enum connection_stage {
    CONNECTION_NEW,    /* the head of its first request is not complete */
    CONNECTION_IDLE,   /* that of a later request */
    CONNECTION_BODY,   /* a body arrives */
    CONNECTION_WORK,   /* a handler works: it is not the client who is awaited */
    CONNECTION_ANSWER, /* the client reads the answer */
    CONNECTION_STAGES
};

struct connections_limits {
    int most, most_of_one;
    int64_t ms[CONNECTION_STAGES]; /* total time of a stage; 0: any */
    int places;                    /* `most` and those beyond it */
};

struct connection {
    int fd; /* -1: a free place */
    uint32_t address;
    enum connection_stage stage;
    int64_t came_ms;  /* monotonic, as the others */
    int64_t since_ms; /* of the stage */
    int64_t spared_ms;
    bool is_at_end; /* the client has closed its side: seen once in this stage */
    bool is_shut;
};

struct connections {
    struct connections_limits limits;
    const struct sys *sys;
    struct connection *places; /* limits.places */
    int too_slow, for_room;    /* shut since the last report */
    int64_t reported_ms;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* is_crowded or is_stopping */
    pthread_t watch;
    bool is_crowded; /* somebody must leave once the grace is over */
    bool is_stopping;
};

MUST_CHECK enum err_code connections_start(struct connections *c, const struct connections_limits *limits,
                                           const struct sys *sys, struct err *err);
void connections_stop(struct connections *c); /* when all have left */

/* A newcomer, in the stage CONNECTION_NEW. NULL: every place is taken, those of the reserve too. */
struct connection *connections_enter(struct connections *c, int fd, uint32_t address);
void connections_set_stage(struct connections *c, struct connection *who, enum connection_stage stage);
void connections_leave(struct connections *c, struct connection *who); /* before fd is closed; takes NULL */

#endif
