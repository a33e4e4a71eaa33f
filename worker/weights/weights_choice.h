/*
 * weights_choice - which files of a folder a model is made of, as fill_model_open() will choose them: before more than
 * the directories of the files have been fetched.
 */
#ifndef WORKER_WEIGHTS_WEIGHTS_CHOICE_H
#define WORKER_WEIGHTS_WEIGHTS_CHOICE_H

#include "models/fill/fill.h"
#include "worker/verify/model_files.h"
#include "worker/weights/weights.h"

/* `options` as for fill_model_open(): its transformer is set to the path of the one that is chosen, from the arena,
 * from which the files' paths come, too. Errors of fill_model_open() for files that are missing, or that are none. */
MUST_CHECK enum err_code weights_choose(const char *dir, struct fill_options *options, struct backend *be,
                                        struct arena *a, struct model_files *ret, struct err *err);

/* Chooses, and begins to fetch what is chosen; after weights_look(). The transformer's path is from `kept`. */
MUST_CHECK enum err_code weights_begin_chosen(struct weights *w, struct fill_options *options, struct backend *be,
                                              struct arena *kept, struct err *err);

#endif
