/*
 * prompt - the text that tells the model what to paint.
 *
 * FLUX.1-Fill paints what the prompt names; a generic "remove the object" makes it invent one. So the default prompt
 * describes the ground that should continue, with the app's scene labels if there are any, and names no object.
 *
 *   1. `prompt` of the session, when it has text: word for word, without the blanks around it
 *   2. "A photo of <label>, <label>: empty background ..." from the first PROMPT_MAX_LABELS usable labels
 *   3. the same without labels
 *
 * A label is usable when, without the blanks around it, it is 1 to PROMPT_LABEL_MAX bytes of UTF-8 and has no control
 * characters, quotes, colons, semicolons, bars or brackets other than round ones; other labels are skipped.
 * ERR_PROMPT: `prompt` is not a string, is no UTF-8, is longer than PROMPT_MAX_BYTES, or holds U+0000 or another
 * control character than tab and newline.
 */
#ifndef WORKER_JOB_PROMPT_H
#define WORKER_JOB_PROMPT_H

#include <stdbool.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

enum { PROMPT_MAX_BYTES = 2000, PROMPT_LABEL_MAX = 40, PROMPT_MAX_LABELS = 4 };

/* What the app says about the picture. */
struct prompt_wishes {
    const char *prompt;                    /* NULL: none */
    bool prompt_invalid;                   /* there is one, but it is not a string, or not one of Unicode */
    const char *labels[PROMPT_MAX_LABELS]; /* the first usable ones */
    int n_labels;
};

/* Both copy into the arena what they take. The app's texts may be of any length, and hold any bytes. ERR_NOMEM. */
MUST_CHECK enum err_code prompt_wish(struct prompt_wishes *w, struct span text, struct arena *a, struct err *err);
/* Takes the label if it is usable and there is room. */
MUST_CHECK enum err_code prompt_wish_label(struct prompt_wishes *w, struct span label, struct arena *a,
                                           struct err *err);

/* The text, in the arena. */
MUST_CHECK enum err_code prompt_build(const struct prompt_wishes *w, struct arena *a, const char **ret,
                                      struct err *err);

#endif
