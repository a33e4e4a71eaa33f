/*
 * job_scene - the worker from the push to the answer, with its cloud and its clock in memory: handler, queue, pipeline
 * and an engine with the small random model, as `serve` puts them together.
 *
 *   job_scene_open(&s);                                    two inputs in the bucket, no document
 *   fake_cloud_document(&s.cloud, "{}");
 *   CHECK_INT(job_scene_push(&s, "m1"), 204);
 *   CHECK_STR(job_scene_counts(&s), ...);                  what /metrics counted
 *   CHECK(strstr(job_scene_log(&s), "push answered"));     what was logged
 *   job_scene_close(&s);
 */
#ifndef TEST_SUPPORT_FAKE_JOB_SCENE_H
#define TEST_SUPPORT_FAKE_JOB_SCENE_H

#include "test/support/fake/fake_cloud.h"
#include "worker/serve/handler.h"

enum { JOB_SCENE_NOW_S = 1700000000, JOB_SCENE_DEADLINE_MS = 280000, JOB_SCENE_STEPS = 5, JOB_SCENE_MAX_ATTEMPTS = 5 };

#define JOB_SCENE_FOLDER "users/u/sessions/s/"

struct job_scene {
    struct fake_cloud cloud; /* its ctx is the scene */
    struct arena arena;
    struct gauth *gauth;
    struct firestore firestore;
    struct storage storage;
    struct session_store sessions;
    struct engine *engine;
    struct job_queue queue;
    struct pipeline pipeline;
    struct oidc oidc; /* mode: none */
    struct metrics metrics;
    struct handler handler;
    int log, stderr_of_before;
    char log_text[32 << 10], counts_text[4 << 10];
    /* State for the test's callbacks. */
    int n_calls;
    bool done;
};

void job_scene_open(struct job_scene *s);
void job_scene_close(struct job_scene *s);

/* The envelope of a message for users/u/sessions/s, published at JOB_SCENE_NOW_S; in the arena. */
struct span job_scene_envelope(struct job_scene *s, const char *message_id);
/* Sends a request to its route: first on_headers, then on_request; the reply's texts are in the arena. */
struct http_server_reply job_scene_request(struct job_scene *s, struct http_server_request req);
int job_scene_push(struct job_scene *s, const char *message_id); /* POST /; returns the HTTP status */

/* All counters and histograms that are not zero, but for those of the wait for a claim, in the order of the page,
 * without "inpaint_": "a_total 1\n...". */
const char *job_scene_counts(struct job_scene *s);
const char *job_scene_log(struct job_scene *s); /* all lines since it was opened */

/* That the log has a line with this text, and of which severity the first such line is. */
void job_scene_check_severity(struct job_scene *s, const char *severity, const char *text);

/* Which request of the worker it is, for the callbacks of the cloud. */
bool job_scene_is_commit_of(const struct http_request *req, const char *text); /* its body has the text */
bool job_scene_is_download(const struct http_request *req); /* of the photo: in the worker's thread */
bool job_scene_is_upload(const struct http_request *req);   /* of edited.jpg, likewise */
/* Once, in the worker's thread, when the first of the steps is done. */
bool job_scene_first_step_is_done(struct job_scene *s);

/* Fields of a document, as Firestore writes them. */
#define DOC_STATUS(x)   "\"processingStatus\":{\"stringValue\":\"" x "\"}"
#define DOC_INPAINT(x)  "\"inpaint\":{\"mapValue\":{\"fields\":{" x "}}}"
#define DOC_MESSAGE(x)  "\"messageId\":{\"stringValue\":\"" x "\"}"
#define DOC_ATTEMPTS(x) "\"attempts\":{\"integerValue\":\"" x "\"}"
#define DOC_LEASE(id, until)                                                                  \
    "\"lease\":{\"mapValue\":{\"fields\":{\"id\":{\"stringValue\":\"" id "\"},\"expiresAt\":" \
    "{\"timestampValue\":\"" until "\"}}}}"
#define DOC_LATER  "2033-05-18T03:33:20Z" /* second 2000000000 */
#define DOC_BEFORE "2020-09-13T12:26:40Z"

/* Another worker's claim of the session. */
#define DOC_OTHERS_CLAIM \
    "{" DOC_STATUS("processing") "," DOC_INPAINT(DOC_MESSAGE("m9") "," DOC_LEASE("other", DOC_LATER)) "}"

/* Lines of job_scene_counts(). */
#define COUNT_UNTIL_DENOISE                                                                \
    "stage_seconds_count{stage=\"download\"} 1\nstage_seconds_count{stage=\"decode\"} 1\n" \
    "stage_seconds_count{stage=\"encode\"} 1\nstage_seconds_count{stage=\"denoise\"} 1\n"
#define COUNT_PUSHES(code) "pushes_total{code=\"" code "\"} 1\n"
#define COUNT_JOB(outcome) "jobs_total{outcome=\"" outcome "\"} 1\n"
#define COUNT_ERROR(code)  "job_errors_total{code=\"" code "\"} 1\n"
#define COUNT_SECONDS      "job_seconds_count 1\n"

#endif
