#include "models/text/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "test/support/check.h"

enum { ARENA_BYTES = 64 << 20, SEED = 20240503, SYMBOLS = 4, MAX_MERGES = 12, MAX_WORD = 40 };

static struct arena *arena_fresh(void)
{
    static struct arena a;

    arena_done(&a);
    CHECK(arena_init(&a, ARENA_BYTES, NULL) == ERR_OK);
    return &a;
}

/* The definition: merges the leftmost pair of the lowest rank until no pair can be merged. */
static size_t plainly(const struct bpe_merge *merges, int n_merges, int32_t *ids, size_t n)
{
    for (;;) {
        const struct bpe_merge *best = NULL;
        size_t at = 0;

        for (size_t i = 0; i + 1 < n; i++)
            for (int m = 0; m < n_merges; m++)
                if (merges[m].left == ids[i] && merges[m].right == ids[i + 1] &&
                    (!best || merges[m].rank < best->rank)) {
                    best = &merges[m];
                    at = i;
                }
        if (!best)
            return n;
        ids[at] = best->merged;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

/* Ranks that no training produces: a merge of merged symbols may rank before the merges that make these symbols. */
TEST(bpe__merges_by_rank_then_from_the_left)
{
    unsigned short rnd[3] = { SEED & 0xFFFF, SEED >> 16, 0 };

    for (int round = 0; round < 3000; round++) {
        struct arena *a = arena_fresh();
        struct bpe_merge merges[MAX_MERGES];
        struct bpe b;
        struct err err = { 0 };
        int n_merges = 1 + (int)(nrand48(rnd) % MAX_MERGES);
        size_t n = 1 + (size_t)(nrand48(rnd) % MAX_WORD), n_want;
        int32_t ids[MAX_WORD], want[MAX_WORD];

        for (int m = 0; m < n_merges; m++)
            merges[m] = (struct bpe_merge){ .left = (int32_t)(nrand48(rnd) % (SYMBOLS + m)),
                                            .right = (int32_t)(nrand48(rnd) % (SYMBOLS + m)),
                                            .merged = SYMBOLS + m, .rank = (m * 7) % 13 };
        for (int m = 0; m < n_merges; m++) /* pairs that occur twice are left to the next test */
            for (int k = 0; k < m; k++)
                if (merges[k].left == merges[m].left && merges[k].right == merges[m].right)
                    merges[m].left = -2 - m;
        for (size_t i = 0; i < n; i++)
            want[i] = ids[i] = (int32_t)(nrand48(rnd) % SYMBOLS);
        n_want = plainly(merges, n_merges, want, n);
        CHECK_OK(bpe_init(&b, merges, n_merges, a, &err), err);
        CHECK_OK(bpe_encode(&b, ids, &n, a, &err), err);
        CHECK_INT(n, n_want);
        CHECK(memcmp(ids, want, n * sizeof *ids) == 0);
    }
}

TEST(bpe__the_last_of_duplicate_pairs_counts)
{
    static const struct bpe_merge merges[] = { { 0, 1, 10, 0 }, { 1, 2, 11, 1 }, { 0, 1, 12, 2 } };
    struct arena *a = arena_fresh();
    struct bpe b;
    struct err err = { 0 };
    int32_t ids[] = { 0, 1, 2, 0, 1 };
    size_t n = 5;

    CHECK_OK(bpe_init(&b, merges, 3, a, &err), err);
    CHECK_INT(b.n, 2);
    CHECK_OK(bpe_encode(&b, ids, &n, a, &err), err);
    CHECK_INT(n, 3);
    CHECK(ids[0] == 0 && ids[1] == 11 && ids[2] == 12);
}

TEST(bpe__takes_words_of_zero_one_and_very_many_symbols)
{
    static const struct bpe_merge merges[] = { { 0, 0, 1, 0 }, { 1, 1, 2, 1 }, { 2, 2, 3, 2 } };
    enum { MANY = 1 << 18 };
    struct arena *a = arena_fresh();
    struct bpe b;
    struct err err = { 0 };
    int32_t *ids = calloc(MANY, sizeof *ids), one = 7;
    size_t n = 0;

    CHECK_OK(bpe_init(&b, merges, 3, a, &err), err);
    CHECK_OK(bpe_encode(&b, ids, &n, a, &err), err);
    CHECK_INT(n, 0);
    n = 1;
    CHECK_OK(bpe_encode(&b, &one, &n, a, &err), err);
    CHECK(n == 1 && one == 7);
    n = MANY;
    CHECK_OK(bpe_encode(&b, ids, &n, a, &err), err); /* quadratic would take minutes */
    CHECK_INT(n, MANY / 8);
    CHECK_INT(ids[0], 3);
    free(ids);
}
