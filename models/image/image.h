/*
 * image - 8-bit interleaved pixels, top row first, no padding between rows; and the limits on pictures.
 */
#ifndef MODELS_IMAGE_IMAGE_H
#define MODELS_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/err.h"
#include "kernels/base/span.h"

enum {
    IMAGE_MAX_SIDE = 16384,              /* pixels */
    IMAGE_MAX_PIXELS = 50 * 1000 * 1000, /* 50 megapixels: the largest phone photo in the wild, and 150 MB as RGB */
    IMAGE_MAX_FILE_BYTES = 40 << 20
};

struct image {
    int width, height; /* pixels */
    int channels;      /* 1 grey, 3 RGB */
    uint8_t *pixels;   /* [height, width, channels]; borrowed from an arena unless a header says otherwise */
};

/* Part of a picture: columns left to right - 1 of rows top to bottom - 1. */
struct image_box {
    int left, top, right, bottom;
};

/* What stands behind pixels that let something through. */
enum image_alpha {
    IMAGE_ALPHA_DROP,     /* the colours as stored, opaque: what a bare RGB conversion gives */
    IMAGE_ALPHA_ON_BLACK, /* masks: what is not there is not to be repainted */
    IMAGE_ALPHA_ON_WHITE  /* photos: what a viewer with a white page shows */
};

/* What a file says about its picture besides the pixels; spans are from the arena. */
struct image_notes {
    int orientation; /* Exif tag 0x0112, 1 to 8; 1 when absent or damaged */
    struct span icc; /* colour profile (icc.h); empty when absent, damaged or over ICC_MAX_BYTES */
    bool indexed;    /* a PNG of palette entries or single bits: Pillow's modes P and 1 */
    uint8_t *alpha;  /* [height, width] of a PNG with an alpha channel, from the arena; NULL without one */
};

/* A picture of the given size, zeroed, from the arena. ERR_TOO_LARGE over the limits, ERR_INVALID for sizes < 1. */
MUST_CHECK enum err_code image_new(struct arena *a, int width, int height, int channels, struct image *ret,
                                   struct err *err);

/* The limits alone, for readers that know a size before they take memory. */
MUST_CHECK enum err_code image_check_size(int64_t width, int64_t height, struct err *err);

/* Grey becomes three equal channels; an RGB picture is handed back as it is, sharing its pixels. */
MUST_CHECK enum err_code image_to_rgb(struct arena *a, const struct image *src, struct image *ret, struct err *err);

static inline size_t image_bytes(const struct image *im)
{
    return (size_t)im->width * (size_t)im->height * (size_t)im->channels;
}

#endif
