/*
 * local - what the commands that run whole jobs on local files have in common: `edit`, `replay`, `audit`.
 */
#ifndef WORKER_LOCAL_LOCAL_H
#define WORKER_LOCAL_LOCAL_H

#include "worker/base/config.h"
#include "worker/cli/progress.h"
#include "worker/job/edit.h"

/* The settings of the environment that give these commands their defaults. A bad value of one of them is ERR_INVALID;
 * the other settings matter to `serve` only. Texts are from the arena. */
MUST_CHECK enum err_code local_read_settings(struct arena *a, struct config *ret, struct err *err);
/* An `enum precision`: PRECISION if it is set. Its default `auto` is not used, because the result of a command must not
 * depend on which precision is faster on this processor. */
int local_default_precision(const struct config *c);

/* "identity", "solid:RRGGBB" or a file, which is read into the arena. NULL: the model paints. */
MUST_CHECK enum err_code local_read_paint(const char *text, struct arena *a, struct edit_paint *ret, struct err *err);

/* Reads original.jpg and mask_auto.png of the folder; where one is missing, the error says what to put there. */
MUST_CHECK enum err_code local_read_inputs(const char *dir, struct arena *a, struct span *ret_original,
                                           struct span *ret_mask, struct err *err);

/* engine_load() with its progress and its notes on stderr. */
MUST_CHECK enum err_code local_load(struct engine *e, struct progress *p, struct err *err);
void local_show_painting(void *progress, enum fill_phase phase, int done, int total); /* edit_watch.paint */

/* Writes edited.jpg, preview.jpg and, where it was asked for, edited.png, and says so. */
MUST_CHECK enum err_code local_write_results(const char *dir, const struct edit_result *r, struct arena *a,
                                             struct err *err);

/* Adds to an object what the outcome writes into a session, as plain JSON. `why`: of an outcome that is an error. */
void local_add_outcome(struct json *root, enum err_code outcome, const struct err *why, const struct edit_result *r);

#endif
