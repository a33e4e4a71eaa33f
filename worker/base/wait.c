#include "worker/base/wait.h"

#include <errno.h>

struct timespec wait_deadline(int64_t ms)
{
    const int64_t second_ns = 1000000000;
    struct timespec now;
    int64_t ns;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    ns = now.tv_nsec + (ms < 0 ? 0 : ms) % 1000 * 1000000;
    return (struct timespec){ .tv_sec = now.tv_sec + (ms < 0 ? 0 : ms) / 1000 + ns / second_ns,
                              .tv_nsec = ns % second_ns };
}

int wait_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    int failed = pthread_condattr_init(&attr);

    if (failed)
        return failed;
    failed = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    if (failed == 0)
        failed = pthread_cond_init(cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    return failed;
}

bool wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *deadline)
{
    return pthread_cond_timedwait(cond, lock, deadline) != ETIMEDOUT;
}
