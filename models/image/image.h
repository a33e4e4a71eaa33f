/*
 * image - 8-bit interleaved pixels, top row first, without padding between rows; and the limits on pictures.
 */
#ifndef MODELS_IMAGE_IMAGE_H
#define MODELS_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/err.h"
#include "kernels/base/span.h"
#include "models/image/box.h"

enum {
    IMAGE_MAX_SIDE = 16384,               /* pixels */
    IMAGE_MAX_PIXELS = 200 * 1000 * 1000, /* of any picture in memory; files are refused earlier (codec/decode.h) */
    IMAGE_MAX_FILE_BYTES = 64 << 20       /* of 108 megapixels, phones write 15 to 50 MB */
};

struct image {
    int width, height; /* pixels */
    int channels;      /* 1 grey, 3 RGB */
    uint8_t *pixels;   /* [height, width, channels]; borrowed from an arena unless a header says otherwise */
};

/* The background that is seen through transparent pixels. */
enum image_alpha {
    IMAGE_ALPHA_DROP,     /* none: the colours as stored, opaque, as a plain conversion to RGB gives them */
    IMAGE_ALPHA_ON_BLACK, /* for masks: what is transparent is not repainted */
    IMAGE_ALPHA_ON_WHITE, /* for photos: what a viewer with a white page shows */
    IMAGE_ALPHA_RAW       /* as DROP, for what a mask means: alpha of a transparent colour or palette is in the notes,
                             too, and so are places in a palette; of 16 bits in which no colour is over 255, the low
                             bytes are kept, and with larger ones only 0 becomes 0 */
};

/* What a file contains besides the pixels. Spans are from the arena. */
struct image_notes {
    int rows_missing; /* at the bottom, as stored: the file ends before them or is damaged there; their pixels are some
                         filling. At most image_max_rows_missing() of them: with more, the file is ERR_CORRUPT */
    int orientation;  /* Exif tag 0x0112, 1 to 8; 1 when absent or damaged */
    struct span icc;  /* colour profile (icc.h); empty when absent, damaged or over ICC_MAX_BYTES */
    bool indexed;     /* a PNG with a palette or of single bits: Pillow's modes P and 1 */
    uint8_t *alpha;   /* [height, width], the alpha channel of a PNG or WebP, from the arena; NULL: none */
    uint8_t *index;   /* [height, width], places in the palette of a PNG, with IMAGE_ALPHA_RAW; NULL: no palette */

    struct span exif;  /* TIFF data, from its byte order on, at most EXIF_MAX_BYTES (exif.h); empty: absent */
    bool has_gain_map; /* a second picture in the file says how much brighter an HDR screen shows the first */
};

/* A picture of the given size, zeroed, from the arena. ERR_TOO_LARGE over the limits, ERR_INVALID for sizes < 1. */
MUST_CHECK enum err_code image_new(struct arena *a, int width, int height, int channels, struct image *ret,
                                   struct err *err);

/* Checks a size without taking memory. Errors as image_new(). */
MUST_CHECK enum err_code image_check_size(int64_t width, int64_t height, struct err *err);

/* The same, and not more than max_pixels, which is the operator's setting; 0: none. */
MUST_CHECK enum err_code image_check_pixels(int64_t width, int64_t height, int64_t max_pixels, struct err *err);

/* How many rows of a file may be missing at its bottom, as when the end of an upload is lost: 16 or 1 %, but no more
 * than a quarter of a small picture. */
int image_max_rows_missing(int height);

/* Grey becomes three equal channels. For an RGB picture, ret shares the pixels of src. */
MUST_CHECK enum err_code image_to_rgb(struct arena *a, const struct image *src, struct image *ret, struct err *err);

static inline size_t image_bytes(const struct image *im)
{
    return (size_t)im->width * (size_t)im->height * (size_t)im->channels;
}

#endif
