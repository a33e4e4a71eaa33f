/*
 * uncovered - the sizes and step counts of jobs that no table of the prompt pack covers, so that the log has one
 * warning for each of them.
 */
#ifndef WORKER_JOB_UNCOVERED_H
#define WORKER_JOB_UNCOVERED_H

#include <stdbool.h>

enum { UNCOVERED_MAX = 32 };

struct uncovered { /* ready for use when zeroed */
    int n;
    struct uncovered_kind {
        int width, height, steps;
    } kinds[UNCOVERED_MAX];
};

/* Whether this kind has not been seen before; it is remembered. Once the list is full no further kind counts as new. */
bool uncovered_is_new(struct uncovered *u, int width, int height, int steps);

#endif
