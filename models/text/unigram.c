#include "models/text/unigram.h"

#include <math.h>

#include "models/text/unicode.h"

enum { UNKNOWN_PENALTY = 10, WORD_MAX_BYTES = 1 << 28 };

/* The best segmentation of a word up to a byte offset. */
struct cell {
    double score;
    int32_t from; /* offset at which its last piece begins; -1: there is no segmentation yet */
    int32_t id;   /* id of its last piece */
};

enum err_code unigram_init(struct unigram *u, const struct piece *pieces, int n, int32_t unk_id, struct arena *a,
                           struct err *err)
{
    double least = INFINITY;

    for (int i = 0; i < n; i++) {
        if (!isfinite(pieces[i].score))
            return err_set(err, ERR_CORRUPT, "vocabulary: the score of piece %d is not finite", i);
        if (pieces[i].score < least)
            least = pieces[i].score;
    }
    if (n < 1)
        return err_set(err, ERR_CORRUPT, "vocabulary: it has no pieces");
    u->unknown_score = least - UNKNOWN_PENALTY;
    u->unk_id = unk_id;
    return piece_set_init(&u->pieces, pieces, n, a, err);
}

static void offer(struct cell *to, double score, size_t from, int32_t id)
{
    if (to->from < 0 || score > to->score)
        *to = (struct cell){ score, (int32_t)from, id };
}

/* Tries every piece that matches at p, and, if none of them is a single character, an unknown character. */
static void extend(const struct unigram *u, struct span word, struct cell *cells, size_t p, size_t char_bytes)
{
    struct piece_cursor c = piece_set_begin(&u->pieces);
    const struct piece *match;
    bool single = false;

    for (size_t q = p; q < word.len && piece_set_step(&u->pieces, &c, (unsigned char)word.ptr[q], &match); q++) {
        if (!match)
            continue;
        offer(&cells[q + 1], cells[p].score + match->score, p, match->id);
        single = single || q + 1 - p == char_bytes;
    }
    if (!single)
        offer(&cells[p + char_bytes], cells[p].score + u->unknown_score, p, u->unk_id);
}

/* Reverses the chain of pieces: if a piece ends at p, cells[p].from becomes the end of the next piece. Returns the end
 * of the first piece. */
static int32_t reverse(struct cell *cells, int32_t end)
{
    int32_t next = 0;

    for (int32_t p = end; p > 0;) {
        int32_t from = cells[p].from;

        cells[p].from = next;
        next = p;
        p = from;
    }
    return next;
}

enum err_code unigram_encode(const struct unigram *u, struct span word, int32_t *ids, int max, int *n,
                             struct arena *scratch, struct err *err)
{
    ARENA_SCRATCH(scratch);
    struct cell *cells = NULL;
    struct span rest = word;
    bool after_unknown = false;

    if (word.len > WORD_MAX_BYTES)
        return err_set(err, ERR_TOO_LARGE, "unigram: a word of %zu bytes; at most %d are supported", word.len,
                       WORD_MAX_BYTES);
    TRY(arena_alloc(scratch, word.len + 1, sizeof *cells, &cells, err));
    for (size_t i = 1; i <= word.len; i++)
        cells[i].from = -1;
    while (rest.len) {
        size_t p = word.len - rest.len;

        if (unicode_next(&rest) < 0)
            return err_set(err, ERR_INVALID, "unigram: the word is not valid UTF-8");
        extend(u, word, cells, p, word.len - rest.len - p);
    }
    for (int32_t p = reverse(cells, (int32_t)word.len); p > 0 && *n < max; p = cells[p].from) {
        if (cells[p].id != u->unk_id || !after_unknown)
            ids[(*n)++] = cells[p].id;
        after_unknown = cells[p].id == u->unk_id;
    }
    return ERR_OK;
}
