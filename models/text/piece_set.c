#include "models/text/piece_set.h"

#include <stdlib.h>

#include "models/text/unicode.h"

static int compare_text(struct span a, struct span b)
{
    int d = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);

    return d ? d : (a.len > b.len) - (a.len < b.len);
}

/* By text. Among equal texts, the one given last, which has the highest address in the arena, sorts first.
 */
static int compare_pieces(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    int d = compare_text(x->text, y->text);

    return d ? d : (x->text.ptr < y->text.ptr) - (x->text.ptr > y->text.ptr);
}

static enum err_code copy_pieces(struct piece_set *s, const struct piece *pieces, int n, struct arena *a,
                                 struct err *err)
{
    size_t bytes = 0;
    char *pool = NULL;

    for (int i = 0; i < n; i++) {
        if (pieces[i].text.len > PIECE_MAX_BYTES)
            return err_set(err, ERR_CORRUPT, "vocabulary: piece %d has %zu bytes; at most %d are allowed", i,
                           pieces[i].text.len, PIECE_MAX_BYTES);
        if (!unicode_valid(pieces[i].text))
            return err_set(err, ERR_CORRUPT, "vocabulary: piece %d is not valid UTF-8", i);
        bytes += pieces[i].text.len;
    }
    TRY(arena_alloc(a, (size_t)n, sizeof *s->pieces, &s->pieces, err));
    TRY(arena_alloc(a, bytes, 1, &pool, err));
    for (int i = 0; i < n; i++) {
        struct span text = pieces[i].text;

        if (!text.len)
            continue;
        memcpy(pool, text.ptr, text.len);
        s->pieces[s->n] = pieces[i];
        s->pieces[s->n++].text.ptr = pool;
        pool += text.len;
    }
    return ERR_OK;
}

enum err_code piece_set_init(struct piece_set *s, const struct piece *pieces, int n, struct arena *a, struct err *err)
{
    int kept = 0;

    *s = (struct piece_set){ 0 };
    if (n > PIECE_SET_MAX)
        return err_set(err, ERR_TOO_LARGE, "vocabulary: %d pieces; at most %d are supported", n, PIECE_SET_MAX);
    TRY(copy_pieces(s, pieces, n, a, err));
    qsort(s->pieces, (size_t)s->n, sizeof *s->pieces, compare_pieces);
    for (int i = 0; i < s->n; i++)
        if (kept == 0 || !span_eq(s->pieces[kept - 1].text, s->pieces[i].text))
            s->pieces[kept++] = s->pieces[i];
    s->n = kept;
    return ERR_OK;
}

const struct piece *piece_set_find(const struct piece_set *s, struct span text)
{
    int lo = 0, hi = s->n;

    while (lo < hi) {
        int mid = lo + (hi - lo) / 2, d = compare_text(s->pieces[mid].text, text);

        if (d == 0)
            return &s->pieces[mid];
        if (d < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* The first piece in [lo, hi) whose byte at depth is `byte` or more. A piece that ends there sorts before the others.
 */
static int lower_bound(const struct piece_set *s, int lo, int hi, size_t depth, int byte)
{
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        struct span t = s->pieces[mid].text;

        if (t.len == depth || (unsigned char)t.ptr[depth] < byte)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool piece_set_step(const struct piece_set *s, struct piece_cursor *c, unsigned char byte,
                    const struct piece **ret_match)
{
    c->lo = lower_bound(s, c->lo, c->hi, c->depth, byte);
    c->hi = lower_bound(s, c->lo, c->hi, c->depth, byte + 1);
    c->depth++;
    *ret_match = c->lo < c->hi && s->pieces[c->lo].text.len == c->depth ? &s->pieces[c->lo] : NULL;
    return c->lo < c->hi;
}

const struct piece *piece_set_longest(const struct piece_set *s, struct span text)
{
    struct piece_cursor c = piece_set_begin(s);
    const struct piece *longest = NULL, *match;

    for (size_t i = 0; i < text.len && piece_set_step(s, &c, (unsigned char)text.ptr[i], &match); i++)
        if (match)
            longest = match;
    return longest;
}
