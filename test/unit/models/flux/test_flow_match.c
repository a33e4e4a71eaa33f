#include "models/flux/flow_match.h"

#include <math.h>
#include <string.h>

#include "kernels/base/json_scan.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"

enum { MAX_VALUES = 64 };

struct schedule {
    double steps, image_tokens, mu;
    double sigmas[MAX_VALUES], timesteps[MAX_VALUES];
    int n_sigmas, n_timesteps;
};

/* The next value of the schedule's `key`: a number, or a list of them. */
static void read_values(struct json_scan *s, double *values, int *n)
{
    enum json_event ev = json_scan_next(s);

    *n = 0;
    CHECK(ev == JSON_NUMBER || ev == JSON_ARRAY);
    do {
        if (ev == JSON_ARRAY)
            continue;
        CHECK(ev == JSON_NUMBER && *n < MAX_VALUES && json_double(s->raw, &values[*n]));
        ++*n;
        if (s->depth == 2)
            return;
    } while ((ev = json_scan_next(s)) != JSON_ARRAY_END);
}

static void read_schedule(struct json_scan *s, struct schedule *ret)
{
    struct {
        const char *key;
        double *values;
        int *n;
    } fields[] = {
        { "steps", &ret->steps, &(int){ 0 } },
        { "image_tokens", &ret->image_tokens, &(int){ 0 } },
        { "mu", &ret->mu, &(int){ 0 } },
        { "sigmas", ret->sigmas, &ret->n_sigmas },
        { "timesteps", ret->timesteps, &ret->n_timesteps },
    };

    for (enum json_event ev = json_scan_next(s); ev != JSON_OBJECT_END; ev = json_scan_next(s)) {
        bool known = false;

        CHECK(ev == JSON_KEY);
        for (size_t i = 0; i < sizeof fields / sizeof *fields && !known; i++)
            if (span_is(s->raw, fields[i].key)) {
                read_values(s, fields[i].values, fields[i].n);
                known = true;
            }
        CHECK(known);
    }
}

static void check_schedule(const struct schedule *want)
{
    float sigmas[MAX_VALUES + 1];
    struct err err = { 0 };
    int n = (int)want->steps;

    CHECK_INT(want->n_sigmas, n + 1);
    CHECK_INT(want->n_timesteps, n);
    CHECK(fabs(flow_match_mu((int64_t)want->image_tokens) - want->mu) <= 1e-15);
    CHECK_OK(flow_match_sigmas(n, (int64_t)want->image_tokens, sigmas, &err), err);
    for (int i = 0; i <= n; i++) {
        if (sigmas[i] != (float)want->sigmas[i] || (i < n && 1000.0f * sigmas[i] != (float)want->timesteps[i]))
            test_fail(__FILE__, __LINE__, "%d steps, %g tokens: sigma %d is %.9g, want %.9g", n, want->image_tokens, i,
                      (double)sigmas[i], want->sigmas[i]);
    }
}

TEST(flow_match__schedules_equal_the_official_ones_bit_for_bit)
{
    struct arena a = { 0 };
    struct err err = { 0 };
    struct json_scan s;
    int n = 0;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    json_scan_init(&s, file_bytes(&a, golden("common/schedule.json")));
    CHECK(json_scan_next(&s) == JSON_ARRAY);
    for (; json_scan_next(&s) == JSON_OBJECT; n++) {
        struct schedule want = { 0 };

        read_schedule(&s, &want);
        check_schedule(&want);
    }
    CHECK(n >= 8);
    arena_done(&a);
}

TEST(flow_match__strength_leaves_out_the_first_steps)
{
    static const struct {
        int n;
        double strength;
        int want;
    } cases[] = {
        { 28, 1.0, 0 }, { 28, 0.85, 4 }, { 28, 0.5, 14 }, { 4, 0.3, 2 }, { 1, 1.0, 0 }, { 50, 0.02, 49 },
    };
    struct err err = { 0 };
    int start;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_OK(flow_match_start(cases[i].n, cases[i].strength, &start, &err), err);
        CHECK_INT(start, cases[i].want);
    }
    CHECK(flow_match_start(4, 0, &start, NULL) == ERR_INVALID);
    CHECK(flow_match_start(4, -0.1, &start, NULL) == ERR_INVALID);
    CHECK(flow_match_start(4, 1.1, &start, NULL) == ERR_INVALID);
    CHECK(flow_match_start(4, (double)NAN, &start, NULL) == ERR_INVALID);
}

TEST(flow_match__refuses_impossible_schedules)
{
    float sigmas[4];

    CHECK(flow_match_sigmas(0, 16, sigmas, NULL) == ERR_INVALID);
    CHECK(flow_match_sigmas(-1, 16, sigmas, NULL) == ERR_INVALID);
    CHECK(flow_match_sigmas(FLOW_MATCH_MAX_STEPS + 1, 16, sigmas, NULL) == ERR_INVALID);
    CHECK(flow_match_sigmas(3, 0, sigmas, NULL) == ERR_INVALID);
}
