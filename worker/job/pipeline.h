/*
 * pipeline - one push, from the claim to the answer. The only file that knows the whole order:
 *
 *   claim -> download both inputs -> edit (decode, mask, paint, blend, encode) -> upload both results -> completed
 *
 * A job that goes wrong ends in one of three ways (job_error.h, outcome.h): the session is `failed` and the message is
 * acknowledged; the claim is given back and the message is not acknowledged; or the document is not ours any more, and
 * nothing is written.
 * One job at a time: the caller holds the queue's turn.
 */
#ifndef WORKER_JOB_PIPELINE_H
#define WORKER_JOB_PIPELINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "worker/job/edit.h"
#include "worker/base/log.h"
#include "worker/push/job.h"
#include "worker/push/pubsub.h"
#include "worker/job/session.h"
#include "worker/google/storage.h"
#include "worker/job/uncovered.h"

enum { PIPELINE_RELEASE_MS = 1500 };

struct pipeline_settings {
    int steps;
    double guidance;
    struct picture_settings pictures;
    int64_t job_deadline_ms;
    double cost_per_second;
    int64_t max_deliveries, max_message_age_ms; /* a delivery beyond them is the last; 0: no bound */
};

struct pipeline {
    struct engine *engine;
    struct session_store *sessions;
    struct storage *storage;
    const struct sys *sys;
    struct pipeline_settings settings;
    struct arena arena;  /* memory of the job, rewound after it */
    struct arena beside; /* memory of the second of two simultaneous transfers, rewound as well */
    pthread_mutex_t lock;
    struct session *claimed;     /* the session of the running job, for pipeline_abandon(); under the lock */
    _Atomic int64_t stop_at_ms;  /* monotonic: when the work has to stop; 0: pipeline_stop() was not called */
    _Atomic int64_t leave_at_ms; /* monotonic: when writing its result has to stop, too */
    _Atomic int64_t eta_ms;      /* rest of the denoising; -1: unknown */
    _Atomic int64_t stuck_at_ms; /* monotonic: when the running job counts as stuck; 0: no job runs */
    struct uncovered uncovered;  /* the kinds of jobs that the log has warned about */
};

MUST_CHECK enum err_code pipeline_init(struct pipeline *p, struct engine *engine, struct session_store *sessions,
                                       struct storage *storage, const struct sys *sys,
                                       const struct pipeline_settings *settings, struct err *err);
void pipeline_done(struct pipeline *p);

struct pipeline_result {
    enum outcome outcome;
    bool has_error;
    enum job_error error;    /* the reason, if has_error */
    int retries;             /* of calls to Firestore and Storage */
    bool rereads_modulation; /* as in struct edit_result */
    struct stage_times times;
    bool was_claimed;
    int64_t wait_ms; /* if it was: from the arrival of the push to the claim */
    int64_t age_ms;  /* of the message, at the claim or the screening; -1: unknown */
};

/*
 * What can be answered without a turn in the queue, in the caller's thread and beside a running job: a finished,
 * leased, missing or exhausted session, and the last delivery of a message. OUTCOME_OPEN: it needs pipeline_run(); also
 * when Firestore did not answer in time, since the claim, which reads again, has more of it.
 */
struct pipeline_result pipeline_screen(struct pipeline *p, const struct push_message *msg, const struct job *job,
                                       const struct log_context *log);

/* arrived_ms: monotonic, when the push came in; the deadline counts from there. */
struct pipeline_result pipeline_run(struct pipeline *p, const struct push_message *msg, const struct job *job,
                                    int64_t arrived_ms, const struct log_context *log);

/* Whether the running job has taken more than twice its time. Then it will never end (a device that hangs cannot be
 * interrupted), and the process must be replaced. */
bool pipeline_is_stuck(const struct pipeline *p);

/* For SIGTERM: lets the job go on for grace_ms if it may be done by then, else stops it at its next step. Giving the
 * claim back afterwards may take PIPELINE_RELEASE_MS more. */
void pipeline_stop(struct pipeline *p, int64_t grace_ms);
/* For a job that does not stop: gives its claim back from outside. The process must end right after. */
void pipeline_abandon(struct pipeline *p);

#endif
