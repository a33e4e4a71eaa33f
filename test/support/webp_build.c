#include "test/support/webp_build.h"

#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>
#include <webp/encode.h>

#include "test/support/check.h"

enum { HAS_ICC = 0x20, HAS_ALPHA = 0x10, HAS_EXIF = 0x08, HAS_ANIMATION = 0x02, FRONT = 12 };

struct span webp_build(struct arena *a, const uint8_t *pixels, int width, int height, int channels, bool lossless)
{
    struct err err = { 0 };
    uint8_t *bytes = NULL;
    char *copy = NULL;
    size_t n;

    if (channels == 4)
        n = lossless ? WebPEncodeLosslessRGBA(pixels, width, height, 4 * width, &bytes)
                     : WebPEncodeRGBA(pixels, width, height, 4 * width, 90, &bytes);
    else
        n = lossless ? WebPEncodeLosslessRGB(pixels, width, height, 3 * width, &bytes)
                     : WebPEncodeRGB(pixels, width, height, 3 * width, 90, &bytes);
    CHECK(n > 0);
    CHECK_OK(span_dup(a, (struct span){ (const char *)bytes, n }, &copy, &err), err);
    WebPFree(bytes);
    return (struct span){ copy, n };
}

struct file {
    char *bytes;
    size_t len;
};

static void put(struct file *f, const void *bytes, size_t n)
{
    memcpy(f->bytes + f->len, bytes, n);
    f->len += n;
}

static void put_number(struct file *f, size_t x, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++, x >>= 8)
        put(f, (const char[]){ (char)x }, 1);
}

static void put_chunk(struct file *f, const char *name, struct span data)
{
    put(f, name, 4);
    put_number(f, data.len, 4);
    put(f, data.ptr, data.len);
    if (data.len % 2)
        put_number(f, 0, 1);
}

static void begin(struct arena *a, struct file *f, struct span pixels, size_t more, unsigned flags)
{
    struct err err = { 0 };
    WebPBitstreamFeatures features;

    *f = (struct file){ 0 };
    CHECK(WebPGetFeatures((const uint8_t *)pixels.ptr, pixels.len, &features) == VP8_STATUS_OK);
    CHECK_OK(arena_alloc(a, pixels.len + more + 200, 1, &f->bytes, &err), err);
    put(f, "RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0", 20);
    put_number(f, flags | (features.has_alpha ? HAS_ALPHA : 0), 4);
    put_number(f, (size_t)features.width - 1, 3);
    put_number(f, (size_t)features.height - 1, 3);
}

static struct span end(struct file *f)
{
    struct file size = { f->bytes + 4, 0 };

    put_number(&size, f->len - 8, 4);
    return (struct span){ f->bytes, f->len };
}

/* The chunks of a file: of one without alpha, or lossless, there is one. A file with lossy alpha has a VP8X chunk. */
static struct span chunks_of(struct span file)
{
    size_t at = memcmp(file.ptr + FRONT, "VP8X", 4) == 0 ? FRONT + 18 : FRONT;

    return (struct span){ file.ptr + at, file.len - at };
}

struct span webp_extended(struct arena *a, struct span file, struct span icc, struct span exif)
{
    struct span pixels = chunks_of(file);
    struct file f;

    begin(a, &f, file, icc.len + exif.len, (icc.len ? HAS_ICC : 0) | (exif.len ? HAS_EXIF : 0));
    if (icc.len)
        put_chunk(&f, "ICCP", icc);
    put(&f, pixels.ptr, pixels.len);
    if (exif.len)
        put_chunk(&f, "EXIF", exif);
    return end(&f);
}

struct span webp_animated(struct arena *a, struct span file)
{
    struct span pixels = chunks_of(file);
    struct file f;

    begin(a, &f, file, 0, HAS_ANIMATION);
    put_chunk(&f, "ANIM", SPAN("\0\0\0\0\0\0"));
    put(&f, "ANMF", 4);
    put_number(&f, pixels.len + 16, 4);
    put_number(&f, 0, 6);
    put(&f, f.bytes + 24, 6); /* the size, as in VP8X */
    put_number(&f, 100, 3);
    put_number(&f, 0, 1);
    put(&f, pixels.ptr, pixels.len);
    return end(&f);
}
