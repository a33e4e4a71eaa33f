#include "worker/serve/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/support/check.h"

static struct metrics m;
static struct arena arena;

static void start(void)
{
    struct err err = { 0 };

    memset(&m, 0, sizeof m);
    arena_done(&arena);
    CHECK_OK(arena_init(&arena, 1 << 20, &err), err);
}

static const char *page(void)
{
    struct span text = { 0 };
    struct err err = { 0 };

    CHECK_OK(metrics_print(&m, &arena, &text, &err), err);
    CHECK_INT(strlen(text.ptr), text.len);
    CHECK(text.len < METRICS_PAGE_MAX - 1000); /* leaves room for counters to grow to 20 digits */
    return text.ptr;
}

/* The value of the one line that begins with `series` and a blank. */
static double value(const char *text, const char *series)
{
    char line[200];
    const char *at;

    (void)snprintf(line, sizeof line, "\n%s ", series);
    at = strstr(text, line);
    if (!at)
        test_fail(__FILE__, __LINE__, "no series %s", series);
    CHECK(!strstr(at + 1, line));
    return atof(at + strlen(line));
}

TEST(metrics__every_series_is_there_from_the_start)
{
    const char *text;

    start();
    text = page();
    CHECK(value(text, "inpaint_pushes_total{code=\"204\"}") == 0);
    CHECK(value(text, "inpaint_pushes_total{code=\"other\"}") == 0);
    CHECK(value(text, "inpaint_jobs_total{outcome=\"completed\"}") == 0);
    CHECK(value(text, "inpaint_job_errors_total{code=\"MASK_EMPTY\"}") == 0);
    CHECK(value(text, "inpaint_poison_total") == 0);
    CHECK(value(text, "inpaint_upstream_retries_total") == 0);
    CHECK(value(text, "inpaint_modulation_rereads_total") == 0);
    CHECK(value(text, "inpaint_stage_seconds_count{stage=\"upload\"}") == 0);
    CHECK(value(text, "inpaint_job_seconds_sum") == 0);
    CHECK(value(text, "inpaint_model_loaded") == 0);
    arena_done(&arena);
}

TEST(metrics__counts_what_happened)
{
    const char *text;

    start();
    metrics_answer(&m, 204);
    metrics_answer(&m, 204);
    metrics_answer(&m, 599);
    metrics_outcome(&m, OUTCOME_COMPLETED, 12.5);
    metrics_error(&m, JOB_DEADLINE);
    metrics_add(&m, METRICS_RETRIES, 3);
    metrics_add(&m, METRICS_MODULATION_REREADS, 2);
    metrics_set(&m, METRICS_QUEUE_DEPTH, 2);
    metrics_set(&m, METRICS_QUEUE_DEPTH, 1);
    metrics_set(&m, METRICS_START_TIME, 1700000000.25);
    text = page();
    CHECK(value(text, "inpaint_pushes_total{code=\"204\"}") == 2);
    CHECK(value(text, "inpaint_pushes_total{code=\"other\"}") == 1);
    CHECK(value(text, "inpaint_jobs_total{outcome=\"completed\"}") == 1);
    CHECK(value(text, "inpaint_job_seconds_sum") == 12.5);
    CHECK(value(text, "inpaint_job_errors_total{code=\"DEADLINE\"}") == 1);
    CHECK(value(text, "inpaint_upstream_retries_total") == 3);
    CHECK(value(text, "inpaint_modulation_rereads_total") == 2);
    CHECK(value(text, "inpaint_queue_depth") == 1);
    CHECK(value(text, "process_start_time_seconds") == 1700000000.25);
    arena_done(&arena);
}

TEST(metrics__the_phases_of_the_start_add_up_to_its_total)
{
    struct start_times times = { 0 };
    const char *text;

    start();
    CHECK(value(page(), "inpaint_start_seconds{phase=\"weights\"}") == 0);
    start_main(&times, 250, 1000);
    start_enter_stage(&times, "weights", 1500);
    start_enter(&times, START_CLOUD, 9500);
    start_ready(&times, 10000);
    metrics_started(&m, &times);
    text = page();
    CHECK(value(text, "inpaint_start_seconds{phase=\"process\"}") == 0.25);
    CHECK(value(text, "inpaint_start_seconds{phase=\"settings\"}") == 0.5);
    CHECK(value(text, "inpaint_start_seconds{phase=\"self-check\"}") == 0);
    CHECK(value(text, "inpaint_start_seconds{phase=\"weights\"}") == 8);
    CHECK(value(text, "inpaint_start_seconds{phase=\"cloud\"}") == 0.5);
    CHECK(value(text, "inpaint_start_seconds{phase=\"total\"}") == 9.25);
}

