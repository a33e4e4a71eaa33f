/*
 * wait - waits for another thread until a moment of the monotonic clock, so that setting the wall clock neither ends
 * nor prolongs the wait.
 */
#ifndef WORKER_BASE_WAIT_H
#define WORKER_BASE_WAIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* The moment `ms` from now on CLOCK_MONOTONIC; now, if `ms` is negative. */
struct timespec wait_deadline(int64_t ms);

/* Makes a condition for wait_until. Returns 0 or an errno; glibc's never fails. */
int wait_cond_init(pthread_cond_t *cond);

/* False once the moment has passed. `lock` is held on entry and on return. Like every wait on a condition, this one may
 * end early. */
bool wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *deadline);

#endif
