/*
 * members - looks up the top-level members of one JSON object by a table of names, in their original spelling.
 *
 * For texts on which access depends (tokens, keys, envelopes): a member keeps its spelling, so that neither 1e3 nor a
 * string passes for an integer. Allocates nothing, member_dup excepted. Members not in the table are skipped.
 * The outermost text goes through members_parse, which refuses duplicates; nested objects are read from their `raw` by
 * members_read.
 */
#ifndef WORKER_BASE_MEMBERS_H
#define WORKER_BASE_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/json_scan.h"

struct member {
    const char *name;
    enum json_event type; /* JSON_END: absent; JSON_OBJECT, JSON_ARRAY, JSON_STRING, ... */
    struct span raw;      /* a string without its quotes, a number, an object or array with its brackets; else empty */
};

enum { MEMBER_NAME_MAX = 63 };

/* Fills type and raw, which point into `text`. ERR_INVALID: not an object. */
MUST_CHECK enum err_code members_read(struct span text, struct member *members, int n, struct err *err);

/* json_check, then members_read. ERR_INVALID, with the message "what: why"; ERR_NOMEM. */
MUST_CHECK enum err_code members_parse(struct span text, int max_depth, const char *what, struct member *members, int n,
                                       struct err *err);

/* The elements of an array, one with each call; *at is 0 at the start. false: there are no more. */
bool members_next(struct span array, size_t *at, enum json_event *ret_type, struct span *ret_raw);

/* The text of a string; false: not a string, or longer than size - 1 bytes. */
bool member_text(const struct member *m, char *buf, size_t size);
/* The same, and the digits of an integer without a sign, as they are written: no double ever holds them. */
bool member_text_or_digits(const struct member *m, char *buf, size_t size);
bool member_integer(const struct member *m, int64_t *ret); /* false unless digits only: no fraction, no exponent */

/* Copies the text of a string into the arena; *ret is NULL when the member is not a string. ERR_NOMEM. */
MUST_CHECK enum err_code member_dup(const struct member *m, struct arena *a, char **ret, struct err *err);

#endif
