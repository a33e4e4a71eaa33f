/*
 * bpe - byte-pair encoding: again and again, the leftmost pair of neighbouring symbols that has the lowest rank is
 * merged, until no pair is in the table. O(n log n) for n symbols, so that one long word costs hardly more than many
 * short ones.
 *
 * Source: Sennrich et al. 2016; tokenizers bpe/word.rs (order of merges).
 */
#ifndef MODELS_TEXT_BPE_H
#define MODELS_TEXT_BPE_H

#include <stdint.h>

#include "kernels/base/arena.h"

enum { BPE_MAX_MERGES = 1 << 18, BPE_MAX_SYMBOLS = 1 << 24 };

struct bpe_merge {
    int32_t left, right; /* the pair */
    int32_t merged;      /* the symbol that replaces it */
    int32_t rank;
};

struct bpe {
    struct bpe_merge *merges; /* sorted by pair */
    int n;
};

/* Copies the merges into the arena. If a pair occurs twice, the higher rank counts, as in the official library.
 * ERR_TOO_LARGE, ERR_NOMEM. */
MUST_CHECK enum err_code bpe_init(struct bpe *b, const struct bpe_merge *merges, int n, struct arena *a,
                                  struct err *err);

/* Merges ids[0 .. *n) in place; *n becomes the number of ids left. Scratch is rewound. */
MUST_CHECK enum err_code bpe_encode(const struct bpe *b, int32_t *ids, size_t *n, struct arena *scratch,
                                    struct err *err);

#endif
