/*
 * verify - whether the files of a model are the published ones, found out beside its loading.
 *
 *   size     a file whose name is known and whose size is none of the known ones is worth a note
 *   digest   a thread of its own takes the digests of all files, which are being read anyway; a known file is as its
 *            publisher made it, an unknown one is noted with its digest, and a known name and size with another digest
 *            is an error
 *
 * Digests take 0.6 to 0.7 s a GB, or 2.1 to 2.5 s on a processor without instructions for SHA, and keep one processor
 * busy.
 */
#ifndef WORKER_VERIFY_VERIFY_H
#define WORKER_VERIFY_VERIFY_H

#include "worker/verify/model_files.h"

enum verify_mode { VERIFY_SIZE, VERIFY_DIGEST }; /* in the order of the setting's words */

struct verify;

/* Starts what can be done beside loading. `folder` is copied, its texts are borrowed until verify_free(). ERR_NOMEM. */
MUST_CHECK enum err_code verify_start(enum verify_mode mode, const struct model_folder *folder, struct verify **ret,
                                      struct err *err);

/* Once, when the model is loaded: waits for the thread, and looks at the files that the folder alone does not tell.
 * `transformer`: the path of the one that was taken; another one, which seemed to be the largest that fits, does not
 * count. ERR_CORRUPT for the first file that is wrong, with the remedy; errors of reading. */
MUST_CHECK enum err_code verify_finish(struct verify *v, const char *transformer, const char *const *loras, int n_loras,
                                       struct err *err);

/* What an operator should hear, once finished: one sentence for each i from 0 on; NULL: no more. */
const char *verify_note(const struct verify *v, int i);

void verify_free(struct verify *v); /* takes NULL; ends the thread */

#endif
