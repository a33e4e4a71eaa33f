/*
 * firestore - get a document; change fields of it if nobody else has changed it (PROTOCOL.md 4).
 *
 * Facts that are easy to get wrong: 409 and 400 mean several things each, so answers are classified by `error.status`;
 * a write that changes nothing leaves updateTime as it was; updateTime is opaque text and is sent back byte by byte;
 * conditional writes go through :commit only; every document read must carry the name that was asked for.
 *
 * Both calls retry what the table of PROTOCOL.md 7 allows, inside the budget, and refresh a refused token once. The
 * caller decides what to do next by the code they return:
 *
 *   ERR_NOT_FOUND        no such document, in a database that is there: a missing database or project is an outage
 *   ERR_CONFLICT         a commit's precondition did not hold (the document may be gone), or contention: re-read and
 *                        decide
 *   ERR_UNKNOWN_OUTCOME  the commit may have landed: re-read, and look for your own lease id
 *   ERR_UNAVAILABLE      transient, and the tries are used up; the database is missing; or somebody else has answered,
 *                        as a proxy does. A commit did not land
 *   ERR_DENIED           401 after a fresh token, or 403
 *   ERR_INVALID          our request is wrong: a bug, the same request fails again
 *   ERR_PROTOCOL         the answer to a get is not the document that was asked for, or cannot be understood
 *   ERR_DEADLINE, ERR_CANCELLED, ERR_NOMEM
 */
#ifndef WORKER_GOOGLE_FIRESTORE_H
#define WORKER_GOOGLE_FIRESTORE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"
#include "worker/google/gauth.h"
#include "worker/http/http_client.h"
#include "worker/google/stored.h"

enum {
    /* A document is at most 1 MiB long. As JSON without white space one byte of it becomes 23 at most (a boolean:
     * `{"booleanValue":false},`); in a string 6 (`\u0000`). The rest is for a server that adds white space. */
    FIRESTORE_REPLY_MAX = 32 << 20,
    FIRESTORE_NAME_MAX = 2048, /* a field path is less than half as long */
    FIRESTORE_TIME_SIZE = 64,
    FIRESTORE_DEPTH_MAX = 100, /* Firestore allows 20 levels, which are 60 of JSON; and 4 around them */
    FIRESTORE_PATH_DEPTH_MAX = 8
};

struct firestore {
    struct http *http;
    struct gauth *gauth;
    const char *base;       /* "https://firestore.googleapis.com/v1" or "http://host:port/v1"; no slash at the end */
    const char *documents;  /* "projects/P/databases/D/documents" */
    bool emulator;          /* plain http is allowed */
    _Atomic bool *answered; /* the database has answered since the start, so it is there */
};

struct firestore_options { /* all borrowed */
    struct http *http;
    struct gauth *gauth;
    const char *project;
    const char *emulator_host; /* FIRESTORE_EMULATOR_HOST, host:port; NULL or "": Google's */
    const char *database;      /* NULL: "(default)" */
};

/* Texts live in `a` (the process arena). ERR_INVALID: the emulator's address. */
MUST_CHECK enum err_code firestore_init(struct firestore *fs, const struct firestore_options *options, struct arena *a,
                                        struct err *err);

/* --- reading --- */

/* The fields to read, as field paths: segments are in backticks where they are not [A-Za-z_][A-Za-z_0-9]*. */
struct firestore_mask {
    const char *const *paths;
    int n; /* 0: the whole document */
};

struct firestore_document {
    const char *update_time; /* as Firestore wrote it */
    struct span fields;      /* empty: the document has none of the fields of the mask */
    int64_t server_us;       /* the server's clock when it answered, to the second; 0: it does not say */
};

/* `document` is the path below .../documents/: "users/U/sessions/S". ret->server_us is set with an error, too. */
MUST_CHECK enum err_code firestore_get(const struct firestore *fs, const char *document, struct firestore_mask mask,
                                       const struct budget *budget, struct arena *a, struct firestore_document *ret,
                                       struct err *err);

/* The server's clock from a read that says it itself (readTime of batchGet), for servers whose answers have no Date, as
 * those of the emulator. One try. */
MUST_CHECK enum err_code firestore_read_time(const struct firestore *fs, const char *document,
                                             const struct budget *budget, struct arena *a, int64_t *ret_us,
                                             struct err *err);

/* --- writing --- */

