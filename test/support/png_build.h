/*
 * png_build - PNG files of every kind, right and wrong, for tests: chunk by chunk, with checksums that hold.
 */
#ifndef TEST_SUPPORT_PNG_BUILD_H
#define TEST_SUPPORT_PNG_BUILD_H

#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

struct png_build {
    char *bytes;
    size_t len, room;
};

/* The signature; room for a megabyte. */
void png_begin(struct arena *a, struct png_build *b);

void png_chunk(struct png_build *b, const char *type, struct span data);
void png_ihdr(struct png_build *b, uint32_t width, uint32_t height, int bits, int colour_type, int interlaced);

/* IDAT: rows as PNG has them (a filter byte in front of each), deflated. */
void png_idat(struct png_build *b, struct span rows);

/* iCCP: n bytes of profile, deflated. */
void png_iccp(struct png_build *b, struct span profile);

/* IEND, and the file. */
struct span png_end(struct png_build *b);

#endif
