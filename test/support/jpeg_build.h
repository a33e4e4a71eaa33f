/*
 * jpeg_build - builds JPEG files of every kind for tests, whole ones with libjpeg, and others by changing their bytes.
 */
#ifndef TEST_SUPPORT_JPEG_BUILD_H
#define TEST_SUPPORT_JPEG_BUILD_H

#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

struct jpeg_kind {
    int width, height; /* pixels */
    int components;    /* 1 grey, 3 YCbCr, 4 CMYK; 0: 3 */
    int across, down;  /* sampling factors of the first component, the others have 1; 0: 1 */
    int restart_rows;  /* rows of blocks between restart markers; 0: none */
    bool progressive;
    bool scan_a_component; /* sequential, in one scan for each component */
    bool arithmetic;
    bool ycck; /* of 4 components, with Adobe's marker, inverted */
    bool rgb;  /* of 3 components, not converted to YCbCr */
};

/* A picture with detail in every block, so that every part of the file stands for a part of the picture. */
struct span jpeg_build(struct arena *a, const struct jpeg_kind *kind);

/* A copy in which `remove` bytes at `at` are replaced by others. */
struct span bytes_spliced(struct arena *a, struct span file, size_t at, size_t remove, struct span insert);

/* Where the n-th of these bytes begin, n from 0; fails the test when there are not so many. */
size_t bytes_find(struct span file, struct span what, int n);

/* Behind SOI: an APP1 segment with one entry of IFD 0, the orientation. Types: 1 BYTE, 3 SHORT, 4 LONG. */
struct span exif_of_orientation(struct arena *a, int orientation, int type, bool big_endian); /* TIFF alone */
struct span jpeg_with_exif(struct arena *a, struct span file, struct span tiff);

#endif
