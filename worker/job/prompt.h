/*
 * prompt - what the model is told to paint.
 *
 * FLUX.1-Fill paints what the prompt names; a generic "remove the object" makes it invent one. So the default prompt
 * describes the ground that is to continue, with the app's scene labels where it has some, and names no object.
 *
 *   1. `prompt` of the session, when it has text: as it is, without the blanks around it
 *   2. "A photo of <label>, <label>: empty background ..." from up to PROMPT_MAX_LABELS labels that look like words
 *   3. the same without labels
 *
 * A label is used when it has 1 to PROMPT_LABEL_MAX bytes and no control characters, quotes, colons or angle brackets;
 * others are passed over. ERR_PROMPT: `prompt` is no string, or longer than PROMPT_MAX_BYTES, or holds a control
 * character other than tab and newline.
 */
#ifndef WORKER_JOB_PROMPT_H
#define WORKER_JOB_PROMPT_H

#include <stdbool.h>

#include "kernels/base/arena.h"

enum { PROMPT_MAX_BYTES = 2000, PROMPT_LABEL_MAX = 40, PROMPT_MAX_LABELS = 4 };

struct prompt_wishes {
    const char *prompt; /* NULL: none */
    bool prompt_invalid;
    const char *const *labels;
    int n_labels;
};

/* The text, in the arena. */
MUST_CHECK enum err_code prompt_build(const struct prompt_wishes *w, struct arena *a, const char **ret,
                                      struct err *err);

#endif
