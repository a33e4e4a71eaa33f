#include "models/text/bpe.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A symbol of a word, in a linked list. A merge keeps the left symbol of the pair. */
struct symbol {
    int32_t id; /* NONE: merged into its left neighbour */
    int32_t prev, next;
};

/* A pair that could be merged when it was found. If the symbols there would now give another `merged`, the pair has
 * gone. */
struct candidate {
    int32_t rank, at, merged;
};

struct word {
    struct symbol *symbols;
    struct candidate *heap; /* the one to be merged first on top */
    size_t n_heap;
};

enum { NONE = -1, CANDIDATES_PER_SYMBOL = 3 }; /* one at the beginning, two for each merge */

static int by_pair(const void *a, const void *b)
{
    const struct bpe_merge *x = a, *y = b;

    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    if (x->right != y->right)
        return x->right < y->right ? -1 : 1;
    return (x->rank < y->rank) - (x->rank > y->rank);
}

static bool same_pair(const struct bpe_merge *x, const struct bpe_merge *y)
{
    return x->left == y->left && x->right == y->right;
}

enum err_code bpe_init(struct bpe *b, const struct bpe_merge *merges, int n, struct arena *a, struct err *err)
{
    *b = (struct bpe){ 0 };
    if (n > BPE_MAX_MERGES)
        return err_set(err, ERR_TOO_LARGE, "bpe: %d merges; at most %d are supported", n, BPE_MAX_MERGES);
    TRY(arena_alloc(a, (size_t)n, sizeof *b->merges, &b->merges, err));
    if (n == 0)
        return ERR_OK;
    memcpy(b->merges, merges, (size_t)n * sizeof *merges);
    qsort(b->merges, (size_t)n, sizeof *merges, by_pair);
    for (int i = 0; i < n; i++)
        if (i == 0 || !same_pair(&b->merges[b->n - 1], &b->merges[i]))
            b->merges[b->n++] = b->merges[i];
    return ERR_OK;
}

static const struct bpe_merge *find_merge(const struct bpe *b, int32_t left, int32_t right)
{
    int lo = 0, hi = b->n;

    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        const struct bpe_merge *m = &b->merges[mid];

        if (m->left == left && m->right == right)
            return m;
        if (m->left < left || (m->left == left && m->right < right))
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static bool comes_before(const struct candidate *x, const struct candidate *y)
{
    return x->rank != y->rank ? x->rank < y->rank : x->at < y->at;
}

static void swap(struct candidate *x, struct candidate *y)
{
    struct candidate t = *x;

    *x = *y;
    *y = t;
}

static void heap_push(struct word *w, struct candidate c)
{
    size_t i = w->n_heap++;

    w->heap[i] = c;
    for (; i > 0 && comes_before(&w->heap[i], &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&w->heap[i], &w->heap[(i - 1) / 2]);
}

static struct candidate heap_pop(struct word *w)
{
    struct candidate top = w->heap[0];
    size_t i = 0, child;

    w->heap[0] = w->heap[--w->n_heap];
    for (; (child = 2 * i + 1) < w->n_heap; i = child) {
        if (child + 1 < w->n_heap && comes_before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!comes_before(&w->heap[child], &w->heap[i]))
            break;
        swap(&w->heap[child], &w->heap[i]);
    }
    return top;
}

/* The merge of the symbol at `at` with its right neighbour, or NULL. */
static const struct bpe_merge *merge_at(const struct bpe *b, const struct word *w, int32_t at)
{
    const struct symbol *s = &w->symbols[at];

    return s->id == NONE || s->next == NONE ? NULL : find_merge(b, s->id, w->symbols[s->next].id);
}

static void consider(const struct bpe *b, struct word *w, int32_t at)
{
    const struct bpe_merge *m = at == NONE ? NULL : merge_at(b, w, at);

    if (m)
        heap_push(w, (struct candidate){ m->rank, at, m->merged });
}

static void join(struct word *w, int32_t at, int32_t merged)
{
    struct symbol *s = &w->symbols[at], *right = &w->symbols[s->next];

    s->id = merged;
    s->next = right->next;
    right->id = NONE;
    if (s->next != NONE)
        w->symbols[s->next].prev = at;
}

static void merge_all(const struct bpe *b, struct word *w)
{
    while (w->n_heap) {
        struct candidate c = heap_pop(w);
        const struct bpe_merge *m = merge_at(b, w, c.at);

        if (!m || m->merged != c.merged)
            continue;
        join(w, c.at, c.merged);
        consider(b, w, w->symbols[c.at].prev);
        consider(b, w, c.at);
    }
}

enum err_code bpe_encode(const struct bpe *b, int32_t *ids, size_t *n, struct arena *scratch, struct err *err)
{
    ARENA_SCRATCH(scratch);
    struct word w = { 0 };
    size_t kept = 0;

    if (*n > BPE_MAX_SYMBOLS)
        return err_set(err, ERR_TOO_LARGE, "bpe: a word of %zu symbols; at most %d are supported", *n, BPE_MAX_SYMBOLS);
    TRY(arena_alloc(scratch, *n, sizeof *w.symbols, &w.symbols, err));
    TRY(arena_alloc(scratch, *n * CANDIDATES_PER_SYMBOL, sizeof *w.heap, &w.heap, err));
    for (int32_t i = 0; i < (int32_t)*n; i++)
        w.symbols[i] = (struct symbol){ ids[i], i - 1, i + 1 < (int32_t)*n ? i + 1 : NONE };
    for (int32_t i = 0; i < (int32_t)*n; i++)
        consider(b, &w, i);
    merge_all(b, &w);
    for (size_t i = 0; i < *n; i++)
        if (w.symbols[i].id != NONE)
            ids[kept++] = w.symbols[i].id;
    *n = kept;
    return ERR_OK;
}
