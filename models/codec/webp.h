/*
 * webp - WebP files -> pixels. The only file over libwebp.
 *
 * Reads lossy and lossless files, with and without alpha, as RGB. The size is checked with image_check_size() before
 * memory is taken. A file that ends before its last rows has the rows before them: few missing ones become
 * image_notes.rows_missing, with more the file is corrupt. The
 * decoder gives rows out in dozens, so that any cut costs up to 25 of them. Bytes behind the pixels do not matter. The
 * decoder itself takes up to 4 bytes a pixel beside the arena.
 *
 *   1. "RIFF"    2. u32 size of all that follows    3. "WEBP"
 *   4. chunks: name of 4 bytes, u32 size, payload, and a byte to make it even
 *   "ICCP": the profile. "EXIF": TIFF, in front of which some programs put "Exif\0\0", as in JPEG. Numbers are
 *   little-endian.
 *
 * Errors  ERR_NOT_AN_IMAGE no "RIFF"..."WEBP"; ERR_TOO_LARGE limits of image.h; ERR_UNSUPPORTED animations;
 * ERR_CORRUPT; ERR_NOMEM Source  RFC 9649
 */
#ifndef MODELS_CODEC_WEBP_H
#define MODELS_CODEC_WEBP_H

#include "models/image/image.h"

bool webp_is(struct span file);

/* From the header; false: it has none that can be read. */
bool webp_size(struct span file, int64_t *ret_width, int64_t *ret_height);

/* ret_notes may be NULL; then every row must be there. */
MUST_CHECK enum err_code webp_read(struct arena *a, struct span file, enum image_alpha alpha, struct image *ret,
                                   struct image_notes *ret_notes, struct err *err);

#endif
