#include "test/support/png_build.h"

#include <string.h>
#include <zlib.h>

#include "test/support/check.h"

enum { ROOM = 1 << 20 };

static void put(struct png_build *b, const void *bytes, size_t n)
{
    CHECK(n <= b->room - b->len);
    memcpy(b->bytes + b->len, bytes, n);
    b->len += n;
}

static void put_be32(struct png_build *b, uint32_t x)
{
    const unsigned char bytes[4] = { (unsigned char)(x >> 24), (unsigned char)(x >> 16), (unsigned char)(x >> 8),
                                     (unsigned char)x };

    put(b, bytes, sizeof bytes);
}

void png_begin(struct arena *a, struct png_build *b)
{
    struct err err = { 0 };

    *b = (struct png_build){ .room = ROOM };
    CHECK_OK(arena_alloc(a, ROOM, 1, &b->bytes, &err), err);
    put(b, "\x89PNG\r\n\x1a\n", 8);
}

void png_chunk(struct png_build *b, const char *type, struct span data)
{
    size_t start;

    put_be32(b, (uint32_t)data.len);
    start = b->len;
    put(b, type, 4);
    put(b, data.ptr, data.len);
    put_be32(b, (uint32_t)crc32(0, (const Bytef *)b->bytes + start, (uInt)(b->len - start)));
}

void png_ihdr(struct png_build *b, uint32_t width, uint32_t height, int bits, int colour_type, int interlaced)
{
    struct png_build data = { .bytes = (char[13]){ 0 }, .room = 13 };
    const char tail[5] = { (char)bits, (char)colour_type, 0, 0, (char)interlaced };

    put_be32(&data, width);
    put_be32(&data, height);
    put(&data, tail, sizeof tail);
    png_chunk(b, "IHDR", (struct span){ data.bytes, data.len });
}

/* A chunk of `front` followed by `plain` deflated. */
static void deflated_chunk(struct png_build *b, const char *type, struct span front, struct span plain)
{
    static char scratch[ROOM];
    uLongf n = sizeof scratch - front.len;

    memcpy(scratch, front.ptr, front.len);
    CHECK(compress2((Bytef *)scratch + front.len, &n, (const Bytef *)plain.ptr, plain.len, 9) == Z_OK);
    png_chunk(b, type, (struct span){ scratch, front.len + n });
}

void png_idat(struct png_build *b, struct span rows)
{
    deflated_chunk(b, "IDAT", SPAN(""), rows);
}

void png_iccp(struct png_build *b, struct span profile)
{
    deflated_chunk(b, "iCCP", SPAN("icc\0\0"), profile);
}

struct span png_end(struct png_build *b)
{
    png_chunk(b, "IEND", SPAN(""));
    return (struct span){ b->bytes, b->len };
}
