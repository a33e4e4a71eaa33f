/*
 * charsmap - the precompiled normaliser of a SentencePiece model.
 *
 *   1. u32 trie size in bytes, little-endian
 *   2. the trie: a Darts double array of u32 units
 *        bit 8 has_leaf; label = unit & 0x800000FF; offset = (unit >> 10) << ((unit & 0x200) >> 6)
 *        leaf unit: low 31 bits are an index into the pool
 *   3. the pool: replacement strings, UTF-8, each ended by NUL
 *
 * Every unit that a search can reach, and every string, is checked when the map is opened; searches rely on that.
 * Source: MODEL.md 6.4; tokenizers precompiled.rs; darts.h.
 */
#ifndef MODELS_TEXT_CHARSMAP_H
#define MODELS_TEXT_CHARSMAP_H

#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

enum { CHARSMAP_MAX_BYTES = 4 << 20, CHARSMAP_MAX_STRING = 255 };

struct charsmap {
    struct span trie; /* units, any alignment; empty: only white space and control characters are replaced */
    struct span pool;
};

/* The blob is borrowed and must live as long as the map. It is empty for a vocabulary without a map.
 * ERR_CORRUPT; ERR_TOO_LARGE; ERR_NOMEM (scratch). */
MUST_CHECK enum err_code charsmap_open(struct charsmap *m, struct span blob, struct arena *scratch, struct err *err);

/* Replaces one grapheme cluster after the other. A cluster under six bytes is replaced as a whole, if a prefix of it is
 * in the map, by the string of the shortest such prefix; any other cluster code point by code point. `text` is valid
 * UTF-8, and so is the result, which is from the arena. */
MUST_CHECK enum err_code charsmap_apply(const struct charsmap *m, struct span text, struct arena *a, struct span *ret,
                                        struct err *err);

#endif
