/*
 * piece_set - the strings of a vocabulary, sorted, so that all pieces with which a text begins are found byte by byte:
 * a cursor is the range of pieces that begin with the bytes fed so far, and each byte narrows it, like a trie without
 * nodes. O(log n) a byte.
 */
#ifndef MODELS_TEXT_PIECE_SET_H
#define MODELS_TEXT_PIECE_SET_H

#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

enum { PIECE_SET_MAX = 1 << 20, PIECE_MAX_BYTES = 1024 };

struct piece {
    struct span text;
    double score; /* log probability; 0 in a vocabulary without scores */
    int32_t id;
};

struct piece_set {
    struct piece *pieces; /* sorted by their bytes; each text once */
    int n;
};

struct piece_cursor {
    int lo, hi;   /* lo == hi: no piece begins with the bytes fed */
    size_t depth; /* bytes fed */
};

/* Copies pieces and texts into the arena. Of pieces with equal texts the last one is kept; empty ones are left out.
 * ERR_CORRUPT: a piece over PIECE_MAX_BYTES, or not UTF-8; ERR_TOO_LARGE: over PIECE_SET_MAX pieces; ERR_NOMEM. */
MUST_CHECK enum err_code piece_set_init(struct piece_set *s, const struct piece *pieces, int n, struct arena *a,
                                        struct err *err);

const struct piece *piece_set_find(const struct piece_set *s, struct span text); /* NULL: absent */

static inline struct piece_cursor piece_set_begin(const struct piece_set *s)
{
    return (struct piece_cursor){ 0, s->n, 0 };
}

/* Feeds one byte. False: no piece begins with the bytes fed. *ret_match: the piece that equals them, or NULL. */
bool piece_set_step(const struct piece_set *s, struct piece_cursor *c, unsigned char byte,
                    const struct piece **ret_match);

/* The longest piece with which text begins; NULL: none. */
const struct piece *piece_set_longest(const struct piece_set *s, struct span text);

#endif
