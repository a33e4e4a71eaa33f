/*
 * members - the top-level members of one JSON object by a table of names, as they are written.
 *
 * For texts that decide something (tokens, keys, envelopes): a member keeps its spelling, so that 1e3 is not mistaken
 * for an integer nor a string for a number. Allocates nothing. Members not in the table are passed over.
 * The outermost text goes through members_parse, which refuses duplicates; nested objects are read by members_read on
 * their `raw`.
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
    struct span raw;      /* between the quotes; the digits; an object with its braces; empty for true, false, null */
};

enum { MEMBER_NAME_MAX = 63 };

/* ERR_INVALID: not an object. Fills type and raw; `text` must outlive them. */
MUST_CHECK enum err_code members_read(struct span text, struct member *members, int n, struct err *err);

/* json_check and members_read. ERR_INVALID with "what: why"; ERR_NOMEM. */
MUST_CHECK enum err_code members_parse(struct span text, int max_depth, const char *what, struct member *members, int n,
                                       struct err *err);

/* The elements of an array, one a call: *at starts as 0. false: there are no more. */
bool members_next(struct span array, size_t *at, enum json_event *ret_type, struct span *ret_raw);

/* The text of a string; false: not a string, or longer than size - 1 bytes. */
bool member_text(const struct member *m, char *buf, size_t size);
bool member_integer(const struct member *m, int64_t *ret); /* digits alone: no fraction, no exponent */

/* The text of a string in the arena, or NULL in *ret when it is not a string. ERR_NOMEM. */
MUST_CHECK enum err_code member_dup(const struct member *m, struct arena *a, char **ret, struct err *err);

#endif