enum firestore_type {
    FIRESTORE_DELETE, /* removes the field; only in a patch, not inside a MAP or an ARRAY */
    FIRESTORE_STRING,
    FIRESTORE_INTEGER,
    FIRESTORE_DOUBLE,
    FIRESTORE_BOOL,
    FIRESTORE_TIMESTAMP,
    FIRESTORE_MAP,
    FIRESTORE_ARRAY
};

struct firestore_field;

struct firestore_value {
    enum firestore_type type;
    const char *string;
    int64_t integer; /* INTEGER; BOOL: 0 or 1; TIMESTAMP: microseconds since 1970 */
    double number;
    const struct firestore_field *fields; /* MAP: `n` fields under plain names; no DELETE */
    const struct firestore_value *values; /* ARRAY: `n` values; no ARRAY, no DELETE */
    int n;
};

struct firestore_field {
    const char *name; /* in a patch: a field path, "inpaint.lease"; in a MAP: a plain name */
    struct firestore_value value;
};

static inline struct firestore_value firestore_v_delete(void)
{
    return (struct firestore_value){ .type = FIRESTORE_DELETE };
}

static inline struct firestore_value firestore_v_string(const char *s)
{
    return (struct firestore_value){ .type = FIRESTORE_STRING, .string = s };
}

static inline struct firestore_value firestore_v_integer(int64_t i)
{
    return (struct firestore_value){ .type = FIRESTORE_INTEGER, .integer = i };
}

static inline struct firestore_value firestore_v_double(double d)
{
    return (struct firestore_value){ .type = FIRESTORE_DOUBLE, .number = d };
}

static inline struct firestore_value firestore_v_bool(bool b)
{
    return (struct firestore_value){ .type = FIRESTORE_BOOL, .integer = b };
}

static inline struct firestore_value firestore_v_timestamp(int64_t us)
{
    return (struct firestore_value){ .type = FIRESTORE_TIMESTAMP, .integer = us };
}

static inline struct firestore_value firestore_v_map(const struct firestore_field *f, int n)
{
    return (struct firestore_value){ .type = FIRESTORE_MAP, .fields = f, .n = n };
}

static inline struct firestore_value firestore_v_array(const struct firestore_value *v, int n)
{
    return (struct firestore_value){ .type = FIRESTORE_ARRAY, .values = v, .n = n };
}

/* Tries and waits of a write: a row each of the table in PROTOCOL.md 7. */
extern const struct retry_policy firestore_claim_policy, firestore_result_policy, firestore_progress_policy;

struct firestore_patch {
    const char *document;
    const struct firestore_field *fields; /* n_fields of them, one at least */
    int n_fields;
    const char *update_time; /* the precondition: nobody has changed the document since this one */
    const struct retry_policy *policy;
};

/*
 * Sets the fields at these paths and no others (each path is in the mask; a DELETE is in the mask only), in one atomic
 * commit. ERR_INVALID when a path equals another or lies below it. ret_update_time (may be NULL, may be the buffer that
 * patch->update_time points to): the precondition of the next write.
 * The commit is sent again only if it is certain that the first one did not land.
 */
MUST_CHECK enum err_code firestore_patch(const struct firestore *fs, const struct firestore_patch *patch,
                                         const struct budget *budget, struct arena *a,
                                         char ret_update_time[FIRESTORE_TIME_SIZE], struct err *err);

/* --- what an answer means (PROTOCOL.md 4.7); declared here for the tests --- */

enum firestore_call { FIRESTORE_READ, FIRESTORE_CONDITIONAL_WRITE };
enum firestore_outcome {
    FIRESTORE_DONE,      /* 200 */
    FIRESTORE_RETRY,     /* nothing happened; the same call may succeed */
    FIRESTORE_NEW_TOKEN, /* the token is refused: refresh it, once */
    FIRESTORE_REREAD,    /* the precondition did not hold */
    FIRESTORE_UNKNOWN,   /* a write that may have landed */
    FIRESTORE_ABSENT,    /* there is no such document */
    FIRESTORE_REFUSED,   /* 403 */
    FIRESTORE_FINAL,     /* our request is wrong and would fail again */
    FIRESTORE_FOREIGN    /* somebody else has answered, who knows neither document nor request; no retry */
};

enum firestore_outcome firestore_classify(enum firestore_call call, int http_status, struct span body);

/* What the message of a NOT_FOUND says is missing. */
enum firestore_missing { FIRESTORE_MISSING_UNSAID, FIRESTORE_MISSING_DOCUMENT, FIRESTORE_MISSING_DATABASE };

enum firestore_missing firestore_missing(const char *message, const char *document);

#endif
