/*
 * exif - the orientation of a photo, and nothing else of its Exif data.
 *
 *   1. byte order "II" or "MM"    2. the number 42    3. u32 offset of IFD 0 (from the first byte)
 *   4. IFD: u16 count, then count entries of 12 bytes: u16 tag, u16 type, u32 number of values, value or offset
 *   5. tag 0x0112 (orientation): one value, 1 to 8, in the first bytes of the value field. Its type is SHORT by the
 *      standard; LONG and BYTE, which some programs write, are read, too
 *
 * Each offset is followed once, so that no file can cause a loop. Damaged data give the orientation 1.
 * Source  CIPA DC-008 (Exif 2.32) 4.5; TIFF 6.0
 */
#ifndef MODELS_IMAGE_EXIF_H
#define MODELS_IMAGE_EXIF_H

#include "kernels/base/span.h"

/* `tiff` begins with the byte order: after "Exif\0\0" in a JPEG, the whole eXIf chunk of a PNG. */
int exif_orientation(struct span tiff);

#endif
