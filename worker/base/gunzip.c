#include "worker/base/gunzip.h"

#include <stdint.h>

#include <zlib.h>

enum {
    GZIP_ONLY = 16, /* added to the bits of the window: no other wrapping is accepted */
    PIECE_BYTES = 1 << 16
};

bool gunzip_is_packed(struct span bytes)
{
    return span_starts(bytes, "\x1f\x8b");
}

/* Goes on with the next member. false: there is none. */
static bool next_member(z_stream *z)
{
    return gunzip_is_packed((struct span){ (const char *)z->next_in, z->avail_in }) && inflateReset(z) == Z_OK;
}

/* Unpacks into `out`, or only counts where that is NULL. */
static enum err_code unpack(z_stream *z, char *out, size_t max_bytes, size_t *ret_bytes, struct err *err)
{
    unsigned char piece[PIECE_BYTES];
    size_t n = 0;
    int rc;

    for (;;) {
        size_t room = out ? max_bytes - n : sizeof piece;

        z->next_out = out ? (Bytef *)out + n : piece;
        z->avail_out = (uInt)(room < sizeof piece ? room : sizeof piece);
        room = z->avail_out;
        rc = inflate(z, Z_NO_FLUSH);
        n += room - z->avail_out;
        if (n > max_bytes)
            return err_set(err, ERR_TOO_LARGE, "gzip: more than %zu bytes when unpacked", max_bytes);
        if (rc == Z_MEM_ERROR)
            return err_set(err, ERR_NOMEM, "gzip: no memory");
        if (rc == Z_STREAM_END && !next_member(z))
            break;
        if (rc != Z_OK && rc != Z_STREAM_END)
            return err_set(err, ERR_CORRUPT, "gzip: %s", z->msg ? z->msg : "the data is cut off");
    }
    *ret_bytes = n;
    return ERR_OK;
}

/* The same, from the start of what is packed. */
static enum err_code pass(struct span packed, char *out, size_t max_bytes, size_t *ret_bytes, struct err *err)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)packed.ptr, .avail_in = (uInt)packed.len };
    enum err_code rc;

    if (inflateInit2(&z, MAX_WBITS + GZIP_ONLY) != Z_OK)
        return err_set(err, ERR_NOMEM, "gzip: no memory");
    rc = unpack(&z, out, max_bytes, ret_bytes, err);
    (void)inflateEnd(&z);
    return rc;
}

/* Twice: the size that a gzip file states may be wrong, and what is counted first needs no memory. */
enum err_code gunzip(struct span packed, size_t max_bytes, struct arena *a, struct span *ret, struct err *err)
{
    size_t n = 0, again = 0;
    char *out = NULL;

    if (packed.len > UINT32_MAX)
        return err_set(err, ERR_TOO_LARGE, "gzip: %zu bytes", packed.len);
    TRY(pass(packed, NULL, max_bytes, &n, err));
    TRY(arena_alloc(a, n + 1, 1, &out, err));
    TRY(pass(packed, out, n + 1, &again, err));
    *ret = (struct span){ out, n };
    return again == n ? ERR_OK : err_set(err, ERR_INTERNAL, "gzip: two sizes");
}
