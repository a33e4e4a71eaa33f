/*
 * reporter - writes the progress into the session document from a thread of its own, so that the painting never waits
 * for Firestore.
 *
 * It writes at most once a second, and only when there is something new. When a write finds the document gone or the
 * lease taken, the reporter stops, reporter_lost() returns ERR_NOT_FOUND or ERR_CONFLICT, and the job has to stop.
 */
#ifndef WORKER_JOB_REPORTER_H
#define WORKER_JOB_REPORTER_H

#include <pthread.h>
#include <stdbool.h>

#include "worker/job/session.h"

enum { REPORTER_INTERVAL_MS = 1000 };

struct reporter {
    struct session *session;
    const struct budget *budget;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum stage stage;
    int percent;
    double eta_seconds;
    bool fresh, stop, running;
    _Atomic int lost; /* enum err_code */
};

/* session and budget are borrowed until reporter_stop(). */
MUST_CHECK enum err_code reporter_start(struct reporter *r, struct session *session, const struct budget *budget,
                                        struct err *err);
void reporter_set(struct reporter *r, enum stage stage, int percent, double eta_seconds);
enum err_code reporter_lost(const struct reporter *r); /* ERR_OK: no write has found the session lost */
enum err_code reporter_lose(struct reporter *r,
                            enum err_code rc); /* another write found the session lost; returns rc */
void reporter_stop(struct reporter *r);        /* waits for a write that is under way; takes a zeroed reporter */

#endif
