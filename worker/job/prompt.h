/*
 * prompt - the text that tells the model what to paint.
 *
 * FLUX.1-Fill paints what the prompt names; a generic "remove the object" makes it invent one. So the default prompt
 * describes what should continue and names no object.
 *
 *   1. `prompt` of the session, when it has text: word for word, without the blanks around it
 *   2. else the sentence of prompt_table.h for the first of the app's labels that names a ground to stand on; else for
 *      the first that names a floor of some kind; else for the first that names what is behind
 *   3. else the neutral sentence
 *
 * One label decides, because label detectors list the surest label first, and because sentences made of two would be a
 * thousand instead of thirty: too many for a prompt pack. The first PROMPT_MAX_LABELS labels are looked at that,
 * without the blanks around them, are 1 to PROMPT_LABEL_MAX bytes of UTF-8 without control characters; others are
 * skipped. Nothing of a label's text reaches the prompt.
 *
 * ERR_PROMPT: `prompt` is not a string, is no UTF-8, is longer than PROMPT_MAX_BYTES, or holds U+0000 or another
 * control character than tab and newline.
 */
#ifndef WORKER_JOB_PROMPT_H
#define WORKER_JOB_PROMPT_H

#include <stdbool.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"
#include "worker/job/prompt_table.h"

enum { PROMPT_MAX_BYTES = 2000, PROMPT_MAX_LABELS = 64 };

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

/* The text, in the arena or of the table. */
MUST_CHECK enum err_code prompt_build(const struct prompt_wishes *w, struct arena *a, const char **ret,
                                      struct err *err);

#endif
