/*
 * fake_firestore - one Firestore document in memory, behind the HTTP seam, with faults on demand.
 *
 * Honours what the worker relies on: 404 for an absent document, :commit of one patch with a field mask, the updateTime
 * precondition, that a write which changes nothing leaves updateTime as it is, and the field mask of a read for what
 * `wild` holds. Its clock is its own: it tells the time in Date and updateTime.
 */
#ifndef TEST_SUPPORT_FAKE_FAKE_FIRESTORE_H
#define TEST_SUPPORT_FAKE_FAKE_FIRESTORE_H

#include "kernels/base/span.h"
#include "worker/http/http_client.h"
#include "worker/base/json.h"

enum fake_fault {
    FAKE_NO_FAULT,
    FAKE_LOSE_ANSWER,  /* the commit is made, but its answer is lost */
    FAKE_LOSE_REQUEST, /* nothing is committed, and there is no answer */
    FAKE_ABORTED,      /* 409 ABORTED, nothing is committed */
    FAKE_UNAVAILABLE,  /* 503 */
    FAKE_INVALID       /* 400 INVALID_ARGUMENT, nothing is committed */
};

enum { FAKE_FIRESTORE_NOW_S = 1700000000, FAKE_WILD_MAX = 4 };

struct fake_firestore {
    struct http http;
    struct arena arena;        /* every version of the document */
    const struct json *fields; /* NULL: no document */
    /* More members of the document, as JSON text that need not be strict, each with a comma behind it:
     * `"prompt":{...},`. A read gets one whose name its mask has. */
    struct span wild[FAKE_WILD_MAX];
    int n_wild;
    int64_t changed_us;           /* the last updateTime */
    int64_t (*now_us)(void *ctx); /* the server's clock; NULL: it stands at FAKE_FIRESTORE_NOW_S */
    void *now_ctx;
    bool without_date;      /* no Date in the answers */
    bool without_read_time; /* and no :batchGet */
    const char *missing;    /* the body of a 404; NULL: names the document */
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
