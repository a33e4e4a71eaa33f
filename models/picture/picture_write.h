/*
 * picture_write - edited.jpg and preview.jpg of a finished photo, by the settings.
 *
 *   edited.jpg    PICTURE_Q95: written anew, 4:4:4; PICTURE_SPLICE: with the original's own blocks wherever no pixel
 *                 has changed (jpeg_splice.h), and written anew where that is not possible. Its Exif data are the
 *                 facts of exif.h, and Orientation 1
 *   preview.jpg   4:2:0, without Exif data
 *
 * Both have the profile, and the XMP packet of metadata.h.
 *
 * Errors  as jpeg_write()
 */
#ifndef MODELS_PICTURE_PICTURE_WRITE_H
#define MODELS_PICTURE_PICTURE_WRITE_H

#include "models/codec/jpeg_splice.h"
#include "models/picture/picture_settings.h"

enum { EDITED_QUALITY = 95, PREVIEW_QUALITY = 85 };

struct picture_to_write {
    const struct image *photo; /* [H, W, 3], upright; outside of the paint the values that the file has */
    struct span icc;           /* an RGB profile; empty: none */
    struct span exif;          /* of the original: image_notes.exif */
    struct span original;      /* its file, which PICTURE_SPLICE needs */
};

struct picture_written {
    enum picture_output mode;       /* what was done */
    struct jpeg_splice_info splice; /* 0 for PICTURE_Q95 */
    char why_not[ERR_MESSAGE_MAX];  /* why PICTURE_SPLICE was not possible; "": it was, or was not asked for */
};

/* The file is from the arena; less than a MB besides is taken from it while the file is written. */
MUST_CHECK enum err_code picture_write_edited(struct arena *a, const struct picture_to_write *p,
                                              const struct picture_settings *settings, struct span *ret_file,
                                              struct picture_written *ret, struct err *err);

MUST_CHECK enum err_code picture_write_preview(struct arena *a, const struct image *small, struct span icc,
                                               struct span *ret_file, struct err *err);

#endif
