/*
 * session - the state of one edit in its Firestore document: claim it, report progress, end it.
 *
 * Easy to get wrong: a claim must write something unique (a fresh lease id), or two workers that take over an expired
 * lease both succeed; a commit whose outcome is unknown is settled by re-reading and looking for the lease id, never by
 * sending it again; every later write carries the updateTime of the one before, and when the app has touched other
 * fields meanwhile, it is enough that the lease is still ours and the status still `processing`.
 *
 *   state of the document               same message          another message
 *   ---------------------               ------------          ---------------
 *   absent                              missing               missing
 *   completed, cancelled, deleted       duplicate             duplicate
 *   failed                              duplicate             claim, attempts from 1
 *   processing, lease alive             busy                  superseded
 *   processing, no lease alive          claim, attempts + 1   claim, attempts from 1
 *   pending, any other word, or none    claim, attempts + 1   claim, attempts from 1
 *
 * The only clock that counts is the server's: by it a lease is judged, and by it the end of one is written. A lease
 * ends at its expiresAt, but no later than the document's last change and the time of a lease.
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
    _Atomic bool without_time; /* the log has said that the server does not tell the time */
};

struct session {
    struct session_store *store;
    const char *document;
    pthread_mutex_t lock; /* progress and the end may be written by two threads */
    struct arena arena;   /* memory of one call; under the lock */
    char message_id[PUBSUB_MESSAGE_ID_MAX + 1], lease_id[37], update_time[FIRESTORE_TIME_SIZE];
    int64_t attempts;
    struct mask_wishes mask_wishes;    /* read with a claim */
    bool claim_sent;                   /* a claim may have landed, whatever the answer was */
    struct err unreadable;             /* why the document was not understood */
    enum outcome ended;                /* the end without a claim that may have been written; OUTCOME_OPEN: none */
    int64_t server_us, server_mono_ms; /* the server's clock at the last read, and ours; 0: nothing was read */
};

/* `s` is embedded. session_done() must follow, whatever session_claim() returned. `document` and `store` are borrowed.
 */
MUST_CHECK enum err_code session_init(struct session *s, struct session_store *store, const char *document,
                                      const char *message_id, struct err *err);
void session_done(struct session *s);

/* What one read of a few small fields decides. OUTCOME_OPEN: it is worth a claim. Else as for session_claim(). */
MUST_CHECK enum err_code session_screen(struct session *s, const struct budget *budget, enum outcome *ret,
                                        struct err *err);

/* OUTCOME_OPEN: the session is ours, run the job. Else nothing was claimed, and for OUTCOME_EXHAUSTED and
 * OUTCOME_UNREADABLE `failed` has been written. ERR_UNAVAILABLE, ERR_DEADLINE, ERR_DENIED, ...: it is not known whether
 * a claim landed; session_unclaim().
 */
MUST_CHECK enum err_code session_claim(struct session *s, const struct budget *budget, struct arena *a,
                                       enum outcome *ret, struct prompt_wishes *ret_wishes, struct err *err);

/* Instead of a claim: what would be claimed becomes `failed`, as when its attempts are used up (OUTCOME_EXHAUSTED),
 * even if what the app wrote cannot be understood. What has failed already stays as it is (OUTCOME_DUPLICATE). */
MUST_CHECK enum err_code session_give_up(struct session *s, const struct budget *budget, enum outcome *ret,
                                         struct err *err);

/* The server's clock, microseconds since 1970; our own while nothing has been read. */
int64_t session_now_us(const struct session *s);
static inline bool session_has_time(const struct session *s)
{
    return s->server_us != 0;
}

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
