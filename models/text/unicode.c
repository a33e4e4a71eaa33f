#include "models/text/unicode.h"

#include <stdlib.h>
#include <utf8proc.h>

enum { COMBINING_ACUTE = 0x0301, ARABIC_NUMBER_SIGN = 0x0600 /* a prepender */ };

struct range {
    int32_t first, last;
};

#define IN_RANGES(cp, table) in_ranges((cp), (table), sizeof(table) / sizeof *(table))

static bool in_ranges(int32_t cp, const struct range *ranges, size_t n)
{
    size_t lo = 0;

    while (lo < n) {
        size_t mid = lo + (n - lo) / 2;

        if (cp < ranges[mid].first)
            n = mid;
        else if (cp > ranges[mid].last)
            lo = mid + 1;
        else
            return true;
    }
    return false;
}

int32_t unicode_next(struct span *text)
{
    int32_t cp;
    utf8proc_ssize_t n;

    if (!text->len)
        return -1;
    n = utf8proc_iterate((const utf8proc_uint8_t *)text->ptr, (utf8proc_ssize_t)text->len, &cp);
    if (n <= 0)
        return -1;
    text->ptr += n;
    text->len -= (size_t)n;
    return cp;
}

bool unicode_valid(struct span text)
{
    while (unicode_next(&text) >= 0)
        ;
    return text.len == 0;
}

size_t unicode_put(char *buf, int32_t cp)
{
    return (size_t)utf8proc_encode_char(cp, (utf8proc_uint8_t *)buf);
}

bool unicode_is_white_space(int32_t cp)
{
    static const struct range table[] = {
        { 0x0009, 0x000D }, { 0x0020, 0x0020 }, { 0x0085, 0x0085 }, { 0x00A0, 0x00A0 }, { 0x1680, 0x1680 },
        { 0x2000, 0x200A }, { 0x2028, 0x2029 }, { 0x202F, 0x202F }, { 0x205F, 0x205F }, { 0x3000, 0x3000 },
    };

    return IN_RANGES(cp, table);
}

/*
 * Debian's libutf8proc has the tables of Unicode 15; the official tokenizers those of 16 (classes) and 17 (lower case).
 * The three functions below list the characters added in between, so that ids do not depend on the installed library.
 */
bool unicode_is_letter(int32_t cp)
{
    static const struct range young[] = {
        { 0x1C89, 0x1C8A },   { 0xA7CB, 0xA7CD },   { 0xA7DA, 0xA7DC },   { 0x105C0, 0x105F3 }, { 0x10D4A, 0x10D65 },
        { 0x10D6F, 0x10D85 }, { 0x10EC2, 0x10EC4 }, { 0x11380, 0x11389 }, { 0x1138B, 0x1138B }, { 0x1138E, 0x1138E },
        { 0x11390, 0x113B5 }, { 0x113B7, 0x113B7 }, { 0x113D1, 0x113D1 }, { 0x113D3, 0x113D3 }, { 0x11BC0, 0x11BE0 },
        { 0x13460, 0x143FA }, { 0x16100, 0x1611D }, { 0x16D40, 0x16D6C }, { 0x18CFF, 0x18CFF }, { 0x1E5D0, 0x1E5ED },
        { 0x1E5F0, 0x1E5F0 }, { 0x2EBF0, 0x2EE5D },
    };
    utf8proc_category_t c = utf8proc_category(cp);

    return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO) || IN_RANGES(cp, young);
}

bool unicode_is_number(int32_t cp)
{
    static const struct range young[] = {
        { 0x10D40, 0x10D49 }, { 0x116D0, 0x116E3 }, { 0x11BF0, 0x11BF9 }, { 0x16130, 0x16139 },
        { 0x16D70, 0x16D79 }, { 0x1CCF0, 0x1CCF9 }, { 0x1E5F1, 0x1E5FA },
    };
    utf8proc_category_t c = utf8proc_category(cp);

    return (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO) || IN_RANGES(cp, young);
}

static int32_t lower_one(int32_t cp)
{
    static const struct {
        int32_t first, last, lower; /* `lower` is the mapping of first; those of the next ones follow it */
    } young[] = {
        { 0x1C89, 0x1C89, 0x1C8A },    { 0xA7CB, 0xA7CB, 0x0264 }, { 0xA7CC, 0xA7CC, 0xA7CD },
        { 0xA7CE, 0xA7CE, 0xA7CF },    { 0xA7D2, 0xA7D2, 0xA7D3 }, { 0xA7D4, 0xA7D4, 0xA7D5 },
        { 0xA7DA, 0xA7DA, 0xA7DB },    { 0xA7DC, 0xA7DC, 0x019B }, { 0x10D50, 0x10D65, 0x10D70 },
        { 0x16EA0, 0x16EB8, 0x16EBB },
    };

    for (size_t i = 0; cp >= young[0].first && i < sizeof young / sizeof *young; i++)
        if (cp >= young[i].first && cp <= young[i].last)
            return young[i].lower + (cp - young[i].first);
    return utf8proc_tolower(cp);
}

