/*
 * bench_picture - how long a job's pictures take on the host: reading the files, preparing what the model gets,
 * blending and writing. All that surrounds the network but the network.
 *
 * Photo and mask are made up: textures with the grain of a camera, quality 92, 4:2:0, a colour profile; the mask a PNG
 * of an ellipse over a tenth of the area. What the model would paint is the photo itself. Errors: ERR_TOO_LARGE over
 * the limits of image.h, ERR_NOMEM.
 */
#ifndef MODELS_BENCH_BENCH_PICTURE_H
#define MODELS_BENCH_BENCH_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

struct bench_picture_options {
    int width, height; /* pixels, as stored */
    bool turned;       /* the photo lies on its side, as phones store it, with a mask that stands */
    int repeats;
};

/* In the order of a job. Lines of depth 0 are what it waits for, and add up to the whole; those below them are parts of
 * the line before, each measured by itself: they add up to more where parts run side by side. */
struct bench_picture_line {
    const char *name; /* a constant */
    int depth;
    double seconds; /* the best of the repeats */
};

enum { BENCH_PICTURE_LINES = 32 };

struct bench_picture {
    struct bench_picture_line lines[BENCH_PICTURE_LINES];
    int n_lines;
    double whole; /* seconds: the best run of a whole job */
    int paint_width, paint_height;
    size_t original_bytes, mask_bytes, edited_bytes, preview_bytes; /* of the files */
    size_t arena_bytes;                                             /* the most that a job took */
    uint32_t checksum; /* CRC-32C of both results: what is made faster must not change it */
};

MUST_CHECK enum err_code bench_picture(const struct bench_picture_options *o, struct bench_picture *ret,
                                       struct err *err);

#endif
