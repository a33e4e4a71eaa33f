/*
 * decode - a picture file to pixels. Its content decides what kind it is, never its name.
 *
 * With options->jail, and where a jail works (models/jail/jail.h), the decoder runs in a process of its own. HEIF files
 * are decoded there or not at all: their decoders have a long record of faults.
 *
 * Errors  ERR_NOT_AN_IMAGE neither JPEG nor PNG nor WebP; ERR_HEIC an HEIF file (HEIC, AVIF) that is not decoded here;
 *         ERR_TOO_LARGE more than IMAGE_MAX_FILE_BYTES or max_pixels; and those of jpeg.h, png.h, webp.h, heif.h and
 *         jail.h. A message of ERR_TOO_LARGE or ERR_UNSUPPORTED is a sentence for people about "the picture" or "the
 *         file", unless it begins with the name of a reader, as in "jpeg: " (job_error.h).
 *
 * Source  signatures: ITU-T T.81 B.1.1, ISO/IEC 15948 5.2, RFC 9649 2.4, ISO/IEC 14496-12 4.3 and 23008-12 10.2
 */
#ifndef MODELS_CODEC_DECODE_H
#define MODELS_CODEC_DECODE_H

#include "models/image/image.h"
#include "models/jail/jail.h"

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

/* The same in this process, whatever the options say of a jail; HEIF files too. For the jailed process, and for files
 * that are trusted. */
MUST_CHECK enum err_code image_decode_here(struct arena *a, struct span file, const struct decode_options *options,
                                           struct image *ret, struct image_notes *ret_notes, struct err *err);

/* Runs image_decode_here() for the process that is jailed (models/jail/jail.h). */
extern const struct jail_program decode_jail_program;

/* Why HEIC is not decoded here under such options, as half a sentence; NULL: it is. Found out by jailed processes when
 * it is asked first. The text lives as long as the process. */
const char *decode_heic_refusal(const struct decode_options *options);

#endif
