/*
 * jpeg_notes - orientation, Exif data and colour profile, from the segments before a JPEG file's pixels.
 *
 *   1. FF D8 (SOI)    2. segments: FF, marker, u16 length (itself included), payload    3. FF DA (SOS): pixels; the end
 *   APP1 "Exif\0\0" + TIFF: the first one counts
 *   APP2 "ICC_PROFILE\0" + u8 number (from 1) + u8 of how many + a part of the profile, in any order, each part once
 *
 * A gain map is a second JPEG file behind the first one, which an HDR screen needs and no other reader looks at. There
 * is one when the first file's XMP names it (Ultra HDR) and a second file follows, or when the first file has an index
 * of pictures (APP2 "MPF\0") or the sign of ISO 21496-1 and a picture behind it says that it is a gain map. An index
 * alone is no sign: cameras keep previews in the same way.
 *
 * Damage is not an error here, because the decoder judges the file: what cannot be read counts as absent.
 * Source  ITU-T T.81 B.1.1; CIPA DC-008 4.7.2; ICC.1:2022 annex B.4; Adobe XMP part 3 1.1.3; CIPA DC-007 (MPF); Ultra
 *         HDR Image Format 1.1; ISO 21496-1 annex C
 */
#ifndef MODELS_CODEC_JPEG_NOTES_H
#define MODELS_CODEC_JPEG_NOTES_H

#include "models/image/image.h"

/* The only error is ERR_NOMEM. */
MUST_CHECK enum err_code jpeg_notes(struct arena *a, struct span file, struct image_notes *ret, struct err *err);

#endif