int unicode_lower(int32_t cp, int32_t ret[2])
{
    if (cp == 0x0130) { /* the one unconditional mapping to two (SpecialCasing.txt) */
        ret[0] = 'i';
        ret[1] = 0x0307;
        return 2;
    }
    ret[0] = lower_one(cp);
    return 1;
}

/* Where the library's tables are older than the official ones (Unicode 17): a character that the library treats as the
 * official tables treat cp. Otherwise cp. */
static int32_t cluster_equivalent(int32_t cp)
{
    static const struct range young_marks[] = {
        { 0x0897, 0x0897 },   { 0x1ACF, 0x1ADD },   { 0x1AE0, 0x1AEB },   { 0x10D69, 0x10D6D }, { 0x10EFA, 0x10EFC },
        { 0x113B8, 0x113C0 }, { 0x113C2, 0x113C2 }, { 0x113C5, 0x113C5 }, { 0x113C7, 0x113CA }, { 0x113CC, 0x113D0 },
        { 0x113D2, 0x113D2 }, { 0x113E1, 0x113E2 }, { 0x11B60, 0x11B67 }, { 0x11F5A, 0x11F5A }, { 0x1611E, 0x1612F },
        { 0x1E5EE, 0x1E5EF }, { 0x1E6E3, 0x1E6E3 }, { 0x1E6E6, 0x1E6E6 }, { 0x1E6EE, 0x1E6EF }, { 0x1E6F5, 0x1E6F5 },
    };

    if (cp == 0x11A3A) /* no longer a prepender */
        return 'x';
    if (cp == 0x113D1) /* a new prepender */
        return ARABIC_NUMBER_SIGN;
    return IN_RANGES(cp, young_marks) ? COMBINING_ACUTE : cp;
}

struct unicode_cluster unicode_cluster_begin(int32_t cp)
{
    return (struct unicode_cluster){ .last = cluster_equivalent(cp) };
}

bool unicode_cluster_takes(struct unicode_cluster *c, int32_t cp)
{
    int32_t last = c->last;

    c->last = cluster_equivalent(cp);
    if (last < 0x80 && cp < 0x80) /* the common case, which does not change the state */
        return last == '\r' && cp == '\n';
    return !utf8proc_grapheme_break_stateful(last, c->last, &c->state);
}

/*
 * Characters that normalisation must leave alone, as it does a letter: those added after Unicode 9 that would take part
 * in it, and U+11A7, which precedes the first final jamo, and which utf8proc 2.8 composes with a syllable and so drops.
 */
static bool is_inert(int32_t cp)
{
    static const struct range table[] = {
        { 0x05C8, 0x05C9 },   { 0x07FD, 0x07FD },   { 0x0897, 0x089F },   { 0x08CA, 0x08D3 },   { 0x09FE, 0x09FE },
        { 0x0C3C, 0x0C3C },   { 0x0D3B, 0x0D3C },   { 0x0EBA, 0x0EBA },   { 0x11A7, 0x11A7 },   { 0x1715, 0x1715 },
        { 0x1ABF, 0x1AF0 },   { 0x1DF6, 0x1DFA },   { 0xA82C, 0xA82C },   { 0x105C9, 0x105C9 }, { 0x105D2, 0x105D2 },
        { 0x105DA, 0x105DA }, { 0x105E4, 0x105E4 }, { 0x10D24, 0x10D27 }, { 0x10D69, 0x10D6D }, { 0x10EAB, 0x10EAC },
        { 0x10ECB, 0x10ECF }, { 0x10EF0, 0x10EFB }, { 0x10EFD, 0x10EFF }, { 0x10F46, 0x10F50 }, { 0x10F82, 0x10F85 },
        { 0x11070, 0x11070 }, { 0x1133B, 0x1133B }, { 0x11382, 0x11385 }, { 0x1138B, 0x1138B }, { 0x1138E, 0x1138E },
        { 0x11390, 0x11391 }, { 0x113B8, 0x113B8 }, { 0x113BB, 0x113BB }, { 0x113C2, 0x113C2 }, { 0x113C5, 0x113C5 },
        { 0x113C7, 0x113C9 }, { 0x113CE, 0x113D0 }, { 0x1145E, 0x1145E }, { 0x11839, 0x1183A }, { 0x11930, 0x11930 },
        { 0x11935, 0x11935 }, { 0x11938, 0x11938 }, { 0x1193D, 0x1193E }, { 0x11943, 0x11943 }, { 0x119E0, 0x119E0 },
        { 0x11A34, 0x11A34 }, { 0x11A47, 0x11A47 }, { 0x11A99, 0x11A99 }, { 0x11D42, 0x11D42 }, { 0x11D44, 0x11D45 },
        { 0x11D97, 0x11D97 }, { 0x11F41, 0x11F42 }, { 0x1611E, 0x16129 }, { 0x1612F, 0x1612F }, { 0x16D63, 0x16D63 },
        { 0x16D67, 0x16D6A }, { 0x16FF0, 0x16FF1 }, { 0x1D127, 0x1D128 }, { 0x1D250, 0x1D252 }, { 0x1D25B, 0x1D25C },
        { 0x1D25F, 0x1D25F }, { 0x1D280, 0x1D281 }, { 0x1E08F, 0x1E08F }, { 0x1E130, 0x1E136 }, { 0x1E2AE, 0x1E2AE },
        { 0x1E2EC, 0x1E2EF }, { 0x1E4EC, 0x1E4EF }, { 0x1E5EE, 0x1E5EF }, { 0x1E6E3, 0x1E6E3 }, { 0x1E6E6, 0x1E6E6 },
        { 0x1E6EE, 0x1E6EF }, { 0x1E6F5, 0x1E6F5 },
    };

    return cp >= 0x05C8 && IN_RANGES(cp, table);
}