TEST(metrics__every_reason_to_refuse_a_push_counts_in_a_series_of_its_own)
{
    for (int i = OIDC_ACCEPTED + 1; i < OIDC_REASON_COUNT; i++) {
        char label[OIDC_LABEL_SIZE], series[120];
        const char *text;

        start();
        oidc_label((enum oidc_reason)i, label);
        (void)snprintf(series, sizeof series, "inpaint_push_refusals_total{reason=\"%s\"}", label);
        CHECK(value(page(), series) == 0);
        CHECK(strspn(label, "abcdefghijklmnopqrstuvwxyz_") == strlen(label) && *label);
        metrics_refusal(&m, (enum oidc_reason)i);
        metrics_refusal(&m, (enum oidc_reason)i);
        text = page();
        CHECK(value(text, series) == 2);
        text = strstr(text, "inpaint_push_refusals_total{");
        for (int k = OIDC_ACCEPTED + 1; k < OIDC_REASON_COUNT; k++) { /* and in no other */
            CHECK((atof(strchr(text, ' ')) > 0) == (k == i));
            text = strchr(text, '\n') + 1;
        }
    }
    CHECK(!strstr(page(), "accepted"));
    arena_done(&arena);
}

TEST(metrics__every_outcome_counts_in_the_series_that_its_row_names)
{
    for (int o = OUTCOME_OPEN + 1; o < OUTCOMES; o++) {
        const struct outcome_info *info = outcome_info((enum outcome)o);
        char series[80];
        const char *text;

        start();
        metrics_outcome(&m, (enum outcome)o, 1);
        text = page();
        (void)snprintf(series, sizeof series, "inpaint_jobs_total{outcome=\"%s\"}", info->job ? info->job : "completed");
        CHECK(value(text, series) == (info->job ? 1 : 0));
        CHECK(value(text, "inpaint_job_seconds_count") == (info->job ? 1 : 0));
        CHECK(!info->counter || value(text, info->counter) == 1);
    }
    arena_done(&arena);
}

TEST(metrics__histograms_add_up_and_never_decrease)
{
    static const double took[] = { 0, -1, NAN, 0.01, 0.011, 300, 5000, INFINITY, 1 };
    double last = 0;
    const char *text;
    int lines = 0;

    start();
    for (size_t i = 0; i < sizeof took / sizeof *took; i++)
        metrics_stage_took(&m, STAGE_DENOISE, took[i]);
    text = page();
    CHECK(value(text, "inpaint_stage_seconds_bucket{stage=\"denoise\",le=\"0.01\"}") ==
          4); /* le: a value equal to the bound counts */
    CHECK(value(text, "inpaint_stage_seconds_bucket{stage=\"denoise\",le=\"0.03\"}") == 5);
    CHECK(value(text, "inpaint_stage_seconds_bucket{stage=\"denoise\",le=\"300\"}") == 7);
    CHECK(value(text, "inpaint_stage_seconds_bucket{stage=\"denoise\",le=\"3600\"}") == 7);
    CHECK(value(text, "inpaint_stage_seconds_bucket{stage=\"denoise\",le=\"+Inf\"}") == 9);
    CHECK(value(text, "inpaint_stage_seconds_count{stage=\"denoise\"}") == 9);
    for (const char *p = text; (p = strstr(p, "stage=\"denoise\",le=")) != NULL; p++, lines++) {
        double n = atof(strchr(p, '}') + 2);

        CHECK(n >= last);
        last = n;
    }
    CHECK_INT(lines, METRICS_BUCKETS + 1);
    arena_done(&arena);
}

/* Text format 0.0.4: each family has one HELP and one TYPE in front of its samples, every line ends. */
TEST(metrics__the_page_has_the_form_prometheus_reads)
{
    char family[100] = "", *copy, *rest, *line;

    start();
    copy = strdup(page());
    CHECK(copy && copy[strlen(copy) - 1] == '\n');
    rest = copy;
    while ((line = strsep(&rest, "\n")) != NULL && *line) {
        char name[100], type[20];

        if (sscanf(line, "# TYPE %99s %19s", name, type) == 2) {
            CHECK(!strcmp(type, "counter") || !strcmp(type, "gauge") || !strcmp(type, "histogram"));
            CHECK(strcmp(type, "counter") || strstr(name, "_total"));
            (void)strcpy(family, name);
        } else if (*line != '#') {
            CHECK(strncmp(line, family, strlen(family)) == 0);
            CHECK(strspn(line, "abcdefghijklmnopqrstuvwxyz_") > 3);
            CHECK(strrchr(line, ' ')[1]);
        }
    }
    free(copy);
    arena_done(&arena);
}

static void *count_a_lot(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        metrics_answer(arg, 204);
        metrics_stage_took(arg, STAGE_DECODE, 0.5);
    }
    return NULL;
}

TEST(metrics__threads_lose_no_event)
{
    pthread_t threads[4];
    const char *text;

    start();
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, count_a_lot, &m) == 0);
    for (int i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    text = page();
    CHECK(value(text, "inpaint_pushes_total{code=\"204\"}") == 80000);
    CHECK(value(text, "inpaint_stage_seconds_count{stage=\"decode\"}") == 80000);
    CHECK(value(text, "inpaint_stage_seconds_sum{stage=\"decode\"}") == 40000);
    arena_done(&arena);
}
