#include "worker/push/printable.h"

#include <stdint.h>

#include "kernels/base/json_scan.h"
#include "worker/base/log.h"

enum { ESCAPE_BYTES = 4 /* of \xNN */ };

static const char hex[] = "0123456789abcdef";

/* The code point of a valid sequence of n bytes. */
static uint32_t code_point(const unsigned char *p, size_t n)
{
    static const unsigned char lead[] = { 0, 0x7F, 0x1F, 0x0F, 0x07 };
    uint32_t c = p[0] & lead[n];

    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3F);
    return c;
}

static bool is_printable(uint32_t c)
{
    return c >= 0x20 && c != 0x7F && (c & 0xFFFE) != 0xFFFE && !log_is_invisible(c);
}

/* The length of the printable character at the start of `text`; 0: its first byte needs an escape. */
static size_t printable_length(struct span text)
{
    size_t n = json_utf8_length(text);

    return n && *text.ptr != '\\' && is_printable(code_point((const unsigned char *)text.ptr, n)) ? n : 0;
}

static size_t escape_byte(unsigned char c, char *out)
{
    out[0] = '\\';
    if (c == '\\') {
        out[1] = '\\';
        return 2;
    }
    out[1] = 'x';
    out[2] = hex[c >> 4];
    out[3] = hex[c & 15];
    return ESCAPE_BYTES;
}

enum err_code printable_escape(struct span bytes, struct arena *a, char **ret, struct err *err)
{
    size_t n = 0;
    char *out;

    if (bytes.len > (SIZE_MAX - 1) / ESCAPE_BYTES)
        return err_set(err, ERR_NOMEM, "printable: %zu bytes", bytes.len);
    TRY(arena_alloc(a, ESCAPE_BYTES * bytes.len + 1, 1, &out, err));
    for (size_t at = 0; at < bytes.len;) {
        struct span rest = { bytes.ptr + at, bytes.len - at };
        size_t plain = printable_length(rest);

        if (plain) {
            memcpy(out + n, rest.ptr, plain);
            n += plain;
            at += plain;
            continue;
        }
        n += escape_byte((unsigned char)*rest.ptr, out + n);
        at++;
    }
    out[n] = 0;
    *ret = out;
    return ERR_OK;
}

enum err_code printable_text(const char *text, struct arena *a, char **ret, struct err *err)
{
    size_t backslashes = 0;

    TRY(printable_escape(span_of(text), a, ret, err));
    for (const char *p = text; *p; p++)
        backslashes += *p == '\\';
    if (strlen(*ret) == strlen(text) + backslashes)
        return span_dup(a, span_of(text), ret, err);
    return ERR_OK;
}

static int digit(char c)
{
    const char *found = c ? strchr(hex, c) : NULL;

    return found ? (int)(found - hex) : -1;
}

enum err_code printable_unescape(struct span text, struct arena *a, struct span *ret, struct err *err)
{
    size_t n = 0;
    char *out;

    TRY(arena_alloc(a, text.len + 1, 1, &out, err));
    for (size_t at = 0; at < text.len;) {
        const char *p = text.ptr + at;
        size_t left = text.len - at;

        if (*p != '\\') {
            out[n++] = *p;
            at++;
        } else if (left >= 2 && p[1] == '\\') {
            out[n++] = '\\';
            at += 2;
        } else if (left >= ESCAPE_BYTES && p[1] == 'x' && digit(p[2]) >= 0 && digit(p[3]) >= 0) {
            out[n++] = (char)(digit(p[2]) << 4 | digit(p[3]));
            at += ESCAPE_BYTES;
        } else {
            return err_set(err, ERR_INVALID, "printable: a backslash at byte %zu that begins neither \\\\ nor \\xNN",
                           at);
        }
    }
    *ret = (struct span){ out, n };
    return ERR_OK;
}

size_t printable_cut(struct span text, size_t max_bytes)
{
    size_t n = text.len < max_bytes ? text.len : max_bytes;

    while (n > 0 && n < text.len && ((unsigned char)text.ptr[n] & 0xC0) == 0x80)
        n--;
    return n;
}