static int combining_class(int32_t cp)
{
    return utf8proc_get_property(cp)->combining_class;
}

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/*
 * Canonical ordering of one run of marks. utf8proc uses an insertion sort, which takes quadratic time for a prompt of
 * marks alone. Sorting by (class, place) is stable and takes O(n log n).
 */
static void order_marks(int32_t *cps, uint64_t *keys, size_t n)
{
    bool ordered = true;

    for (size_t i = 0; i < n; i++) {
        keys[i] = (uint64_t)combining_class(cps[i]) << 56 | (uint64_t)i << 24 | (uint64_t)cps[i];
        ordered = ordered && (i == 0 || keys[i - 1] < keys[i]);
    }
    if (ordered)
        return;
    qsort(keys, n, sizeof *keys, by_key);
    for (size_t i = 0; i < n; i++)
        cps[i] = (int32_t)(keys[i] & 0xFFFFFF);
}

static void order_all(int32_t *cps, uint64_t *keys, size_t n)
{
    for (size_t i = 0, end; i < n; i = end + 1) {
        for (end = i; end < n && combining_class(cps[end]) != 0; end++)
            ;
        if (end - i > 1)
            order_marks(cps + i, keys, end - i);
    }
}

/* Decomposes, orders and composes n code points that Unicode 9 has. Returns the number of code points in out. */
static size_t normalise_known(const int32_t *in, size_t n, int32_t *out, size_t room, uint64_t *keys)
{
    utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    size_t n_out = 0;

    for (size_t i = 0; i < n; i++) {
        utf8proc_ssize_t left = (utf8proc_ssize_t)(room - n_out);
        utf8proc_ssize_t k = utf8proc_decompose_char(in[i], out + n_out, left, options, NULL);

        n_out += k > 0 ? (size_t)k : 0;
    }
    order_all(out, keys, n_out);
    return n_out ? (size_t)utf8proc_normalize_utf32(out, (utf8proc_ssize_t)n_out, options) : 0;
}

enum { DECOMPOSED_MAX = 4 }; /* code points in the longest canonical decomposition */

enum err_code unicode_nfc(struct span text, struct arena *a, int32_t **ret, size_t *ret_n, struct err *err)
{
    int32_t *in = NULL, *out = NULL;
    uint64_t *keys = NULL;
    size_t n = 0, room, n_out = 0;

    if (!unicode_valid(text))
        return err_set(err, ERR_INVALID, "the text is not valid UTF-8");
    for (struct span rest = text; unicode_next(&rest) >= 0;)
        n++;
    room = n * DECOMPOSED_MAX;
    TRY(arena_alloc(a, room, sizeof *out, &out, err));
    TRY(arena_alloc(a, n, sizeof *in, &in, err));
    TRY(arena_alloc(a, room, sizeof *keys, &keys, err));
    for (size_t i = 0; i < n; i++)
        in[i] = unicode_next(&text);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && !is_inert(in[end]); end++)
            ;
        n_out += normalise_known(in + i, end - i, out + n_out, room - n_out, keys);
        if (end < n)
            out[n_out++] = in[end++];
    }
    *ret = out;
    *ret_n = n_out;
    return ERR_OK;
}
