/*
 * jpeg - JPEG files <-> pixels. Over libjpeg, with jpeg_output.h and jpeg_splice.c.
 *
 * Reads baseline and progressive files, in grey, YCbCr, RGB, CMYK and YCCK, with the accurate inverse DCT and smooth
 * ("fancy") chroma upsampling, as Pillow does. Grey stays one channel, everything else becomes RGB. Four-colour files
 * are taken to be inverted, as Adobe writes them, whatever their markers say: no others are found in practice. Their
 * profile, where there is one, brings them to sRGB (colour.h).
 * The size is checked with image_check_size() before memory is taken. A file of very many scans is refused, because a
 * scan of a few bytes can cost a pass over the whole picture.
 *
 * Damage is judged by where it is, not by its kind. A row of blocks is there if every scan has it: its data neither end
 * early nor break the coding nor miss a restart marker. A picture all of whose rows are there is whole, whatever else
 * is wrong with the file: no EOI marker, stray bytes between segments, bytes of any kind behind the picture, scan
 * parameters that mean nothing. From the first row that is not there all rows count as missing; so damage higher up
 * makes the file corrupt, and a little at the bottom becomes image_notes.rows_missing. A progressive file without an
 * EOI marker is corrupt unless its scans complete every coefficient.
 *
 * Errors  ERR_NOT_AN_IMAGE no SOI; ERR_TOO_LARGE limits of image.h, scans; ERR_UNSUPPORTED 12 bits, lossless,
 *         hierarchical, JPEG-LS; ERR_CORRUPT; ERR_NOMEM
 * Source  ITU-T T.81; JFIF 1.02; Adobe Technical Note 5116; ICC.1:2022 annex B.4
 */
#ifndef MODELS_CODEC_JPEG_H
#define MODELS_CODEC_JPEG_H

#include "models/image/image.h"

enum { JPEG_MAX_SCANS = 100 };
#define JPEG_MAX_SCANNED_PIXELS INT64_C(5000000000) /* scans times pixels: 41 scans of 120 megapixels */

enum jpeg_chroma {
    JPEG_CHROMA_FULL, /* 4:4:4: only quantisation loses detail */
    JPEG_CHROMA_HALF  /* 4:2:0, half the resolution in both directions */
};

struct jpeg_options {
    int quality; /* 1 to 100, libjpeg's scale */
    enum jpeg_chroma chroma;
    struct span icc;  /* the profile to embed; empty: none */
    struct span exif; /* TIFF data of metadata.h; empty: none */
    struct span xmp;  /* an XMP packet of one segment; empty: none */
    bool fast;        /* standard Huffman tables: a third of the time, and some 5 % more bytes for the same pixels */
};

/* ret_notes may be NULL; then every row must be there. */
MUST_CHECK enum err_code jpeg_read(struct arena *a, struct span file, struct image *ret, struct image_notes *ret_notes,
                                   struct err *err);

/* Baseline, Huffman tables for this picture, JFIF header, what `options` has of Exif data, XMP packet and profile, in
 * this order, and no other metadata; from the arena. */
MUST_CHECK enum err_code jpeg_write(struct arena *a, const struct image *im, const struct jpeg_options *options,
                                    struct span *ret_file, struct err *err);

#endif
