#include "worker/serve/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "worker/base/log.h"

static const int answer_codes[] = {
#define X(code) code,
    METRICS_ANSWER_MAP(X)
#undef X
};

enum { OTHER = sizeof answer_codes / sizeof *answer_codes };

_Static_assert(OTHER + 1 == METRICS_ANSWERS, "one series an answer, and one for the rest");

/* Upper bounds in seconds: from the decoding of a small picture to the longest job Cloud Run allows. */
static const double bounds[METRICS_BUCKETS] = { 0.01, 0.03, 0.1, 0.3, 1, 2, 5, 10, 20, 30, 60, 120, 300, 3600 };

/* ---- counting ---- */

void metrics_answer(struct metrics *m, int http_status)
{
    int i = 0;

    while (i < OTHER && answer_codes[i] != http_status)
        i++;
    atomic_fetch_add(&m->answers[i], 1);
}

void metrics_refusal(struct metrics *m, enum oidc_reason reason)
{
    atomic_fetch_add(&m->refusals[reason], 1);
}

static void observe(struct metrics_histogram *h, double seconds)
{
    int i = 0;

    if (!(seconds > 0)) /* a clock that stepped back, or NaN */
        seconds = 0;
    if (seconds > 1e9)
        seconds = 1e9;
    while (i < METRICS_BUCKETS && seconds > bounds[i])
        i++;
    atomic_fetch_add(&h->sum_us, (uint64_t)(seconds * 1e6));
    atomic_fetch_add(&h->buckets[i], 1);
}

void metrics_outcome(struct metrics *m, enum outcome outcome, double seconds)
{
    atomic_fetch_add(&m->outcomes[outcome], 1);
    if (outcome_info(outcome)->job)
        observe(&m->job, seconds);
}

void metrics_error(struct metrics *m, enum job_error e)
{
    atomic_fetch_add(&m->errors[e], 1);
}

void metrics_stage_took(struct metrics *m, enum stage stage, double seconds)
{
    observe(&m->stages[stage], seconds);
}

void metrics_claimed(struct metrics *m, double wait_seconds, double age_seconds)
{
    observe(&m->wait, wait_seconds);
    if (age_seconds >= 0)
        observe(&m->age, age_seconds);
}

void metrics_add(struct metrics *m, enum metrics_counter counter, uint64_t n)
{
    atomic_fetch_add(&m->counters[counter], n);
}

void metrics_set(struct metrics *m, enum metrics_gauge gauge, double value)
{
    atomic_store(&m->gauges[gauge], value);
}

void metrics_started(struct metrics *m, const struct start_times *times)
{
    for (int p = 0; p < START_PHASES; p++)
        atomic_store(&m->start[p], 1e-3 * (double)start_phase_ms(times, (enum start_phase)p));
    atomic_store(&m->start[START_PHASES], 1e-3 * (double)start_total_ms(times));
}

/* ---- the page ---- */

struct page {
    char *text;
    size_t len;
};

