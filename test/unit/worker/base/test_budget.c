#include "worker/base/budget.h"

#include "test/support/check.h"
#include "test/support/fake/fake_sys.h"

static const struct retry_policy policy = { .base_ms = 500, .cap_ms = 4000, .tries = 5, .call_timeout_ms = 1000 };

TEST(budget__waits_are_spread_from_zero_to_a_doubling_limit)
{
    struct fake_sys fake;
    static const int64_t limits[] = { 500, 1000, 2000, 4000, 4000, 4000 };

    fake_sys_init(&fake, 1700000000, 5);
    for (int n = 1; n <= 6; n++) {
        int64_t least = INT64_MAX, most = 0, sum = 0;

        for (int i = 0; i < 400; i++) {
            struct budget budget = { .sys = &fake.sys, .deadline_mono_ms = INT64_MAX };
            int64_t before = fake.slept_ms, waited;
            struct err err = { 0 };

            CHECK_OK(retry_wait(&budget, &policy, n, 0, &err), err);
            waited = fake.slept_ms - before;
            least = waited < least ? waited : least;
            most = waited > most ? waited : most;
            sum += waited;
        }
        CHECK(most <= limits[n - 1] && most > limits[n - 1] * 95 / 100); /* missed with probability 0.95^400 */
        CHECK(least < limits[n - 1] * 5 / 100);
        CHECK(sum / 400 > limits[n - 1] * 40 / 100 && sum / 400 < limits[n - 1] * 60 / 100); /* 7 sigma */
    }
}

TEST(budget__never_waits_less_than_the_server_asks)
{
    static const struct {
        int64_t asked_ms, least_ms, most_ms;
    } cases[] = { { 2000, 2000, 2000 }, { 60000, 60000, 60000 }, { 500, 500, 500 }, { 100, 100, 500 }, { 0, 0, 500 } };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fake_sys fake;
        struct budget budget = { .sys = &fake.sys, .deadline_mono_ms = INT64_MAX };
        struct err err = { 0 };

        fake_sys_init(&fake, 1700000000, i);
        CHECK_OK(retry_wait(&budget, &policy, 1, cases[i].asked_ms, &err), err);
        CHECK(fake.slept_ms >= cases[i].least_ms && fake.slept_ms <= cases[i].most_ms);
    }
}

TEST(budget__gives_up_when_wait_and_call_do_not_fit)
{
    struct fake_sys fake;
    int retries = 0;
    struct budget budget = { .sys = &fake.sys, .retries = &retries };
    struct err err = { 0 };

    fake_sys_init(&fake, 1700000000, 1);
    budget.deadline_mono_ms = fake.mono_ms + 2999;
    CHECK_INT(retry_wait(&budget, &policy, 1, 2000, &err), ERR_DEADLINE); /* 2 s and the call's 1 s */
    CHECK_INT(fake.sleeps, 0);
    budget.deadline_mono_ms = fake.mono_ms + 3000;
    err = (struct err){ 0 };
    CHECK_OK(retry_wait(&budget, &policy, 1, 2000, &err), err);
    CHECK_INT(budget_left_ms(&budget), 1000);
    CHECK_INT(retries, 1);
    fake_sys_pass(&fake, 5000);
    CHECK_INT(budget_left_ms(&budget), 0);
}

static bool after_three_seconds(void *ctx)
{
    return ((struct fake_sys *)ctx)->slept_ms >= 3000;
}

TEST(budget__wakes_up_when_cancelled)
{
    struct fake_sys fake;
    struct budget budget = {
        .sys = &fake.sys, .deadline_mono_ms = INT64_MAX, .cancelled = after_three_seconds, .cancel_ctx = &fake
    };
    struct err err = { 0 };

    fake_sys_init(&fake, 1700000000, 1);
    CHECK_INT(retry_wait(&budget, &policy, 1, 50000, &err), ERR_CANCELLED);
    CHECK(fake.slept_ms <= 3100);
}
