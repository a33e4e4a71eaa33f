/*
 * session - the state of one edit in its Firestore document: claim it, report progress, end it.
 *
 * Easy to get wrong: a claim must write something unique (a fresh lease id), or two workers that take over an expired
 * lease both succeed; a commit whose outcome is unknown is settled by re-reading and looking for the lease id, never by
 * sending it again; every later write carries the updateTime of the one before, and when the app has touched other
 * fields meanwhile, it is enough that the lease is still ours and the status still `processing`.
 *
 *   state of the document          same message          another message
 *   ---------------------          ------------          ---------------
 *   absent                         missing               missing
 *   completed, cancelled           duplicate             duplicate
 *   failed                         duplicate             claim, attempts from 1
 *   pending (or no status)         claim, attempts + 1   claim, attempts from 1
 *   processing, lease alive        busy                  superseded
 *   processing, no lease alive     claim, attempts + 1   claim, attempts from 1
 *   any other status               refused               refused
 *
 * Its fields are in session_document.h. Source of the rules: PROTOCOL.md 1.9, 4.6.
 */
#ifndef WORKER_JOB_SESSION_H
#define WORKER_JOB_SESSION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "worker/google/firestore.h"
#include "worker/push/pubsub.h"
#include "worker/job/session_document.h"

struct session_store {
    const struct firestore *fs;
    const struct sys *sys;
    int64_t lease_ms;
    int max_attempts;
};

struct session {
    const struct session_store *store;
    const char *document;
    pthread_mutex_t lock; /* progress and the end may be written by two threads */
    struct arena arena;   /* memory of one call; under the lock */
    char message_id[PUBSUB_MESSAGE_ID_MAX + 1], lease_id[37], update_time[FIRESTORE_TIME_SIZE];
    int64_t attempts;
    bool claim_sent; /* a claim may have landed, whatever the answer was */
};

/* `s` is embedded. session_done() must follow, whatever session_claim() returned. `document` and `store` are borrowed.
 */
MUST_CHECK enum err_code session_init(struct session *s, const struct session_store *store, const char *document,
                                      const char *message_id, struct err *err);
void session_done(struct session *s);

/* OUTCOME_OPEN: the session is ours, run the job. Else nothing was claimed, and for OUTCOME_EXHAUSTED `failed` has been
 * written. ERR_UNAVAILABLE, ERR_DEADLINE, ERR_DENIED, ...: it is not known whether a claim landed; session_unclaim().
 */
MUST_CHECK enum err_code session_claim(struct session *s, const struct budget *budget, struct arena *a,
                                       enum outcome *ret, struct prompt_wishes *ret_wishes, struct err *err);

/*
 * The writes below fail with ERR_NOT_FOUND when the document is gone and with ERR_CONFLICT when it is not ours any
 * more: then nothing was written, and the job must stop. They may be called from several threads at once.
 */

/* The caller makes sure that there is at most one a second. Network failures are ignored: ERR_OK. */
MUST_CHECK enum err_code session_progress(struct session *s, enum stage stage, int percent, double eta_seconds,
                                          const struct budget *budget, struct err *err);

MUST_CHECK enum err_code session_complete(struct session *s, const struct document_report *r,
                                          const struct budget *budget, struct err *err);
MUST_CHECK enum err_code session_fail(struct session *s, const struct document_report *r, const struct budget *budget,
                                      struct err *err);
/* Gives the claim back: status `pending`, no lease; messageId and attempts stay. */
MUST_CHECK enum err_code session_release(struct session *s, const struct budget *budget, struct err *err);
/* The same from another thread. ERR_UNAVAILABLE when a write is under way and does not end soon. */
MUST_CHECK enum err_code session_release_from_outside(struct session *s, const struct budget *budget, struct err *err);
/* For a session_claim() that failed: reads whether the claim has landed after all, and gives it back. */
MUST_CHECK enum err_code session_unclaim(struct session *s, const struct budget *budget, struct err *err);

#endif