/* The tables are fixed, so only a bug makes a page too long; such a page is truncated. */
static void put(struct page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(struct page *p, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(p->text + p->len, METRICS_PAGE_MAX - p->len, fmt, ap);
    va_end(ap);
    if (n > 0)
        p->len += (size_t)n < METRICS_PAGE_MAX - p->len ? (size_t)n : METRICS_PAGE_MAX - p->len - 1;
}

static void put_head(struct page *p, const char *name, const char *type, const char *help)
{
    put(p, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_count(struct page *p, const char *name, const char *label, const char *value, uint64_t n)
{
    put(p, "%s{%s=\"%s\"} %" PRIu64 "\n", name, label, value, n);
}

/* `series` holds the labels that come before `le`: "" or "stage=\"decode\",". */
static void put_histogram(struct page *p, const char *name, const char *series, struct metrics_histogram *h)
{
    uint64_t total = 0, sum_us = atomic_load(&h->sum_us);
    int length = 0;

    for (int i = 0; i <= METRICS_BUCKETS; i++) {
        total += atomic_load(&h->buckets[i]);
        if (i < METRICS_BUCKETS)
            put(p, "%s_bucket{%sle=\"%g\"} %" PRIu64 "\n", name, series, bounds[i], total);
        else
            put(p, "%s_bucket{%sle=\"+Inf\"} %" PRIu64 "\n", name, series, total);
    }
    while (series[length] && series[length + 1])
        length++; /* stops before the comma at the end */
    put(p, length ? "%s_sum{%.*s} %.6f\n" : "%s_sum%.*s %.6f\n", name, length, series, (double)sum_us / 1e6);
    put(p, length ? "%s_count{%.*s} %" PRIu64 "\n" : "%s_count%.*s %" PRIu64 "\n", name, length, series, total);
}

static void put_answers(struct page *p, struct metrics *m)
{
    char code[8];

    put_head(p, "inpaint_pushes_total", "counter", "Answers to pushes by HTTP status.");
    for (int i = 0; i < OTHER; i++) {
        (void)snprintf(code, sizeof code, "%d", answer_codes[i]);
        put_count(p, "inpaint_pushes_total", "code", code, atomic_load(&m->answers[i]));
    }
    put_count(p, "inpaint_pushes_total", "code", "other", atomic_load(&m->answers[OTHER]));
}

static void put_refusals(struct page *p, struct metrics *m)
{
    char label[OIDC_LABEL_SIZE];

    put_head(p, "inpaint_push_refusals_total", "counter", "Pushes refused for their token, by reason.");
    for (int i = OIDC_ACCEPTED + 1; i < OIDC_REASON_COUNT; i++) {
        oidc_label((enum oidc_reason)i, label);
        put_count(p, "inpaint_push_refusals_total", "reason", label, atomic_load(&m->refusals[i]));
    }
}

static bool is_same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* One series for each name in the column `job` of outcome.h; several outcomes may share it. */
static void put_job_outcomes(struct page *p, struct metrics *m)
{
    for (int i = OUTCOME_OPEN + 1; i < OUTCOMES; i++) {
        const char *job = outcome_info((enum outcome)i)->job;
        bool is_first = job != NULL;
        uint64_t n = 0;

        for (int k = OUTCOME_OPEN + 1; k < OUTCOMES; k++)
            if (is_same(outcome_info((enum outcome)k)->job, job)) {
                is_first = is_first && k >= i;
                n += atomic_load(&m->outcomes[k]);
            }
        if (is_first)
            put_count(p, "inpaint_jobs_total", "outcome", job, n);
    }
}

static void put_jobs(struct page *p, struct metrics *m)
{
    put_head(p, "inpaint_jobs_total", "counter", "Claimed jobs by how they ended.");
    put_job_outcomes(p, m);
    put_head(p, "inpaint_job_errors_total", "counter", "Jobs that did not complete by error code.");
    for (int i = 0; i < JOB_ERROR_COUNT; i++)
        put_count(p, "inpaint_job_errors_total", "code", job_error_info((enum job_error)i)->code,
                  atomic_load(&m->errors[i]));
    put_head(p, "inpaint_job_seconds", "histogram", "Jobs from the arrival of the push to its answer.");
    put_histogram(p, "inpaint_job_seconds", "", &m->job);
    put_head(p, "inpaint_claim_wait_seconds", "histogram", "Claimed jobs from the arrival of the push to the claim.");
    put_histogram(p, "inpaint_claim_wait_seconds", "", &m->wait);
    put_head(p, "inpaint_message_age_seconds", "histogram",
             "Claimed jobs from the publication of the message to the claim.");
    put_histogram(p, "inpaint_message_age_seconds", "", &m->age);
}

static void put_stages(struct page *p, struct metrics *m)
{
    static const char *const series[] = {
#define X(name, text) "stage=\"" text "\",",
        STAGE_MAP(X)
#undef X
    };

    put_head(p, "inpaint_stage_seconds", "histogram", "Stages of jobs.");
    for (int i = 0; i < STAGES; i++)
        put_histogram(p, "inpaint_stage_seconds", series[i], &m->stages[i]);
}

static uint64_t count_of(struct metrics *m, int counter, const char *name)
{
    uint64_t n = counter == METRICS_LOG_DROPPED ? log_dropped() : atomic_load(&m->counters[counter]);

    for (int i = OUTCOME_OPEN + 1; i < OUTCOMES; i++)
        if (is_same(outcome_info((enum outcome)i)->counter, name))
            n += atomic_load(&m->outcomes[i]);
    return n;
}

static void put_plain(struct page *p, struct metrics *m)
{
    static const struct {
        const char *name, *help;
    } counters[] = {
#define X(id, name, help) { name, help },
        METRICS_COUNTER_MAP(X)
    }, gauges[] = {
        METRICS_GAUGE_MAP(X)
#undef X
    };

    for (int i = 0; i < METRICS_COUNTERS; i++) {
        put_head(p, counters[i].name, "counter", counters[i].help);
        put(p, "%s %" PRIu64 "\n", counters[i].name, count_of(m, i, counters[i].name));
    }
    for (int i = 0; i < METRICS_GAUGES; i++) {
        put_head(p, gauges[i].name, "gauge", gauges[i].help);
        put(p, "%s %.15g\n", gauges[i].name, atomic_load(&m->gauges[i]));
    }
}

static void put_start(struct page *p, struct metrics *m)
{
    put_head(p, "inpaint_start_seconds", "gauge", "Phases of the start, which add up to the total; 0 until ready.");
    for (int i = 0; i <= START_PHASES; i++)
        put(p, "inpaint_start_seconds{phase=\"%s\"} %.15g\n",
            i < START_PHASES ? start_phase_label((enum start_phase)i) : "total", atomic_load(&m->start[i]));
}

enum err_code metrics_print(struct metrics *m, struct arena *a, struct span *ret, struct err *err)
{
    struct page p = { 0 };
    enum err_code rc = arena_alloc(a, METRICS_PAGE_MAX, 1, &p.text, err);

    if (rc)
        return rc;
    put_answers(&p, m);
    put_refusals(&p, m);
    put_jobs(&p, m);
    put_stages(&p, m);
    put_plain(&p, m);
    put_start(&p, m);
    *ret = (struct span){ p.text, p.len };
    return ERR_OK;
}
