/*
 * fake_firestore - one Firestore document in memory, behind the HTTP seam, with faults on demand.
 *
 * Honours what the worker relies on: 404 for an absent document, :commit of one patch with a field mask, the updateTime
 * precondition, and that a write which changes nothing leaves updateTime as it is.
 */
#ifndef TEST_SUPPORT_FAKE_FAKE_FIRESTORE_H
#define TEST_SUPPORT_FAKE_FAKE_FIRESTORE_H

#include "worker/http/http_client.h"
#include "worker/base/json.h"

enum fake_fault {
    FAKE_NO_FAULT,
    FAKE_LOSE_ANSWER,  /* the commit is made, but its answer is lost */
    FAKE_LOSE_REQUEST, /* nothing is committed, and there is no answer */
    FAKE_ABORTED,      /* 409 ABORTED, nothing is committed */
    FAKE_UNAVAILABLE   /* 503 */
};

struct fake_firestore {
    struct http http;
    struct arena arena;        /* every version of the document */
    const struct json *fields; /* NULL: no document */
    int version;
    int n_gets, n_commits;
    enum fake_fault next_commit;                                /* once */
    void (*before_commit)(struct fake_firestore *f, void *ctx); /* once: another writer comes first */
    void *before_ctx;
};

void fake_firestore_init(struct fake_firestore *f);
void fake_firestore_done(struct fake_firestore *f);
/* Replaces the document by these fields, {"a":{"stringValue":"x"}}; NULL deletes it. Makes a new version. */
void fake_firestore_put(struct fake_firestore *f, const char *fields_json);
/* The text of a string, integer, double, boolean or timestamp field: "inpaint.lease.id"; NULL when absent; "{}" for a
 * map. */
const char *fake_firestore_text(struct fake_firestore *f, const char *path);

#endif
