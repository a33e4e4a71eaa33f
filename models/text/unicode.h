/*
 * unicode - code points, categories and NFC as the official tokenizers see them. The only file over libutf8proc.
 *
 * A code point is an int32_t. Text is UTF-8 as in RFC 3629: no surrogates, no overlong forms, nothing above U+10FFFF.
 * U+0000 is a character like any other.
 */
#ifndef MODELS_TEXT_UNICODE_H
#define MODELS_TEXT_UNICODE_H

#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

bool unicode_valid(struct span text);

/* Takes one code point off the front. -1: text is empty, or not valid there; nothing is taken. */
int32_t unicode_next(struct span *text);
size_t unicode_put(char *buf, int32_t cp); /* writes 1 to 4 bytes, and returns their number */

bool unicode_is_white_space(int32_t cp); /* property White_Space */
bool unicode_is_letter(int32_t cp);      /* general category L* */
bool unicode_is_number(int32_t cp);      /* general category N* */

/* The full lower-case mapping, without regard to context. Returns the number of code points, 1 or 2. */
int unicode_lower(int32_t cp, int32_t ret[2]);

/* An extended grapheme cluster (UAX 29), to which one code point after the other is offered. */
struct unicode_cluster {
    int32_t last;  /* the last code point */
    int32_t state; /* libutf8proc's */
};

struct unicode_cluster unicode_cluster_begin(int32_t cp);
bool unicode_cluster_takes(struct unicode_cluster *c, int32_t cp); /* false: cp begins another cluster, and c ends */

/*
 * Normalisation form C, as code points from the arena. Like the official library, it has the tables of Unicode 9:
 * characters assigned later are neither reordered nor composed. O(n log n) in the length of the longest run of marks.
 * ERR_INVALID: not valid UTF-8; ERR_NOMEM.
 */
MUST_CHECK enum err_code unicode_nfc(struct span text, struct arena *a, int32_t **ret, size_t *ret_n, struct err *err);

#endif
