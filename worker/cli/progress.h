/*
 * progress - shows how far long work has come: a bar where the output is a terminal, else a line every 10 %.
 */
#ifndef WORKER_CLI_PROGRESS_H
#define WORKER_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *to;
    bool bar;  /* redraws one line; else writes a line every 10 % */
    int shown; /* per cent last written; -1: nothing yet */
    char what[32];
};

void progress_init(struct progress *p, FILE *to, bool bar);
void progress_init_stderr(struct progress *p); /* a bar where stderr is a terminal */

/* `done` of `total` parts of `what` ("denoise") are finished; another `what` begins a new line. */
void progress_show(struct progress *p, const char *what, int64_t done, int64_t total);
void progress_done(struct progress *p); /* ends the line of an unfinished bar */

#endif
