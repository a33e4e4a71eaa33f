/*
 * bench_picture - how long an edit's pictures take on the host: reading the files, preparing the model's input,
 * blending and writing: everything but the networks.
 *
 * Photo and mask are made up: the photo is a JPEG of textures with the grain of a camera, quality 92, 4:2:0, with a
 * colour profile; the mask is a PNG of an ellipse over a tenth of the area. The photo itself takes the place of what
 * the model would paint. Errors: ERR_TOO_LARGE over the limits of image.h, ERR_NOMEM.
 */
#ifndef MODELS_BENCH_BENCH_PICTURE_H
#define MODELS_BENCH_BENCH_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "models/picture/crop.h"

struct bench_picture_options {
    int width, height; /* pixels, as stored */
    bool turned;       /* the photo is stored on its side, as phones do, and the mask upright */
    int repeats;
    struct picture_settings settings;
};

/* Lines are in the order of an edit. Lines of depth 0 add up to the whole. Lines of depth 1 are parts of the line of
 * depth 0 before them, each measured alone: they add up to more than that line where parts run side by side. */
struct bench_picture_line {
    const char *name; /* a constant */
    int depth;
    double seconds; /* the best of the repeats */
};

enum { BENCH_PICTURE_LINES = 32 };

struct bench_picture {
    struct bench_picture_line lines[BENCH_PICTURE_LINES];
    int n_lines;
    double whole; /* seconds of the fastest whole edit */
    struct crop_plan plan;
    size_t original_bytes, mask_bytes, edited_bytes, preview_bytes; /* sizes of the files */
    size_t arena_bytes;                                             /* the most that an edit took */
    uint32_t checksum; /* CRC-32C of both results, which faster code must not change */
};

MUST_CHECK enum err_code bench_picture(const struct bench_picture_options *o, struct bench_picture *ret,
                                       struct err *err);

#endif
