/*
 * stored - the values of a Firestore document, read where they lie in the answer: nothing is built and nothing copied,
 * so that a document costs no more than one pass over it, however many values its users have put into it.
 *
 * A value is an object with one member, which says its type: {"stringValue":"x"} (PROTOCOL.md 4.2). The text must have
 * passed json_check_any(). Each function takes an absent value.
 */
#ifndef WORKER_GOOGLE_STORED_H
#define WORKER_GOOGLE_STORED_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

struct stored {
    struct span json; /* ptr NULL: absent */
};

/* A member of a JSON object, by its name. */
struct stored stored_in(struct span object, const char *name);
/* Several members, in one pass over the object. */
void stored_pick(struct span object, const char *const *names, struct stored *ret, int n);
/* The members of a mapValue as a JSON object; empty: it is none. */
struct span stored_members(struct stored map);
/* The JSON text of a string, without its escapes, in the arena; ret->ptr is NULL when it is no string. ERR_NOMEM. */
MUST_CHECK enum err_code stored_unescape(struct span json, struct arena *a, struct span *ret, struct err *err);

static inline bool stored_is_absent(struct stored v)
{
    return !v.json.ptr;
}

struct stored stored_member(struct stored map, const char *name); /* of a mapValue */
bool stored_is_null(struct stored v);                             /* present, and nullValue */
bool stored_integer(struct stored v, int64_t *ret);               /* an integer, or a double that is one below 2^53 */
bool stored_timestamp(struct stored v, int64_t *ret_us);          /* microseconds since 1970 */
bool stored_is_text(struct stored v, const char *text);           /* a string that is this text, of at most 255 bytes */
/* A string as its users wrote it: it may have NUL bytes, and bytes that are no UTF-8. ret->ptr is NULL unless a string;
 * the byte behind it is NUL. ERR_NOMEM. */
MUST_CHECK enum err_code stored_text(struct stored v, struct arena *a, struct span *ret, struct err *err);

/* The values of an array, one with each call; *rest is stored_list(v) at the start. Absent: there are no more. */
struct span stored_list(struct stored array);
struct stored stored_next(struct span *rest);

#endif
