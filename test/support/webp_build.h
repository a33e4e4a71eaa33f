/*
 * webp_build - builds WebP files for tests: pixels with libwebp, and the chunks around them.
 */
#ifndef TEST_SUPPORT_WEBP_BUILD_H
#define TEST_SUPPORT_WEBP_BUILD_H

#include "models/image/image.h"

/* A file of one chunk, of these pixels: [height, width, 3], or 4 with alpha. */
struct span webp_build(struct arena *a, const uint8_t *pixels, int width, int height, int channels, bool lossless);

/* The extended form of a file of one chunk: VP8X, ICCP unless `icc` is empty, the pixels, EXIF unless `exif` is empty.
 */
struct span webp_extended(struct arena *a, struct span file, struct span icc, struct span exif);

/* An animation of one frame with the pixels of a file of one chunk. */
struct span webp_animated(struct arena *a, struct span file);

#endif
