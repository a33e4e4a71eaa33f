/*
 * object_list - the objects below a prefix of a bucket, as they are at one moment.
 *
 *   GET /storage/v1/b/BUCKET/o?prefix=PREFIX/&maxResults=1000
 *       &fields=items(name,generation,size,crc32c,contentEncoding),nextPageToken[&pageToken=TOKEN]
 *
 * An object whose name ends in a slash stands for a folder and is left out.
 */
#ifndef WORKER_WEIGHTS_OBJECT_LIST_H
#define WORKER_WEIGHTS_OBJECT_LIST_H

#include "worker/google/storage.h"

enum { OBJECT_LIST_MAX = 4096, OBJECT_LIST_PAGE = 1000 };

/* A version of an object: another one has another generation. */
struct listed_object {
    const char *object; /* its name in the bucket */
    const char *name;   /* below the prefix */
    int64_t generation, bytes;
    bool has_crc32c;
    uint32_t crc32c;
    bool is_packed; /* it has a contentEncoding: what arrives may be other bytes than those that were put there */
};

struct object_list {
    struct listed_object *objects;
    int n;
};

/*
 * `prefix` is without a slash at its end; "" means the whole bucket. Everything comes from the arena.
 *
 *   ERR_NOT_FOUND    there is no such bucket, or nothing below the prefix
 *   ERR_DENIED       the account may not list: the message names the role
 *   ERR_TOO_LARGE    more than OBJECT_LIST_MAX
 *   ERR_UNAVAILABLE, ERR_PROTOCOL, ERR_DEADLINE, ERR_CANCELLED, ERR_NOMEM, and those of gauth_header()
 */
MUST_CHECK enum err_code object_list_get(const struct storage *s, const char *prefix, const struct budget *budget,
                                         struct arena *a, struct object_list *ret, struct err *err);

/* What the answer to a call about the objects of WEIGHTS means, where it is no success: records the error and returns
 * its code. `what`: "list gs://bucket/prefix", "get ...". */
enum err_code object_refusal(const char *what, const struct storage *s, const struct http_reply *reply,
                             struct err *err);

#endif
