/*
 * unigram - the most probable segmentation of a word into pieces (Viterbi), ids as the official library gives them.
 *
 *   best[0] = 0; for each character p in order, for each piece that matches at p, shortest first:
 *     best[p + len] = best[p] + score, if that cell is empty or strictly less
 *   if no piece of one character matches at p, the character alone is unknown: score min_score - 10
 *
 * Adjacent unknowns in a word become a single unk_id. Sums are doubles. A word of n bytes takes
 * O(n x longest piece) steps and 16 (n + 1) bytes.
 * Source: MODEL.md 6.3; Kudo 2018; tokenizers unigram/model.rs.
 */
#ifndef MODELS_TEXT_UNIGRAM_H
#define MODELS_TEXT_UNIGRAM_H

#include "models/text/piece_set.h"

struct unigram {
    struct piece_set pieces;
    double unknown_score;
    int32_t unk_id;
};

/* Copies the pieces into the arena. ERR_CORRUPT: no pieces, or a score that is not finite; and as piece_set_init. */
MUST_CHECK enum err_code unigram_init(struct unigram *u, const struct piece *pieces, int n, int32_t unk_id,
                                      struct arena *a, struct err *err);

/* Appends the ids of `word` (valid UTF-8) to ids[0 .. *n). Ids from ids[max] on are dropped. */
MUST_CHECK enum err_code unigram_encode(const struct unigram *u, struct span word, int32_t *ids, int max, int *n,
                                        struct arena *scratch, struct err *err);

#endif
