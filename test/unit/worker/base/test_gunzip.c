#include "worker/base/gunzip.h"

#include <stdint.h>
#include <stdlib.h>

#include <zlib.h>

#include "test/support/check.h"

static struct arena a;
static struct err err;
static struct span got;

static void start(void)
{
    arena_done(&a);
    err = (struct err){ 0 };
    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
}

/* Packs bytes behind what is in `to` already; bits: 16 + 15 is gzip, 15 zlib. Returns the new length. */
static size_t pack(unsigned char *to, size_t size, size_t at, struct span bytes, int bits)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)bytes.ptr, .avail_in = (uInt)bytes.len };

    CHECK_INT(deflateInit2(&z, 9, Z_DEFLATED, bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_out = to + at;
    z.avail_out = (uInt)(size - at);
    CHECK_INT(deflate(&z, Z_FINISH), Z_STREAM_END);
    at = size - z.avail_out;
    (void)deflateEnd(&z);
    return at;
}

static enum err_code unpack(const unsigned char *bytes, size_t n, size_t max)
{
    err = (struct err){ 0 };
    return gunzip((struct span){ (const char *)bytes, n }, max, &a, &got, &err);
}

TEST(gunzip__unpacks_all_members)
{
    unsigned char b[500];
    size_t n;

    start();
    n = pack(b, sizeof b, 0, SPAN("hello, "), 31);
    CHECK_OK(unpack(b, n, 100), err);
    CHECK(span_is(got, "hello, "));
    n = pack(b, sizeof b, n, SPAN(""), 31);
    n = pack(b, sizeof b, n, SPAN("world"), 31);
    CHECK_OK(unpack(b, n, 12), err);
    CHECK(span_is(got, "hello, world") && got.ptr[got.len] == 0);
    CHECK_INT(unpack(b, n, 11), ERR_TOO_LARGE);
    memset(b + n, 0, 100);
    CHECK_OK(unpack(b, n + 100, 12), err); /* padding, as on tapes */
    memset(b + n, 'x', 100);
    CHECK_OK(unpack(b, n + 100, 12), err);
    CHECK(span_is(got, "hello, world"));
    memcpy(b + n, "\x1f\x8b?", 3);
    CHECK_INT(unpack(b, n + 3, 12), ERR_CORRUPT); /* a member that is damaged is not taken for garbage */
    n = pack(b, sizeof b, 0, SPAN(""), 31);
    CHECK_OK(unpack(b, n, 0), err);
    CHECK_INT(got.len, 0);
    arena_done(&a);
}

TEST(gunzip__refuses_what_is_damaged_or_no_gzip)
{
    unsigned char b[500], bad[500];
    size_t n;

    start();
    n = pack(b, sizeof b, 0, SPAN("some bytes that are packed, packed, packed"), 31);
    for (size_t k = 0; k < n; k++)
        CHECK_INT(unpack(b, k, 100), ERR_CORRUPT);
    for (size_t k = 10; k < n; k++) { /* behind the head, every bit counts */
        memcpy(bad, b, n);
        bad[k] ^= 1;
        CHECK(unpack(bad, n, 100) == ERR_CORRUPT || err.code == ERR_TOO_LARGE);
    }
    n = pack(b, sizeof b, 0, SPAN("zlib is another wrapping"), 15);
    CHECK_INT(unpack(b, n, 100), ERR_CORRUPT);
    CHECK_INT(unpack((const unsigned char *)"\xff\xd8\xff", 3, 100), ERR_CORRUPT);
    arena_done(&a);
}

TEST(gunzip__stops_a_bomb_at_its_limit)
{
    const size_t size = 64 << 20;
    char *zeros = calloc(size, 1);
    unsigned char *b = malloc(1 << 20);
    size_t n, used;

    start();
    CHECK(zeros && b);
    n = pack(b, 1 << 20, 0, (struct span){ zeros, size }, 31);
    CHECK(n < 100000);
    used = a.used;
    CHECK_INT(unpack(b, n, 1 << 20), ERR_TOO_LARGE);
    CHECK(strstr(err.msg, "1048576 bytes"));
    CHECK_INT(a.used, used); /* what is too large takes no memory */
    free(zeros);
    free(b);
    arena_done(&a);
}

TEST(gunzip__survives_any_bytes)
{
    unsigned char b[2000], bad[2000];
    char text[3000];
    size_t n;

    start();
    srandom(7);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)("abcd"[random() % 4] + random() % 3);
    n = pack(b, sizeof b, 0, (struct span){ text, sizeof text }, 31);
    for (int i = 0; i < 3000; i++) {
        struct arena_mark mark = arena_mark(&a);

        memcpy(bad, b, n);
        for (int k = 0; k < 1 + i % 4; k++)
            bad[(size_t)random() % n] = (unsigned char)random();
        if (unpack(bad, n - (size_t)(random() % 9), sizeof text) == ERR_OK)
            CHECK(got.len <= sizeof text);
        arena_rewind(&a, mark);
    }
    arena_done(&a);
}
