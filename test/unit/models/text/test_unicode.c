#include "models/text/unicode.h"

#include <stdlib.h>

#include "test/support/check.h"

enum { ARENA_BYTES = 16 << 20, SEED = 20240502 };

static struct arena *arena_fresh(void)
{
    static struct arena a;

    arena_done(&a);
    CHECK(arena_init(&a, ARENA_BYTES, NULL) == ERR_OK);
    return &a;
}

static void check_nfc(const char *text, size_t n_want, const int32_t *want)
{
    struct err err = { 0 };
    int32_t *got = NULL;
    size_t n = 0;

    CHECK_OK(unicode_nfc(span_of(text), arena_fresh(), &got, &n, &err), err);
    CHECK_INT(n, n_want);
    CHECK(n == 0 || memcmp(got, want, n * sizeof *got) == 0);
}
#define NFC(text, ...) \
    check_nfc(text, sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t), (int32_t[]){ __VA_ARGS__ })

TEST(unicode__utf8_is_that_of_rfc_3629)
{
    static const char *const bad[] = {
        "\x80", "\xC1\xBF", "\xC3", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF", "\xE2\x96", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFE", "\xFF", "a\xE2\x28\xA1", "\xF0\x9F\x90",
    };
    static const int32_t edges[] = { 0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFE, 0xFFFF, 0x10000, 0x10FFFF };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!unicode_valid(span_of(bad[i])));
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        char buf[4];
        struct span s = { buf, unicode_put(buf, edges[i]) };

        CHECK(unicode_valid(s));
        CHECK_INT(unicode_next(&s), edges[i]);
        CHECK_INT(s.len, 0);
        CHECK_INT(unicode_next(&s), -1);
    }
}

TEST(unicode__nfc_follows_the_standard)
{
    NFC("e\xCC\x81", 0xE9);
    NFC("\xE2\x84\xAB", 0xC5);                                  /* ANGSTROM SIGN: a singleton */
    NFC("\xE1\xBA\x9B\xCC\xA3", 0x1E9B, 0x323);                 /* UAX 15, figure 6 */
    NFC("s\xCC\x87\xCC\xA3", 0x1E69);                           /* UAX 15: dot below first, then above */
    NFC("q\xCC\x87\xCC\xA3", 'q', 0x323, 0x307);                /* reordered, although nothing composes */
    NFC("\xE0\xA5\x98", 0x915, 0x93C);                          /* a composition exclusion */
    NFC("\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8", 0xAC01);        /* Hangul, three jamo */
    NFC("\xEA\xB0\x80\xE1\x86\xA8", 0xAC01);
    NFC("\xEA\xB0\x80\xE1\x86\xA7", 0xAC00, 0x11A7);            /* U+11A7 is not a final jamo */
    NFC("\xEF\xBC\xA1", 0xFF21);                                /* NFC, not NFKC */
    NFC("q\xE1\xAB\x84\xCC\xB4", 'q', 0x1AC4, 0x334);           /* a mark of Unicode 14, which the tables of Unicode 9 do not reorder */
    NFC("\xF0\x91\xA4\xB5\xF0\x91\xA4\xB0", 0x11935, 0x11930);  /* characters of Unicode 13: not composed */
    check_nfc("", 0, NULL);
}

/* The order is by class and stable: compared with an insertion sort on long runs of marks in random order. */
TEST(unicode__nfc_orders_long_runs_of_marks)
{
    /* marks that compose with nothing, and their classes (UnicodeData.txt) */
    static const struct {
        int32_t cp;
        int class;
    } marks[] = {
        { 0x334, 1 }, { 0x33D, 230 }, { 0x33E, 230 }, { 0x316, 220 }, { 0x317, 220 }, { 0x35C, 233 }, { 0x5B0, 10 },
    };
    enum { N_MARKS = sizeof marks / sizeof *marks, MAX_RUN = 600 };
    unsigned short rnd[3] = { SEED & 0xFFFF, SEED >> 16, 0 };

    for (int round = 0; round < 40; round++) {
        int run[MAX_RUN], n = 1 + (int)(nrand48(rnd) % MAX_RUN);
        char text[1 + 2 * MAX_RUN + 1] = "q";
        int32_t want[1 + MAX_RUN] = { 'q' };
        size_t len = 1;

        for (int i = 0; i < n; i++) {
            int k, mark = (int)(nrand48(rnd) % N_MARKS);

            len += unicode_put(text + len, marks[mark].cp);
            for (k = i; k > 0 && marks[run[k - 1]].class > marks[mark].class; k--)
                run[k] = run[k - 1];
            run[k] = mark;
        }
        text[len] = '\0';
        for (int i = 0; i < n; i++)
            want[1 + i] = marks[run[i]].cp;
        check_nfc(text, 1 + (size_t)n, want);
    }
}

TEST(unicode__lower_case_is_full_and_without_context)
{
    static const int32_t pairs[][2] = {
        { 'A', 'a' },         { 0x3A3, 0x3C3 }, { 0x1E9E, 0xDF },     { 0x1C4, 0x1C6 },     { 0x2126, 0x3C9 },
        { 0x10400, 0x10428 }, { 0xDF, 0xDF },   { 0x10D56, 0x10D76 }, { 0xA7CB, 0x264 },    { 0x16EB8, 0x16ED3 },
        { 0x4E00, 0x4E00 },
    };
    int32_t lower[2];

    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        CHECK_INT(unicode_lower(pairs[i][0], lower), 1);
        CHECK_INT(lower[0], pairs[i][1]);
    }
    CHECK_INT(unicode_lower(0x130, lower), 2);
    CHECK(lower[0] == 'i' && lower[1] == 0x307);
}

TEST(unicode__classes)
{
    static const int32_t blanks[] = { 9, 0xD, ' ', 0x85, 0xA0, 0x1680, 0x2007, 0x2029, 0x202F, 0x205F, 0x3000 };
    static const int32_t inks[] = { 8, 0x1C, 0x1F, 'a', 0x180E, 0x200B, 0x2060, 0xFEFF };

    for (size_t i = 0; i < sizeof blanks / sizeof *blanks; i++)
        CHECK(unicode_is_white_space(blanks[i]));
    for (size_t i = 0; i < sizeof inks / sizeof *inks; i++)
        CHECK(!unicode_is_white_space(inks[i]));
    CHECK(unicode_is_letter('z') && unicode_is_letter(0x2B0) && unicode_is_letter(0x4E00));
    CHECK(unicode_is_letter(0x13460)); /* of Unicode 16 */
    CHECK(!unicode_is_letter('_') && !unicode_is_letter(0x301) && !unicode_is_letter('1') && !unicode_is_letter(0x378));
    CHECK(unicode_is_number('7') && unicode_is_number(0xBD) && unicode_is_number(0x2160) && unicode_is_number(0x10D40));
    CHECK(!unicode_is_number('x') && !unicode_is_number(0x4E00));
}
