/*
 * decode - a picture file to pixels. Its content decides what kind it is, never its name.
 *
 * Errors  ERR_NOT_AN_IMAGE neither JPEG nor PNG nor WebP; ERR_HEIC an HEIF file (HEIC, AVIF); ERR_TOO_LARGE more than
 *         IMAGE_MAX_FILE_BYTES or max_pixels; and those of jpeg.h, png.h and webp.h. A message of ERR_TOO_LARGE or
 *         ERR_UNSUPPORTED is a sentence for people about "the picture" or "the file", unless it begins with the name
 *         of a reader, as in "jpeg: " (job_error.h).
 *
 * Source  signatures: ITU-T T.81 B.1.1, ISO/IEC 15948 5.2, RFC 9649 2.4, ISO/IEC 14496-12 4.3 and 23008-12 10.2
 */
#ifndef MODELS_IMAGE_DECODE_H
#define MODELS_IMAGE_DECODE_H

#include "models/image/image.h"

struct decode_options {
    enum image_alpha alpha;
    int64_t max_pixels;       /* of the picture; 0: IMAGE_MAX_PIXELS */
    bool jail;                /* in a process of its own without rights, where the system allows that */
    bool rows_may_be_missing; /* few, at the bottom (image_notes.rows_missing); else they make the file ERR_CORRUPT */
    bool heic;                /* HEIF files are decoded, in a build that can */
};

/* Pixels as stored, grey or RGB; image_orient() makes them those that are displayed. ret_notes may be NULL. */
MUST_CHECK enum err_code image_decode(struct arena *a, struct span file, const struct decode_options *options,
                                      struct image *ret, struct image_notes *ret_notes, struct err *err);

#endif
