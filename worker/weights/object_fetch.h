/*
 * object_fetch - versions of objects as files in memory (kernels/base/memory_file.h), in ranges side by side.
 *
 *   GET /storage/v1/b/BUCKET/o/OBJECT?alt=media&generation=G      Range: bytes=FROM-TO
 *
 * An object is divided into pieces: a short one with the directory of its tensors, then long ones. Each is asked for by
 * itself, goes on where it broke off, and is taken only with status 206, the Content-Range that was asked for and the
 * generation that was listed. Its CRC32C is computed as the bytes arrive; those of all pieces together make the
 * object's, which must be the one that was listed. Nothing is written anywhere but to memory.
 */
#ifndef WORKER_WEIGHTS_OBJECT_FETCH_H
#define WORKER_WEIGHTS_OBJECT_FETCH_H

#include "kernels/base/memory_file.h"
#include "worker/weights/object_list.h"

enum {
    FETCH_CONNECTIONS = 16,
    FETCH_HEAD_BYTES = 2 << 20,
    FETCH_PIECE_BYTES = 32 << 20,
    FETCH_GO_ON_BYTES = 64 << 10 /* a try that brought as much and broke off is continued at once, and does not count */
};

struct fetched_object {
    const struct listed_object *listed;
    struct memory_file *file;
    struct fetch_piece *pieces;
    int n_pieces;
};

struct fetch_piece {
    struct fetched_object *of;
    int64_t from, bytes, have;
    uint32_t crc32c; /* of what it has */
    bool done;
};

/* Divides the object, of which nothing has arrived yet. Pieces come from the arena. */
MUST_CHECK enum err_code fetched_object_init(struct fetched_object *o, const struct listed_object *listed,
                                             struct memory_file *file, struct arena *a, struct err *err);
/* How many bytes from its beginning on have arrived. */
int64_t fetched_object_start(const struct fetched_object *o);
bool fetched_object_is_whole(const struct fetched_object *o);

struct fetch {
    const struct storage *s;
    struct budget budget; /* of all calls together */
    /* Told after each piece, one at a time, from any thread. May be NULL. */
    void (*arrived)(void *ctx, const struct fetch_piece *p);
    void *ctx;
    int retries; /* counts up */
};

/*
 * Fetches the pieces that are not done, in their order, some side by side; returns when all are there or one has
 * failed.
 *
 *   ERR_CONFLICT     the object was replaced or removed since it was listed
 *   ERR_DENIED       the account may not read: the message names the role
 *   ERR_UNAVAILABLE  the tries are used up
 *   ERR_PROTOCOL     the server answers with other bytes than those that were asked for
 *   ERR_DEADLINE, ERR_CANCELLED, ERR_NOMEM, and those of gauth_header()
 */
MUST_CHECK enum err_code fetch_pieces(struct fetch *f, struct fetch_piece *const *pieces, int n, struct err *err);

/* Whether the object, which is whole, is what was listed. ERR_CORRUPT; ERR_PROTOCOL where no checksum was listed. */
MUST_CHECK enum err_code fetched_object_check(const struct fetched_object *o, const struct storage *s, struct err *err);

#endif
