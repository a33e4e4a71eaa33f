/*
 * unicode - code points, categories and NFC as the official tokenizers see them. The only file over libutf8proc.
 *
 * A code point is an int32_t. Text is UTF-8 as RFC 3629 has it: no surrogates, no long forms, nothing over U+10FFFF;
 * U+0000 is a character like others.
 */
#ifndef MODELS_TEXT_UNICODE_H
#define MODELS_TEXT_UNICODE_H

#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

bool unicode_valid(struct span text);

/* Takes one code point off the front; -1, and nothing taken, when text is empty or broken there. */
int32_t unicode_next(struct span *text);
size_t unicode_put(char *buf, int32_t cp); /* 1 to 4 bytes */

bool unicode_is_white_space(int32_t cp); /* property White_Space */
bool unicode_is_letter(int32_t cp);      /* general category L* */
bool unicode_is_number(int32_t cp);      /* general category N* */

/* Full lower-case mapping without context; the number of code points, 1 or 2. */
int unicode_lower(int32_t cp, int32_t ret[2]);

/* Extended grapheme clusters (UAX 29), one code point after the other. */
struct unicode_cluster {
    int32_t last;  /* code point */
    int32_t state; /* libutf8proc's */
};

struct unicode_cluster unicode_cluster_begin(int32_t cp);
bool unicode_cluster_takes(struct unicode_cluster *c, int32_t cp); /* false: cp begins another; c is done with */

/*
 * Normalisation form C as code points, in the arena. As the official library has it, with the tables of Unicode 9:
 * characters assigned later neither reorder nor compose. O(n log n) in the length of the longest run of marks.
 * ERR_INVALID broken UTF-8; ERR_NOMEM.
 */
MUST_CHECK enum err_code unicode_nfc(struct span text, struct arena *a, int32_t **ret, size_t *ret_n, struct err *err);

#endif
