/*
 * access - asks the cloud whether the worker may do what a job does, and says what to do where it may not.
 *
 * Nothing is changed: the database is asked for a document that does not exist, and for a write to it that cannot
 * succeed; bucket and topic are asked which permissions we have (testIamPermissions). Only where the bucket's server
 * does not know that question, or with ACCESS_TRY, a small object is written, looked at and removed below
 * ACCESS_PROBE_PREFIX: a written object fires whatever the app has attached to its bucket.
 *
 * A verdict is REFUSED where the same question gets the same answer until somebody mends it (401, 403, a missing
 * database, bucket or project), and UNSURE where it may pass. Both come with a reason and a remedy; neither holds a
 * secret. Source: PROTOCOL.md 6.4.
 */
#ifndef WORKER_GOOGLE_ACCESS_H
#define WORKER_GOOGLE_ACCESS_H

#include "worker/base/names.h"
#include "worker/google/firestore.h"
#include "worker/google/publish.h"
#include "worker/google/storage.h"

/* Of the form that a session's document has, so that whatever keeps sessions knows what is asked for; nobody has it. */
#define ACCESS_PROBE_DOCUMENT "users/inpaint-worker/sessions/probe"
#define ACCESS_PROBE_PREFIX   "inpaint-worker-probe/"

enum access_verdict { ACCESS_UNSURE, ACCESS_REFUSED, ACCESS_GRANTED };

enum { ACCESS_REASON_SIZE = 480, ACCESS_REMEDY_SIZE = 640 };

struct access_answer {
    enum access_verdict verdict;
    bool absent;                     /* refused: there is no such bucket */
    char reason[ACCESS_REASON_SIZE]; /* a sentence; empty where it is granted, and so is the remedy */
    char remedy[ACCESS_REMEDY_SIZE]; /* the command that mends it, or where to look */
};

enum access_way { ACCESS_ASK, ACCESS_TRY };

struct access { /* all borrowed */
    struct http *http;
    struct gauth *gauth;
    const struct firestore *firestore;
    const struct storage *storage;
    const char *project, *database;
};

/* What a failed call without an answer of its own means: for errors of gauth, jwks and http_client. */
void access_judge_failure(enum err_code rc, const char *message, struct access_answer *ret);

/* The same of the keys of push tokens, which another server than Google's may lack. */
void access_keys(enum err_code rc, const char *message, struct access_answer *ret);

/* The project could not be found out, or not be used. */
void access_project(const struct gauth *g, enum err_code rc, const char *message, struct access_answer *ret);

/* Each takes memory from `a`, which the caller rewinds. */
void access_token(const struct access *x, const struct budget *budget, struct arena *a, struct access_answer *ret);
void access_database(const struct access *x, const struct budget *budget, struct arena *a, struct access_answer *ret);
void access_bucket(const struct access *x, enum access_way way, const struct budget *budget, struct arena *a,
                   struct access_answer *ret);

/* A topic, which is asked whether we may publish. */
void access_topic(const struct access *x, const struct publisher *p, const struct budget *budget, struct arena *a,
                  struct access_answer *ret);

/* Which of the buckets that Firebase makes for a project is there: PROJECT.firebasestorage.app, else
 * PROJECT.appspot.com. ret_bucket is empty unless one is. x->storage->bucket is not used. */
void access_find_bucket(const struct access *x, const struct budget *budget, struct arena *a,
                        char ret_bucket[BUCKET_NAME_MAX + 1], struct access_answer *ret);

#endif
