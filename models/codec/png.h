/*
 * png - PNG files <-> pixels. The only file over libpng.
 *
 * Reads every PNG of the specification (1 to 16 bits, palette, tRNS, interlaced) as 8-bit grey or RGB: grey stays one
 * channel, everything else becomes three. From 16 bits the high byte is taken, as Pillow does, so that the threshold of
 * a mask (mask.h) means the same share of white at either depth. The size is checked with image_check_size() before
 * memory is taken. The checksums of all chunks in use are checked; a wrong one in a chunk that the pixels do not depend
 * on does not matter, nor does anything behind the pixels. A file that ends before its last rows has the rows before
 * them: few missing ones become image_notes.rows_missing, with more the file is corrupt.
 *
 * Errors  ERR_NOT_AN_IMAGE no PNG signature; ERR_TOO_LARGE limits of image.h; ERR_CORRUPT; ERR_NOMEM
 * Source  ISO/IEC 15948 (PNG 1.2 and the extensions eXIf, iCCP)
 */
#ifndef MODELS_CODEC_PNG_H
#define MODELS_CODEC_PNG_H

#include "kernels/base/span.h"
#include "models/image/image.h"

/* ret_notes may be NULL; then every row must be there. */
MUST_CHECK enum err_code png_read(struct arena *a, struct span file, enum image_alpha alpha, struct image *ret,
                                  struct image_notes *ret_notes, struct err *err);

/* Grey or RGB, 8 bits, packed for speed rather than for size; the bytes are from the arena. */
MUST_CHECK enum err_code png_write(struct arena *a, const struct image *im, struct span *ret_file, struct err *err);
/* The same with a colour profile, which has to fit the channels (icc.h); empty: without. One that libpng finds wrong is
 * left out. */
MUST_CHECK enum err_code png_write_with_profile(struct arena *a, const struct image *im, struct span icc,
                                                struct span *ret_file, struct err *err);

#endif
