/*
 * exif - what is taken over from the Exif data of a photo: its orientation, and five facts. Nothing else is read.
 *
 *   1. byte order "II" or "MM"    2. the number 42    3. u32 offset of IFD 0 (from the first byte)
 *   4. IFD: u16 count, then count entries of 12 bytes: u16 tag, u16 type, u32 number of values, value or offset
 *   5. tag 0x0112 (orientation): one value, 1 to 8, in the first bytes of the value field. Its type is SHORT by the
 *      standard; LONG and BYTE, which some programs write, are read, too
 *
 * Each offset is followed once, so that no file can cause a loop. Damaged data give the orientation 1 and no facts.
 *
 * The facts are tag 0x8298 (copyright) of IFD 0, and tags 0x9003, 0x9011 and 0x9291 of the Exif IFD, whose offset is
 * tag 0x8769 of IFD 0: when the photo was taken. A fact whose text is not exactly what the standard describes counts as
 * absent, so that whatever else hides in such a field goes no further.
 *
 * Source  CIPA DC-008 (Exif 2.32) 4.5, 4.6; TIFF 6.0
 */
#ifndef MODELS_NOTES_EXIF_H
#define MODELS_NOTES_EXIF_H

#include "models/image/image.h"

enum {
    EXIF_MAX_BYTES = 128 << 10, /* that are looked at; what is stored behind them counts as absent */
    EXIF_COPYRIGHT_MAX = 4096   /* bytes of UTF-8; a longer text counts as absent */
};

/* Texts that end in a NUL; "" where a fact is absent. */
struct exif_facts {
    char taken[20];     /* DateTimeOriginal, "YYYY:MM:DD HH:MM:SS", a date of the calendar */
    char utc_offset[7]; /* OffsetTimeOriginal, "+HH:MM" or "-HH:MM" */
    char subsec[10];    /* SubSecTimeOriginal, 1 to 9 digits */

    /* Copyright, printable UTF-8; one NUL inside separates the photographer's from the editor's. Bytes that are no
     * UTF-8 are read as Latin-1, as older cameras write them. */
    char copyright[EXIF_COPYRIGHT_MAX + 1];
    size_t copyright_len; /* bytes, without the NUL at the end */
};

/* `tiff` begins with the byte order: after "Exif\0\0" in a JPEG, the whole eXIf chunk of a PNG. */
int exif_orientation(struct span tiff);

void exif_read_facts(struct span tiff, struct exif_facts *ret);

/* A copy in the arena, for image_notes.exif: EXIF_MAX_BYTES at most. ERR_NOMEM. */
MUST_CHECK enum err_code exif_copy(struct arena *a, struct span tiff, struct span *ret, struct err *err);

#endif
