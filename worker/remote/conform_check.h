/*
 * conform_check - what a check of `conform` is, what has been found out about the worker so far, and how a check sends
 * and judges.
 *
 * A check is a row of a table: what it sends, what it expects, and the function that does both. It fills a result and
 * returns nothing: whatever goes wrong is a failed check, and the run goes on.
 *
 * What reaches a log can be told by its marks: in Cloud Run's log of requests, and a proxy's, the User-Agent
 * CONFORM_AGENT; in the worker's, which has no User-Agent, message ids that begin with CONFORM_PREFIX. Messages have
 * the attribute CONFORM_ATTRIBUTE.
 */
#ifndef WORKER_REMOTE_CONFORM_CHECK_H
#define WORKER_REMOTE_CONFORM_CHECK_H

#include "kernels/base/arena.h"
#include "worker/base/sys.h"
#include "worker/http/http_client.h"

#define CONFORM_AGENT     "inpaint-worker-conform"
#define CONFORM_PREFIX    "conform-"
#define CONFORM_ATTRIBUTE "inpaint-conform"

enum { CONFORM_TEXT_SIZE = 400, CONFORM_HEADERS_MAX = 8, CONFORM_CALL_MS = 60000, CONFORM_REPLY_MAX = 1 << 20 };

enum conform_need { CONFORM_NOTHING, CONFORM_TOKEN, CONFORM_POISON, CONFORM_SESSION };
enum conform_verdict { CONFORM_OK, CONFORM_FAILED, CONFORM_SKIPPED };

struct conform_result {
    enum conform_verdict verdict;
    char got[CONFORM_TEXT_SIZE];  /* what came: a part of a sentence */
    char note[CONFORM_TEXT_SIZE]; /* why it failed or was skipped, or what else is to know; may be empty */
    int64_t ms;
};

struct conform { /* texts are borrowed */
    struct http *http;
    const struct sys *sys;
    struct arena *arena;       /* for one check at a time */
    const char *base;          /* the worker's address, without a slash at the end */
    const char *authorization; /* "Bearer ..."; NULL: the caller has no token */
    const char *user, *session;
    const char *subscription;     /* "": none */
    const char *expected_version; /* a part of the version that it must have; NULL: any */
    bool poison;
    int64_t timeout_ms; /* for the first answer, until it is ready, and for the job */
    struct http_header headers[CONFORM_HEADERS_MAX];
    int n_headers;
    void (*say)(const char *line); /* progress; NULL: none */
    /* found out */
    bool unreachable, not_ready, token_refused, misdirected; /* misdirected: pushes are taken for poison */
    int poison_status;                                       /* of the first poison; 0: none yet */
    char version[128];
    struct conform_result job_beside, job_again; /* of the run of the check "job" */
};

struct conform_check {
    const char *name;            /* one word, for scripts; never changes */
    const char *sent, *expected; /* parts of a sentence */
    enum conform_need need;
    void (*run)(struct conform *c, const struct conform_check *k, struct conform_result *r);
    /* for `run`, each as far as it wants it */
    const char *method, *path;
    const char *text; /* a header's value, a body, an algorithm */
    int status;
};

#define CONFORM_COUNT(checks) ((int)(sizeof(checks) / sizeof *(checks)))

struct conform_table {
    const struct conform_check *checks;
    int n;
};

extern const struct conform_table conform_probes, conform_refusals, conform_pushes, conform_poisons, conform_sessions;

/* ---- sending ---- */

/* A request to a path of the worker, with the marks and the caller's headers. */
MUST_CHECK enum err_code conform_request(const struct conform *c, const char *method, const char *path, struct arena *a,
                                         struct http_request *ret, struct err *err);

/* A push of a new message, published this many seconds ago, without a token; both NULL: about a session that does not
 * exist. */
MUST_CHECK enum err_code conform_push(const struct conform *c, const char *user, const char *session, int64_t age_s,
                                      struct arena *a, struct http_request *ret, struct err *err);

/* A text of this character, n times. */
MUST_CHECK enum err_code conform_fill(struct arena *a, char with, size_t n, char **ret, struct err *err);

/* Sends; false: there is no whole answer, `r` says why, and *ret is zeroed. */
bool conform_send(const struct conform *c, const struct http_request *req, struct http_reply *ret,
                  struct conform_result *r);

/* What a stranger's server has said may hold what a terminal would obey: all but printable ASCII becomes '?'. */
void conform_show(char *text);

/* ---- judging ---- */

void conform_fail(struct conform_result *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void conform_note(struct conform_result *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A step in front of the request failed, for want of memory. */
void conform_broken(struct conform_result *r, const struct err *err);

/* OK where the worker itself answered with this status; else failed, with what the answer means. */
bool conform_expect(const struct http_reply *reply, int status, struct conform_result *r);

/* OK where the push is refused for its token: by the worker with 401 and a challenge, or before it by Cloud Run; or
 * where a proxy before it refuses the whole request (400, 413). */
void conform_expect_refusal(const struct http_reply *reply, struct conform_result *r);

#endif
