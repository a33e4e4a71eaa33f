/*
 * progress - shows on stderr how far long work has come, and how long it took and will take.
 *
 *   on a terminal   one line, written again:   denoise   [#####...............] 7 of 28 steps, 12 s, 36 s left
 *   elsewhere       a line now and then:       denoise: 7 of 28 steps, 12 s, 36 s left
 *
 * Each stage ends with a line that stays: "denoise: 28 steps in 48 s", "load: done in 3.1 s".
 */
#ifndef WORKER_CLI_PROGRESS_H
#define WORKER_CLI_PROGRESS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *to;
    bool terminal;
    int64_t (*now_ms)(void); /* monotonic; tests have one of their own */
    char what[32];           /* the stage; empty: none yet */
    int64_t began_ms, said_ms;
    int shown; /* per cent last written; -1: nothing yet, 100: the stage has ended */
    int width; /* characters of the line that is written again */
};

void progress_init(struct progress *p, FILE *to, bool terminal);
void progress_init_stderr(struct progress *p);

/* `done` of `total` parts of the stage `what` ("denoise") are finished; another `what` begins a new stage. `unit`: what
 * the parts are ("steps", without the s for one); NULL: nothing that people count, such as bytes, so that per cent are
 * shown. */
void progress_show(struct progress *p, const char *what, const char *unit, int64_t done, int64_t total);
void progress_done(struct progress *p); /* ends the line of an unfinished stage */

/* A thread that shows, until the work ends, what only another thread can ask for. */
struct progress_watch {
    struct progress *progress;
    const char *what;
    void (*ask)(void *ctx, int64_t *ret_done, int64_t *ret_total); /* called in that thread */
    void *ctx;
    /* private */
    pthread_t thread;
    atomic_bool stop;
    bool started;
};

void progress_watch_begin(struct progress_watch *w); /* without a thread only the end is shown */
void progress_watch_end(struct progress_watch *w, bool finished);

#endif
