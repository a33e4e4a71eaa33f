#include "test/support/check.h"
#include "worker/base/wait.h"

static int64_t ns(struct timespec t)
{
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

TEST(wait__a_deadline_is_as_far_ahead_as_asked_and_never_in_the_past)
{
    static const int64_t asked_ms[] = { 0, 1, 999, 1000, 3600 * INT64_C(1000) + 999, -5 };

    for (size_t i = 0; i < sizeof asked_ms / sizeof *asked_ms; i++) {
        int64_t want_ns = (asked_ms[i] < 0 ? 0 : asked_ms[i]) * 1000000;
        struct timespec before, after, at;

        (void)clock_gettime(CLOCK_MONOTONIC, &before);
        at = wait_deadline(asked_ms[i]);
        (void)clock_gettime(CLOCK_MONOTONIC, &after);
        CHECK(at.tv_nsec >= 0 && at.tv_nsec < 1000000000);
        CHECK(ns(at) >= ns(before) + want_ns && ns(at) <= ns(after) + want_ns);
    }
}

TEST(wait__ends_after_the_deadline_without_a_signal)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct timespec until = wait_deadline(30), now;
    pthread_cond_t cond;

    CHECK_INT(wait_cond_init(&cond), 0);
    (void)pthread_mutex_lock(&lock);
    while (wait_until(&cond, &lock, &until))
        ;
    (void)pthread_mutex_unlock(&lock);
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    CHECK(ns(now) >= ns(until));
    (void)pthread_cond_destroy(&cond);
}
