/*
 * metrics - counters, gauges and histograms in the Prometheus text format 0.0.4, from fixed tables.
 *
 * Every series exists from the start and none is ever added, so nothing a sender does can make the page grow, and a
 * rate is right from the first event on. Thread-safe: plain atomics. Two series of a page may differ by events that
 * were counted while it was printed, but a histogram is consistent in itself.
 */
#ifndef WORKER_SERVE_METRICS_H
#define WORKER_SERVE_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"
#include "worker/auth/oidc.h"
#include "worker/job/job_error.h"
#include "worker/job/outcome.h"
#include "worker/job/stage.h"
#include "worker/serve/start_times.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Answers to pushes; another code counts as "other". */
#define METRICS_ANSWER_MAP(X) \
    X(204)                    \
    X(400)                    \
    X(401)                    \
    X(403)                    \
    X(404)                    \
    X(409)                    \
    X(429)                    \
    X(500)                    \
    X(503)

/* The counters that outcome.h names grow by metrics_outcome(), the others by metrics_add(). */
#define METRICS_COUNTER_MAP(X)                                                                           \
    X(POISON, "inpaint_poison_total", "Pushes that can never be a job.")                                 \
    X(DUPLICATES, "inpaint_duplicates_total", "Pushes of work that was done or is under way.")           \
    X(RETRIES, "inpaint_upstream_retries_total", "Calls to Firestore and Cloud Storage repeated.")       \
    X(LEASES_LOST, "inpaint_leases_lost_total", "Jobs stopped because another worker took over.")        \
    X(LOG_DROPPED, "inpaint_log_dropped_total", "Lines of the log that standard error did not take.")    \
    X(SESSIONS_MISSING, "inpaint_sessions_missing_total",                                                \
      "Pushes whose session was not found: acknowledged, or while it may still appear, sent back.")      \
    X(GIVEN_UP, "inpaint_given_up_total",                                                                \
      "Pushes acknowledged at their last delivery though the session could be neither read nor failed.") \
    X(MODULATION_REREADS, "inpaint_modulation_rereads_total",                                            \
      "Jobs whose modulation no table of the prompt pack holds: a quarter of the weights was read again for each.")

#define METRICS_GAUGE_MAP(X)                                                                \
    X(QUEUE_DEPTH, "inpaint_queue_depth", "Pushes that wait for the model.")                \
    X(OLDEST_MESSAGE, "inpaint_oldest_message_seconds",                                     \
      "Age of the oldest message that waits for the model, from its publication.")          \
    X(JOB_RUNNING, "inpaint_job_running", "1 while a job runs.")                            \
    X(MODEL_LOADED, "inpaint_model_loaded", "1 once the model is loaded and checked.")      \
    X(MODEL_LOAD_SECONDS, "inpaint_model_load_seconds", "How long loading the model took.") \
    X(START_TIME, "process_start_time_seconds", "Start of the process, seconds since 1970.")

enum metrics_counter {
#define X(name, text, help) METRICS_##name,
    METRICS_COUNTER_MAP(X)
#undef X
        METRICS_COUNTERS
};

enum metrics_gauge {
#define X(name, text, help) METRICS_##name,
    METRICS_GAUGE_MAP(X)
#undef X
        METRICS_GAUGES
};

enum { METRICS_ANSWERS = 10, METRICS_BUCKETS = 14, METRICS_PAGE_MAX = 32 << 10 };

struct metrics_histogram {
    atomic_uint_fast64_t buckets[METRICS_BUCKETS + 1]; /* not cumulative; the last is for values above all bounds */
    atomic_uint_fast64_t sum_us;
};

struct metrics { /* ready for use when zeroed */
    atomic_uint_fast64_t answers[METRICS_ANSWERS];
    atomic_uint_fast64_t refusals[OIDC_REASON_COUNT];
    atomic_uint_fast64_t outcomes[OUTCOMES];
    atomic_uint_fast64_t errors[JOB_ERROR_COUNT];
    atomic_uint_fast64_t counters[METRICS_COUNTERS];
    _Atomic double gauges[METRICS_GAUGES];
    _Atomic double start[START_PHASES + 1]; /* the last: the total */
    struct metrics_histogram job, wait, age, stages[STAGES];
};

void metrics_answer(struct metrics *m, int http_status);
void metrics_refusal(struct metrics *m, enum oidc_reason reason);              /* of a push's token */
void metrics_outcome(struct metrics *m, enum outcome outcome, double seconds); /* from the arrival of the push */
void metrics_error(struct metrics *m, enum job_error e);
void metrics_stage_took(struct metrics *m, enum stage stage, double seconds);
/* From the arrival of a push to its claim, and from the publication of its message; below 0: unknown. */
void metrics_claimed(struct metrics *m, double wait_seconds, double age_seconds);
void metrics_add(struct metrics *m, enum metrics_counter counter, uint64_t n);
void metrics_set(struct metrics *m, enum metrics_gauge gauge, double value);
void metrics_started(struct metrics *m, const struct start_times *times); /* the worker is ready */

/* The page, in the arena. ERR_NOMEM. */
MUST_CHECK enum err_code metrics_print(struct metrics *m, struct arena *a, struct span *ret, struct err *err);

#endif
