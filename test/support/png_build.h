/*
 * png_build - builds PNG files of every kind, valid and invalid, for tests: chunk by chunk, with correct checksums.
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

/* Begins a file of at most 1 MiB with the signature. */
void png_begin(struct arena *a, struct png_build *b);

void png_chunk(struct png_build *b, const char *type, struct span data);
void png_ihdr(struct png_build *b, uint32_t width, uint32_t height, int bits, int colour_type, int interlaced);

/* IDAT: deflates the rows, each of which begins with its filter byte. */
void png_idat(struct png_build *b, struct span rows);

/* iCCP: deflates the profile. */
void png_iccp(struct png_build *b, struct span profile);

/* Ends the file with IEND and returns it. */
struct span png_end(struct png_build *b);

#endif
