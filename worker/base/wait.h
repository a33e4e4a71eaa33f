/*
 * wait - waiting for another thread until a moment of the monotonic clock, so that a change of the wall clock neither
 * ends nor prolongs it.
 */
#ifndef WORKER_BASE_WAIT_H
#define WORKER_BASE_WAIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* `ms` from now, which may lie in the past; by CLOCK_MONOTONIC. */
struct timespec wait_deadline(int64_t ms);

/* A condition for wait_until. 0 or an errno; glibc's cannot fail. */
int wait_cond_init(pthread_cond_t *cond);

/* False once the moment is past; `lock` is held, before and after. As all waits on conditions it may end early. */
bool wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *deadline);

#endif
