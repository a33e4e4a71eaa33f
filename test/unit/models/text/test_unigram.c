#include "models/text/unigram.h"

#include "test/support/check.h"

enum { ARENA_BYTES = 1 << 20, UNK = 99 };

static struct arena *arena_fresh(void)
{
    static struct arena a;

    arena_done(&a);
    CHECK(arena_init(&a, ARENA_BYTES, NULL) == ERR_OK);
    return &a;
}

static void check_encode(const struct piece *pieces, int n_pieces, const char *word, int n_want, const int32_t *want)
{
    struct arena *a = arena_fresh();
    struct unigram u;
    struct err err = { 0 };
    int32_t ids[32];
    int n = 0;

    CHECK_OK(unigram_init(&u, pieces, n_pieces, UNK, a, &err), err);
    CHECK_OK(unigram_encode(&u, span_of(word), ids, 32, &n, a, &err), err);
    CHECK_INT(n, n_want);
    for (int i = 0; i < n; i++)
        CHECK_INT(ids[i], want[i]);
}
#define ENCODE(pieces, word, ...)                                                                             \
    check_encode(pieces, sizeof(pieces) / sizeof *(pieces), word, sizeof((int32_t[]){ __VA_ARGS__ }) / 4,     \
                 (int32_t[]){ __VA_ARGS__ })

/* Sums worked out by hand; MODEL.md 6.3. */
TEST(unigram__takes_the_most_probable_segmentation)
{
    static const struct piece pieces[] = {
        { SPAN("a"), -1, 0 },  { SPAN("b"), -1, 1 },    { SPAN("ab"), -1.5, 2 },
        { SPAN("ba"), -3, 3 }, { SPAN("abab"), -4, 4 },
    };

    ENCODE(pieces, "ab", 2);       /* -1.5 > -2 */
    ENCODE(pieces, "ba", 1, 0);    /* -2 > -3 */
    ENCODE(pieces, "abab", 2, 2);  /* -3 > -4 */
    ENCODE(pieces, "aba", 2, 0);
}

TEST(unigram__keeps_the_first_of_equals)
{
    /* "abc" as a|bc and as ab|c: equal sums. The last cell is filled from p = 1 first, and kept. */
    static const struct piece pieces[] = {
        { SPAN("a"), -1, 0 }, { SPAN("bc"), -2, 1 }, { SPAN("ab"), -2, 2 }, { SPAN("c"), -1, 3 }, { SPAN("b"), -9, 4 },
    };

    ENCODE(pieces, "abc", 0, 1);
}

TEST(unigram__fuses_unknowns_and_uses_them_only_without_a_single_character)
{
    static const struct piece pieces[] = {
        { SPAN("a"), -1, 0 }, { SPAN("xy"), -30, 1 }, { SPAN("<u>"), 0, UNK }, { SPAN("\xC3\xA9"), -2, 3 },
    };

    ENCODE(pieces, "a??a", 0, UNK, 0);
    ENCODE(pieces, "?\xE7\x8A\xAC?", UNK);
    ENCODE(pieces, "xy", 1);          /* -30 against twice -40 */
    ENCODE(pieces, "?<u>?", UNK);     /* a piece with the unknown's id is merged with its neighbours, too */
    ENCODE(pieces, "\xC3\xA9\xC3\xA8", 3, UNK); /* an unknown covers a whole character */
}

TEST(unigram__keeps_the_last_of_equal_pieces)
{
    static const struct piece pieces[] = {
        { SPAN("a"), -5, 0 }, { SPAN("a"), -1, 1 }, { SPAN("aa"), -3, 2 }, { SPAN(""), 0, 3 },
    };

    ENCODE(pieces, "aa", 1, 1);
}

TEST(unigram__stops_when_the_buffer_is_full)
{
    static const struct piece pieces[] = { { SPAN("a"), -1, 7 } };
    struct arena *a = arena_fresh();
    struct unigram u;
    struct err err = { 0 };
    int32_t ids[4] = { -1, -1, -1, -1 };
    int n = 1;

    CHECK_OK(unigram_init(&u, pieces, 1, UNK, a, &err), err);
    CHECK_OK(unigram_encode(&u, SPAN("aaaaaa"), ids, 3, &n, a, &err), err);
    CHECK_INT(n, 3);
    CHECK(ids[0] == -1 && ids[1] == 7 && ids[2] == 7 && ids[3] == -1);
    CHECK_INT(unigram_init(&u, pieces, 0, UNK, a, NULL), ERR_CORRUPT);
}
