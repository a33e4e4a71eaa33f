/*
 * uncovered - sizes and steps of jobs that no table of the prompt pack covers, so that each is warned of once.
 */
#ifndef WORKER_JOB_UNCOVERED_H
#define WORKER_JOB_UNCOVERED_H

#include <stdbool.h>

enum { UNCOVERED_MAX = 32 };

struct uncovered { /* zeroed is ready */
    int n;
    struct uncovered_kind {
        int width, height, steps;
    } kinds[UNCOVERED_MAX];
};

/* Whether this kind has not come before; it is kept. When there is room for no more kinds, no other one is new. */
bool uncovered_is_new(struct uncovered *u, int width, int height, int steps);

#endif
