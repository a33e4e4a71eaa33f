/*
 * metadata - what our files say about themselves, written anew: nothing of the photo's own metadata is copied.
 *
 *   Exif  IFD 0   Orientation 1, resolution (72 dpi, "unknown"), YCbCrPositioning, Copyright
 *         Exif IFD  ExifVersion 2.32, DateTimeOriginal, OffsetTimeOriginal, ComponentsConfiguration,
 *                   SubSecTimeOriginal, FlashpixVersion, ColorSpace, PixelXDimension, PixelYDimension
 *   XMP   Iptc4xmpExt:DigitalSourceType: compositeWithTrainedAlgorithmicMedia, a photo, part of which a model painted
 *
 * The five facts of exif.h are there where the photo has them; the rest is what the standard requires of every file.
 *
 * Errors  ERR_NOMEM
 * Source  CIPA DC-008 (Exif 2.32) 4.6.8 tables 17 to 21; IPTC Photo Metadata Standard 2023.1; Adobe XMP part 1 C.2
 */
#ifndef MODELS_NOTES_METADATA_H
#define MODELS_NOTES_METADATA_H

#include "models/notes/exif.h"

struct metadata_exif {
    const struct exif_facts *facts;
    int width, height; /* of the file that is written, pixels */
    bool has_profile;  /* a colour profile says what the pixel values mean; without one they are sRGB */
};

/* TIFF data, for jpeg_options.exif; from the arena. */
MUST_CHECK enum err_code metadata_exif(struct arena *a, const struct metadata_exif *m, struct span *ret,
                                       struct err *err);

/* A constant packet, for jpeg_options.xmp. */
struct span metadata_xmp(void);

#endif
