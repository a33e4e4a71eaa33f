/*
 * base64 - RFC 4648, strict: one text for one sequence of bytes.
 *
 * Flags say what is accepted. Everything else is refused: characters outside the alphabet, `=` anywhere but at the
 * end, a length that no encoder makes (4n + 1), and trailing bits that are not zero (RFC 4648 3.5).
 * Decoding and encoding work in time linear in the text, and ret_len is untouched on failure.
 */
#ifndef KERNELS_BASE_BASE64_H
#define KERNELS_BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/err.h"
#include "kernels/base/span.h"

enum base64_flags {
    BASE64_STANDARD = 1,     /* alphabet with + and / (RFC 4648 4) */
    BASE64_URL = 2,          /* alphabet with - and _ (RFC 4648 5); decoding takes both when both are set */
    BASE64_NO_PADDING = 4,   /* no `=`; without this flag, `=` is written, and required when decoding */
    BASE64_MAY_PAD = 8,      /* decode: padding may be complete or absent */
    BASE64_WHITE_SPACE = 16, /* decode: blank, tab, CR and LF are skipped anywhere */
};

/* The most bytes that `len` characters can decode to, and the characters that `len` bytes need, with the NUL. */
#define BASE64_DECODED_MAX(len)  ((len) / 4 * 3 + (len) % 4)
#define BASE64_ENCODED_SIZE(len) (((len) + 2) / 3 * 4 + 1)

bool base64_is_url(char c); /* whether it is a character of the alphabet with - and _ */

/* ERR_INVALID: not base64 as the flags describe it; ERR_TOO_LARGE: over `size` bytes. The message names the offset and
 * never the text, which may be secret. The text and the buffer may be the same memory. */
MUST_CHECK enum err_code base64_decode(struct span text, unsigned flags, void *buf, size_t size, size_t *ret_len,
                                       struct err *err);

/* Writes a NUL-terminated text; ret_len (may be NULL) excludes the NUL. ERR_TOO_LARGE: over `size` with the NUL. */
MUST_CHECK enum err_code base64_encode(struct span bytes, unsigned flags, char *buf, size_t size, size_t *ret_len,
                                       struct err *err);

#endif
