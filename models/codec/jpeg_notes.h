/*
 * jpeg_notes - orientation and colour profile, from the segments before a JPEG file's pixels.
 *
 *   1. FF D8 (SOI)    2. segments: FF, marker, u16 length (itself included), payload    3. FF DA (SOS): pixels; the end
 *   APP1 "Exif\0\0" + TIFF: the first one counts
 *   APP2 "ICC_PROFILE\0" + u8 number (from 1) + u8 of how many + a part of the profile, in any order, each part once
 *
 * Damage is not an error here, because the decoder judges the file: what cannot be read counts as absent.
 * Source  ITU-T T.81 B.1.1; CIPA DC-008 4.7.2; ICC.1:2022 annex B.4
 */
#ifndef MODELS_IMAGE_JPEG_NOTES_H
#define MODELS_IMAGE_JPEG_NOTES_H

#include "models/image/image.h"

/* The only error is ERR_NOMEM. */
MUST_CHECK enum err_code jpeg_notes(struct arena *a, struct span file, struct image_notes *ret, struct err *err);

#endif
