#include "models/text/charsmap.h"

#include "models/text/unicode.h"

enum { UNIT_BYTES = 4, WHOLE_CLUSTER_BYTES = 6, HOLE_BYTES = 4096 };

static uint32_t unit_at(const struct charsmap *m, uint32_t i)
{
    const unsigned char *p = (const unsigned char *)m->trie.ptr + (size_t)i * UNIT_BYTES;

    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool unit_has_leaf(uint32_t unit)
{
    return unit >> 8 & 1;
}

static uint32_t unit_label(uint32_t unit)
{
    return unit & 0x800000FF;
}

static uint32_t unit_offset(uint32_t unit)
{
    return unit >> 10 << ((unit & 0x200) >> 6);
}

/* The base of unit i: its leaf is at this index, and its child for byte c at this index ^ c. */
static uint32_t children_of(const struct charsmap *m, uint32_t i)
{
    return i ^ unit_offset(unit_at(m, i));
}

static struct span string_at(const struct charsmap *m, uint32_t leaf)
{
    const char *text = m->pool.ptr + (leaf & 0x7FFFFFFF);

    return (struct span){ text, strlen(text) };
}

static bool leaf_is_good(const struct charsmap *m, uint32_t leaf)
{
    size_t at = leaf & 0x7FFFFFFF;

    if (at >= m->pool.len || strnlen(m->pool.ptr + at, CHARSMAP_MAX_STRING + 1) > CHARSMAP_MAX_STRING)
        return false;
    return unicode_valid(string_at(m, leaf));
}

/* Checks unit i, and pushes its children, unless seen before, onto the stack. */
static bool unit_is_good(const struct charsmap *m, uint32_t i, uint32_t n_units, unsigned char *seen, uint32_t *stack,
                         uint32_t *n_stack)
{
    uint32_t base = children_of(m, i);

    if ((base | 0xFF) >= n_units)
        return false;
    if (unit_has_leaf(unit_at(m, i)) && !leaf_is_good(m, unit_at(m, base)))
        return false;
    for (uint32_t c = 1; c <= 0xFF; c++) {
        uint32_t child = base ^ c;

        if (unit_label(unit_at(m, child)) == c && !seen[child]) {
            seen[child] = 1;
            stack[(*n_stack)++] = child;
        }
    }
    return true;
}

static enum err_code check_trie(const struct charsmap *m, struct arena *scratch, struct err *err)
{
    ARENA_SCRATCH(scratch);
    uint32_t n_units = (uint32_t)(m->trie.len / UNIT_BYTES), n_stack = 1, *stack = NULL;
    unsigned char *seen = NULL;

    TRY(arena_alloc(scratch, n_units, sizeof *stack, &stack, err));
    TRY(arena_alloc(scratch, n_units, 1, &seen, err));
    seen[0] = 1; /* the stack begins with the root, unit 0 */
    while (n_stack) {
        uint32_t i = stack[--n_stack];

        if (!unit_is_good(m, i, n_units, seen, stack, &n_stack))
            return err_set(err, ERR_CORRUPT, "charsmap: unit %u of the trie refers to something outside the map", i);
    }
    return ERR_OK;
}

/* Strings end in one zero, and few units of a trie are zero: long runs of zeros are what an unfinished download leaves
 * behind. Searches in them would find nothing, and texts would get other ids. */
static enum err_code check_holes(struct span blob, struct err *err)
{
    size_t zeros = 0;

    for (size_t i = 0; i < blob.len; i++) {
        zeros = blob.ptr[i] ? 0 : zeros + 1;
        if (zeros == HOLE_BYTES)
            return err_set(err, ERR_CORRUPT,
                           "charsmap: it holds %d zeros from its byte %zu on: the download was not finished; fetch the "
                           "file again",
                           HOLE_BYTES, i + 1 - zeros);
    }
    return ERR_OK;
}

enum err_code charsmap_open(struct charsmap *m, struct span blob, struct arena *scratch, struct err *err)
{
    struct charsmap header = { .trie = blob };
    uint32_t trie_bytes;

    *m = (struct charsmap){ 0 };
    if (!blob.len)
        return ERR_OK;
    if (blob.len > CHARSMAP_MAX_BYTES)
        return err_set(err, ERR_TOO_LARGE, "charsmap: %zu bytes; at most %d are supported", blob.len,
                       CHARSMAP_MAX_BYTES);
    if (blob.len < UNIT_BYTES)
        return err_set(err, ERR_CORRUPT, "charsmap: it ends in its header");
    TRY(check_holes(blob, err));
    trie_bytes = unit_at(&header, 0);
    if (trie_bytes < UNIT_BYTES || trie_bytes % UNIT_BYTES || trie_bytes > blob.len - UNIT_BYTES)
        return err_set(err, ERR_CORRUPT, "charsmap: a trie of %u bytes in a map of %zu", trie_bytes, blob.len);
    m->trie = (struct span){ blob.ptr + UNIT_BYTES, trie_bytes };
    m->pool = (struct span){ m->trie.ptr + trie_bytes, blob.len - UNIT_BYTES - trie_bytes };
    if (!m->pool.len || m->pool.ptr[m->pool.len - 1] != '\0')
        return err_set(err, ERR_CORRUPT, "charsmap: the last string does not end in a NUL");
    return check_trie(m, scratch, err);
}

/* Finds the replacement of the shortest prefix of key that has one. A NUL ends the key, as in the official library. */
static bool find_prefix(const struct charsmap *m, struct span key, struct span *ret)
{
    uint32_t base = children_of(m, 0);

    for (size_t i = 0; i < key.len && key.ptr[i]; i++) {
        uint32_t c = (unsigned char)key.ptr[i], at = base ^ c;

        if (unit_label(unit_at(m, at)) != c)
            return false;
        base = children_of(m, at);
        if (unit_has_leaf(unit_at(m, at))) {
            *ret = string_at(m, unit_at(m, base));
            return true;
        }
    }
    return false;
}

/* Used without a map: tab, line ends and the no-break space become a blank, other control characters are dropped. */
static bool find_plain(struct span key, struct span *ret)
{
    unsigned char c = (unsigned char)key.ptr[0];

    if (c == '\t' || c == '\n' || c == '\r' || (key.len >= 2 && memcmp(key.ptr, "\xC2\xA0", 2) == 0)) {
        *ret = SPAN(" ");
        return true;
    }
    if (c >= 0x20)
        return false;
    *ret = SPAN("");
    return true;
}

static bool find(const struct charsmap *m, struct span key, struct span *ret)
{
    return m->trie.len ? find_prefix(m, key, ret) : find_plain(key, ret);
}

/* Takes the next grapheme cluster off the front. */
static struct span take_cluster(struct span *text)
{
    const char *start = text->ptr;
    struct unicode_cluster c = unicode_cluster_begin(unicode_next(text));

    while (text->len) {
        struct span rest = *text;

        if (!unicode_cluster_takes(&c, unicode_next(&rest)))
            break;
        *text = rest;
    }
    return (struct span){ start, (size_t)(text->ptr - start) };
}

/* Appends piece unless buf is NULL. Returns the length after it in both cases. */
static size_t put(char *buf, size_t at, struct span piece)
{
    if (buf)
        memcpy(buf + at, piece.ptr, piece.len);
    return at + piece.len;
}

static size_t replace_all(const struct charsmap *m, struct span text, char *buf)
{
    size_t n = 0;

    while (text.len) {
        struct span cluster = take_cluster(&text), to;

        if (cluster.len < WHOLE_CLUSTER_BYTES && find(m, cluster, &to)) {
            n = put(buf, n, to);
            continue;
        }
        while (cluster.len) {
            const char *start = cluster.ptr;

            (void)unicode_next(&cluster);
            to = (struct span){ start, (size_t)(cluster.ptr - start) };
            (void)find(m, to, &to);
            n = put(buf, n, to);
        }
    }
    return n;
}

enum err_code charsmap_apply(const struct charsmap *m, struct span text, struct arena *a, struct span *ret,
                             struct err *err)
{
    size_t n = replace_all(m, text, NULL);
    char *buf = NULL;

    TRY(arena_alloc(a, n + 1, 1, &buf, err));
    *ret = (struct span){ buf, replace_all(m, text, buf) };
    return ERR_OK;
}
