/*
 * unicode.c - models/text/unicode.h on a machine without libutf8proc: only ASCII, which is enough for the prompts of
 * the golden cases. Other characters, which vocabularies contain, are passed on unchanged and belong to no class; a
 * text with one is refused where it would have to be normalised.
 */
#include "models/text/unicode.h"

/* The length in bytes of the character that starts with this byte; 0: no character does. */
static size_t length_of(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

int32_t unicode_next(struct span *text)
{
    size_t n = text->len ? length_of((unsigned char)*text->ptr) : 0;
    int32_t cp;

    if (!n || n > text->len)
        return -1;
    cp = (unsigned char)*text->ptr;
    cp = n == 1 ? cp : cp & (0x7f >> n);
    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)text->ptr[i] & 0xc0) != 0x80)
            return -1;
        cp = cp << 6 | (text->ptr[i] & 0x3f);
    }
    text->ptr += n;
    text->len -= n;
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
    size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;

    for (size_t i = n; i-- > 1; cp >>= 6)
        buf[i] = (char)(0x80 | (cp & 0x3f));
    buf[0] = (char)(n == 1 ? cp : (0xf00 >> n & 0xff) | cp);
    return n;
}

bool unicode_is_white_space(int32_t cp)
{
    return cp == ' ' || (cp >= '\t' && cp <= '\r');
}

bool unicode_is_letter(int32_t cp)
{
    return (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z');
}

bool unicode_is_number(int32_t cp)
{
    return cp >= '0' && cp <= '9';
}

int unicode_lower(int32_t cp, int32_t ret[2])
{
    ret[0] = cp >= 'A' && cp <= 'Z' ? cp + 'a' - 'A' : cp;
    return 1;
}

struct unicode_cluster unicode_cluster_begin(int32_t cp)
{
    return (struct unicode_cluster){ .last = cp };
}

bool unicode_cluster_takes(struct unicode_cluster *c, int32_t cp)
{
    bool line_end = c->last == '\r' && cp == '\n';

    c->last = cp;
    return line_end;
}

enum err_code unicode_nfc(struct span text, struct arena *a, int32_t **ret, size_t *ret_n, struct err *err)
{
    enum err_code rc = arena_alloc(a, text.len, sizeof **ret, ret, err);

    if (rc)
        return rc;
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.ptr[i] > 0x7f)
            return err_set(err, ERR_INVALID, "unicode: only ASCII without libutf8proc");
        (*ret)[i] = text.ptr[i];
    }
    *ret_n = text.len;
    return ERR_OK;
}
