/*
 * jpeg_layout - what a JPEG file is and where its picture ends, from its markers alone, without decoding.
 *
 * Between the segments and behind the picture real files have other bytes: a second picture, a film, the camera's own
 * trailer. The picture ends at its EOI marker; in a file without one, behind a scan, at the first bytes that cannot
 * belong to it: a marker that ITU-T T.81 reserves, a second SOI or frame, a segment longer than the file, zeros up to
 * the end.
 *
 * Damage is not an error here, because the decoder judges the pixels. What is not there is 0.
 * Source  ITU-T T.81 B.1.1, B.2, table B.1; T.87 C.1.1 (JPEG-LS)
 */
#ifndef MODELS_CODEC_JPEG_LAYOUT_H
#define MODELS_CODEC_JPEG_LAYOUT_H

#include <stdint.h>

#include "kernels/base/span.h"

struct jpeg_layout {
    unsigned frame;        /* the marker of the first frame, 0xc0 to 0xcf or 0xf7; 0xde: hierarchical */
    int bits;              /* a sample */
    int64_t width, height; /* pixels */
    int n_components;      /* of the frame */
    int n_scans;
    bool has_every_component; /* some scan has it */
    bool has_eoi;
    size_t end; /* bytes of the file up to the end of the picture */
};

struct jpeg_layout jpeg_layout(struct span file);

/* The size alone, from the segments before the pixels. false: the file does not come to state one. */
bool jpeg_layout_size(struct span file, int64_t *ret_width, int64_t *ret_height);

/* Where the last scan ends that lies before byte `before` of the file; 0: there is none. */
size_t jpeg_layout_scans_end(struct span file, size_t before);

/* What no decoder here can read, in words for people, as in "a lossless JPEG file"; NULL: nothing is known against the
 * file. */
const char *jpeg_layout_unsupported(const struct jpeg_layout *layout);

#endif
