/*
 * heif - HEIC files -> pixels. The only file over libheif, and a stub in a build without it.
 *
 * Reads the primary picture of an HEIF file whose coding is HEVC: what every viewer shows. Grids of tiles, cuts, turns
 * and mirrors are applied, so that the pixels are upright and the orientation is 1, whatever the Exif data say. 10 and
 * 12 bits become 8. An alpha channel is removed as in a PNG (png.h), and is in the notes. The picture becomes RGB.
 *
 * Refused with ERR_HEIC, so that the person is asked for a JPEG: AVIF, image sequences, other codings than HEVC, and
 * pictures of high dynamic range (PQ, HLG), which would come out pale. Primaries other than those of sRGB count only by
 * the ICC profile, which phones embed: a picture that names Display P3 by its nclx numbers alone is taken as sRGB.
 *
 * The size is checked with image_check_size() and max_pixels before memory is taken. Run it in a jail
 * (models/jail/jail.h): libheif and libde265 are C++ that has had many faults, and libde265 starts a thread.
 *
 * Errors  ERR_HEIC as above, or a build without libheif; ERR_TOO_LARGE limits; ERR_CORRUPT; ERR_NOMEM
 * Source  ISO/IEC 23008-12 (HEIF), 14496-12 4.3 (brands); ITU-T H.273 8.2 (transfer characteristics); libheif 1.12
 * to 1.19
 */
#ifndef MODELS_CODEC_HEIF_H
#define MODELS_CODEC_HEIF_H

#include "models/image/image.h"

/* NULL: this build has libheif; else half a sentence. */
const char *heif_unavailable_reason(void);

/* A small HEIC file, of 64 x 64 grey pixels: libheif finds its decoders when it is asked, as files that may not be
 * installed, so that only decoding shows whether it decodes. Empty in a build without libheif. */
struct span heif_sample(void);

/* Loads the decoders, which may be files of their own, while the process may still open files. */
void heif_prepare(void);

/* max_pixels 0: IMAGE_MAX_PIXELS. ret_notes may be NULL. */
MUST_CHECK enum err_code heif_read(struct arena *a, struct span file, enum image_alpha alpha, int64_t max_pixels,
                                   struct image *ret, struct image_notes *ret_notes, struct err *err);

#endif
