#include "kernels/base/base64.h"

#include <assert.h>
#include <stdint.h>

static const char common[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

enum { SYMBOL_PAD = 64, SYMBOL_SPACE, SYMBOL_WRONG };

static unsigned symbol_of(unsigned char c, unsigned flags)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26u;
    if (c >= '0' && c <= '9')
        return c - '0' + 52u;
    if (((flags & BASE64_STANDARD) && c == '+') || ((flags & BASE64_URL) && c == '-'))
        return 62;
    if (((flags & BASE64_STANDARD) && c == '/') || ((flags & BASE64_URL) && c == '_'))
        return 63;
    if (c == '=')
        return SYMBOL_PAD;
    if ((flags & BASE64_WHITE_SPACE) && (c == ' ' || c == '\t' || c == '\r' || c == '\n'))
        return SYMBOL_SPACE;
    return SYMBOL_WRONG;
}

bool base64_is_url(char c)
{
    return symbol_of((unsigned char)c, BASE64_URL) < SYMBOL_PAD;
}

static bool padding_fits(size_t n_symbols, size_t n_pads, unsigned flags)
{
    size_t whole = (4 - n_symbols % 4) % 4;

    if (flags & BASE64_MAY_PAD)
        return n_pads == 0 || n_pads == whole;
    return n_pads == (flags & BASE64_NO_PADDING ? 0 : whole);
}

enum err_code base64_decode(struct span text, unsigned flags, void *buf, size_t size, size_t *ret_len, struct err *err)
{
    unsigned char *out = buf;
    size_t n = 0, n_symbols = 0, n_pads = 0;
    uint32_t bits = 0; /* the symbols so far; the lowest bits are not written yet */

    assert(flags & (BASE64_STANDARD | BASE64_URL));
    for (size_t i = 0; i < text.len; i++) {
        unsigned v = symbol_of((unsigned char)text.ptr[i], flags);

        if (v == SYMBOL_SPACE)
            continue;
        if (v == SYMBOL_WRONG || (v != SYMBOL_PAD && n_pads))
            return err_set(err, ERR_INVALID, "base64: wrong character at offset %zu", i);
        if (v == SYMBOL_PAD) {
            n_pads++;
            continue;
        }
        bits = bits << 6 | v;
        if (n_symbols++ % 4 == 0)
            continue;
        if (n == size)
            return err_set(err, ERR_TOO_LARGE, "base64: more than %zu bytes", size);
        out[n++] = (unsigned char)(bits >> (6 - 2 * ((n_symbols - 1) % 4)));
    }
    if (n_symbols % 4 == 1 || !padding_fits(n_symbols, n_pads, flags))
        return err_set(err, ERR_INVALID, "base64: %zu characters with %zu of padding are not a whole number of bytes",
                       n_symbols, n_pads);
    if ((n_symbols % 4 == 2 && (bits & 15)) || (n_symbols % 4 == 3 && (bits & 3)))
        return err_set(err, ERR_INVALID, "base64: trailing bits are not zero");
    *ret_len = n;
    return ERR_OK;
}

static char character_of(unsigned v, unsigned flags)
{
    if (v < 62)
        return common[v];
    return flags & BASE64_URL ? "-_"[v - 62] : "+/"[v - 62];
}

enum err_code base64_encode(struct span bytes, unsigned flags, char *buf, size_t size, size_t *ret_len, struct err *err)
{
    const unsigned char *in = (const unsigned char *)bytes.ptr;
    size_t whole = bytes.len / 3 * 4, rest = bytes.len % 3, n = 0;
    size_t need = whole + (rest == 0 ? 0 : flags & BASE64_NO_PADDING ? rest + 1 : 4);

    assert(!!(flags & BASE64_STANDARD) != !!(flags & BASE64_URL));
    if (bytes.len > SIZE_MAX / 2 || need >= size)
        return err_set(err, ERR_TOO_LARGE, "base64: text of %zu characters needs more than %zu bytes", need, size);
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t have = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t bits = (uint32_t)in[i] << 16;

        bits |= have > 1 ? (uint32_t)in[i + 1] << 8 : 0;
        bits |= have > 2 ? in[i + 2] : 0;
        for (size_t k = 0; k < 4 && n < need; k++)
            buf[n++] = k <= have ? character_of(bits >> (18 - 6 * k) & 63, flags) : '=';
    }
    buf[n] = '\0';
    if (ret_len)
        *ret_len = n;
    return ERR_OK;
}
