/*
 * fake_cloud - Firestore and Cloud Storage in memory behind one HTTP seam, and a clock, so that a whole job runs in a
 * test: one session document (fake_firestore.h), a few objects of one bucket.
 *
 * Storage honours what the worker relies on: metadata, the bytes of one generation, multipart uploads and deletions
 * under a generation. A request whose budget is cancelled or used up is not sent. Time stands still until somebody
 * sleeps or fake_cloud_pass() is called. Thread-safe.
 */
#ifndef TEST_SUPPORT_FAKE_FAKE_CLOUD_H
#define TEST_SUPPORT_FAKE_FAKE_CLOUD_H

#include <pthread.h>

#include "test/support/fake/fake_firestore.h"
#include "test/support/fake/fake_sys.h"
#include "worker/http/http_client.h"

enum { FAKE_CLOUD_OBJECTS = 8, FAKE_CLOUD_COMMITS = 64, FAKE_CLOUD_NAME_SIZE = 80 };

struct fake_cloud {
    struct http http;
    struct sys sys;
    pthread_mutex_t lock, clock_lock;
    struct fake_firestore firestore;
    struct fake_sys clock;
    struct fake_object {
        char name[FAKE_CLOUD_NAME_SIZE], job_id[40];
        struct span body;
        int64_t generation; /* 0: no such object */
    } objects[FAKE_CLOUD_OBJECTS];
    int64_t last_generation, takes_ms;       /* takes_ms: how long each download of bytes takes */
    struct span commits[FAKE_CLOUD_COMMITS]; /* bodies of the commits to Firestore, in order */
    int n_commits;
    /* Called before a request is answered, by whichever thread sends it and without the lock. 0: the request is
     * answered as usual; a status: that is the answer, and the request has no effect; -1: no answer and no effect. */
    int (*on_request)(void *ctx, const struct http_request *req);
    /* Called before each reading of the monotonic clock, which the worker's thread does at every step. */
    void (*on_clock)(void *ctx);
    void *ctx; /* for both callbacks */
};

void fake_cloud_init(struct fake_cloud *c, int64_t wall_s);
void fake_cloud_done(struct fake_cloud *c);

void fake_cloud_pass(struct fake_cloud *c, int64_t ms);
void fake_cloud_document(struct fake_cloud *c, const char *fields_json);       /* fake_firestore_put() */
const char *fake_cloud_text(struct fake_cloud *c, const char *path);           /* fake_firestore_text() */
void fake_cloud_put(struct fake_cloud *c, const char *name, struct span body); /* a new generation; body is copied */
const struct fake_object *fake_cloud_object(struct fake_cloud *c, const char *name); /* NULL: no such object */
int fake_cloud_commits(struct fake_cloud *c); /* how many commits have been sent */

#endif
