/*
 * cloud_check - whether the cloud lets the worker do its jobs: asked in a thread of its own from the start on, so that
 * the server listens and the model loads meanwhile; asked again after a job that failed by the cloud
 * (cloud_check_doubt), and until that is answered no other job begins: a missing bucket, say, costs one job one
 * attempt.
 *
 *   project     known, else the metadata server's; then `connect` is called, once
 *   token       an access token is to be had
 *   database    a document can be read and written
 *   bucket      objects can be read, written and replaced; where no bucket is set, the project's own is found first
 *   topic       of POISON_TOPIC: messages can be published to it
 *   keys        those of the issuer of push tokens have been fetched
 *
 * What may pass is asked again after 1 to 30 s, what is refused every 30 s: a role that was granted meanwhile makes the
 * worker ready without a new start. Each part that fails leaves a line in the log, with the reason and the remedy, when
 * it begins and every ten minutes. Source: PROTOCOL.md 6.4.
 */
#ifndef WORKER_SERVE_CLOUD_CHECK_H
#define WORKER_SERVE_CLOUD_CHECK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "worker/auth/jwks.h"
#include "worker/google/access.h"

enum cloud_part { CLOUD_PROJECT, CLOUD_TOKEN, CLOUD_DATABASE, CLOUD_BUCKET, CLOUD_TOPIC, CLOUD_KEYS, CLOUD_PARTS };

/* That of the whole is the highest of any part's. */
enum cloud_state {
    CLOUD_HOLDS,
    CLOUD_ASKING,  /* not everything has been answered yet */
    CLOUD_WAITING, /* something does not answer, which may pass */
    CLOUD_REFUSED  /* something is refused, until somebody mends it */
};

struct cloud_check_options { /* all borrowed */
    struct http *http;
    struct gauth *gauth;
    struct jwks *jwks; /* NULL: pushes have no tokens */
    struct firestore *firestore;
    struct storage *storage;           /* its bucket is set, once, where it is NULL after `connect` */
    const struct publisher *publisher; /* NULL: there is no POISON_TOPIC */
    const char *database;
    const struct sys *sys;
    /* Opens both for the project, in the thread of the check. */
    enum err_code (*connect)(void *ctx, const char *project, struct err *err);
    /* Everything holds, or no longer does; called when that changes, in the thread of the check. */
    void (*changed)(void *ctx, bool holds);
    /* No job may begin, or one may: called by every answer and every doubt, in any thread, under the lock of the check.
     */
    void (*hold)(void *ctx, bool held);
    void *ctx;
};

/* What the log was told of a part's trouble. */
struct cloud_told {
    int64_t at_ms[2];                /* that it does not answer, that it refuses; 0: not told */
    char remedy[ACCESS_REMEDY_SIZE]; /* of the refusal */
};

struct cloud_check {
    struct cloud_check_options o;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    _Atomic bool stop;
    bool started;
    /* Written by the thread, under the lock. */
    struct access_answer parts[CLOUD_PARTS];
    bool asked[CLOUD_PARTS], doubted;
    /* The thread's own. */
    bool holds;
    int n_rounds; /* in a row that something did not answer */
    struct cloud_told told[CLOUD_PARTS];
    const char *project;
    _Atomic int64_t took_ms[CLOUD_PARTS]; /* all questions for a part together; read by others once it holds */
    char bucket[BUCKET_NAME_MAX + 1];     /* the one found */
};

/* From cloud_check_init on its state may be asked for, in any thread; nothing is sent before cloud_check_start. */
MUST_CHECK enum err_code cloud_check_init(struct cloud_check *c, const struct cloud_check_options *options,
                                          struct err *err);
MUST_CHECK enum err_code cloud_check_start(struct cloud_check *c, struct err *err);
/* Cancels what is on its way. false: the thread has not ended within that time, and nothing it uses may be freed. The
 * state may still be asked for, and doubted. */
bool cloud_check_stop(struct cloud_check *c, int64_t within_ms);
void cloud_check_done(struct cloud_check *c); /* once nobody uses it any more */

/* The reason is empty where there is none. */
enum cloud_state cloud_check_state(struct cloud_check *c, char reason[ACCESS_REASON_SIZE]);

/* Whether sessions can be looked at: Firestore is open, and the database was there when it was asked last. */
bool cloud_check_has_database(struct cloud_check *c);

/* Whether the keys of push tokens are there; they are fetched unless they are. */
void cloud_check_keys(struct jwks *jwks, const struct budget *budget, struct access_answer *ret);

/* Whether the log is to be told of trouble, and marks it as told: once, again after ten minutes, and when something
 * else mends a refusal. Its reason is no news, because the cloud may give each refusal a name of its own. */
bool cloud_check_tells(struct cloud_told *told, const struct access_answer *trouble, int64_t now_ms);

/* A job has failed by the database or the bucket: both are asked again, at most every 2 s. Until they have answered,
 * jobs are held. To be called before the next job can begin. */
void cloud_check_doubt(struct cloud_check *c);

#endif
