/*
 * span - a pointer and a length, for all bytes from outside. Not NUL-terminated, never owned.
 */
#ifndef KERNELS_BASE_SPAN_H
#define KERNELS_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/base/err.h"

struct arena;

struct span {
    const char *ptr;
    size_t len;
};

#define SPAN(literal) ((struct span){ (literal), sizeof(literal) - 1 })
#define SPAN_ARG(s)   ((int)((s).len > 200 ? 200 : (s).len)), (s).ptr /* for "%.*s" in messages */

static inline struct span span_of(const char *text)
{
    return (struct span){ text, text ? strlen(text) : 0 };
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool span_is(struct span a, const char *text)
{
    return span_eq(a, span_of(text));
}

static inline bool span_starts(struct span a, const char *prefix)
{
    size_t n = strlen(prefix);
    return a.len >= n && memcmp(a.ptr, prefix, n) == 0;
}

static inline bool span_ends(struct span a, const char *suffix)
{
    size_t n = strlen(suffix);
    return a.len >= n && memcmp(a.ptr + a.len - n, suffix, n) == 0;
}

/* Whether all its bytes are 0; true of no bytes. */
static inline bool span_is_zero(struct span s)
{
    return s.len == 0 || (s.ptr[0] == 0 && memcmp(s.ptr, s.ptr + 1, s.len - 1) == 0);
}

/* In capitals or not. */
static inline bool span_ends_in_any_case(struct span a, const char *suffix)
{
    size_t n = strlen(suffix);
    return a.len >= n && strncasecmp(a.ptr + a.len - n, suffix, n) == 0;
}

/* A number of four bytes, the highest first. */
static inline uint32_t span_be32(const void *bytes)
{
    const unsigned char *p = (const unsigned char *)bytes;

    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Without the white space of JSON around it. */
static inline struct span span_trimmed(struct span s)
{
    while (s.len && memchr(" \t\r\n", s.ptr[0], 4))
        s = (struct span){ s.ptr + 1, s.len - 1 };
    while (s.len && memchr(" \t\r\n", s.ptr[s.len - 1], 4))
        s.len--;
    return s;
}

/* Copies s into the arena; *ret_text is NUL-terminated. */
MUST_CHECK enum err_code span_dup(struct arena *a, struct span s, char **ret_text, struct err *err);

#endif
