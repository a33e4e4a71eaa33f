/*
 * printable - any bytes as a text of one line that can be turned back into the same bytes.
 *
 * Printable characters of valid UTF-8 stay as they are. A backslash is doubled; every byte of anything else (control
 * characters, line and paragraph separators, characters that change the direction of a text, broken UTF-8) is written
 * as \xNN.
 */
#ifndef WORKER_PUSH_PRINTABLE_H
#define WORKER_PUSH_PRINTABLE_H

#include <stdbool.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

/* The text is in the arena. ERR_NOMEM. */
MUST_CHECK enum err_code printable_escape(struct span bytes, struct arena *a, char **ret, struct err *err);

/* For reading alone: the text as it is where all of it is printable, else escaped. In the arena. ERR_NOMEM. */
MUST_CHECK enum err_code printable_text(const char *text, struct arena *a, char **ret, struct err *err);

/* ERR_INVALID: not a text that printable_escape writes; ERR_NOMEM. */
MUST_CHECK enum err_code printable_unescape(struct span text, struct arena *a, struct span *ret, struct err *err);

/* The length of `text` in at most max_bytes that do not cut a character in two. */
size_t printable_cut(struct span text, size_t max_bytes);

#endif
