/*
 * jpeg_splice - a JPEG photo in which only those blocks are new that contain a changed pixel. The quantised
 * coefficients of all other blocks are those of the original, bit for bit.
 *
 *   original   the photo's file; baseline or progressive, in grey or YCbCr of 8 bits, with any sampling, upright
 *   edited     [H, W, 3] (or [H, W, 1] for a grey photo), the photo as jpeg_read() and image_to_rgb() give it, with
 *              some pixels changed; blocks are compared with it, so that nobody has to say where the changes are
 *   ret_file   sequential, with the original's quantisation tables and sampling, new Huffman tables and the metadata
 *              of `options`, whose quality and chroma do not count; from the arena
 *
 * A changed block is encoded with the original's tables: a photo of quality 30 has a patch of quality 30, like its
 * surroundings. Whoever wants a finer patch there writes the whole photo anew; ret_info->quality tells. In a photo with
 * reduced chroma, a block of chroma covers 16 x 16 pixels, and a decoder smooths across its edges: some pixels beside
 * the changed ones differ from the original's. jpeg_count_changes() tells how many, and by how much. The paint in a
 * grey photo loses its colour.
 *
 * Takes the coefficients of the whole photo: 2 bytes for each of its samples, 3 (4:2:0) to 6 bytes a pixel.
 *
 * Errors  ERR_UNSUPPORTED the photo cannot be spliced, with the reason: the caller then uses jpeg_write();
 *         ERR_INVALID, ERR_TOO_LARGE wrong arguments; ERR_NOMEM
 * Source  ITU-T T.81 A.1, A.3; libjpeg's transcoding interface
 */
#ifndef MODELS_CODEC_JPEG_SPLICE_H
#define MODELS_CODEC_JPEG_SPLICE_H

#include "models/codec/jpeg.h"

struct jpeg_splice_info {
    int64_t n_blocks, n_new; /* of 8 x 8 samples, over all components */
    int quality;             /* of the photo's luminance table on libjpeg's scale, 1 to 100, about */
};

MUST_CHECK enum err_code jpeg_splice(struct arena *a, struct span original, const struct image *edited,
                                     const struct jpeg_options *options, struct span *ret_file,
                                     struct jpeg_splice_info *ret_info, struct err *err);

/* Where pixels were meant to change: those that are not 0 in `changed`, whose first byte is the box's top left pixel;
 * NULL: all of the box. */
struct jpeg_patch {
    struct image_box box;
    const uint8_t *changed;
    size_t stride; /* bytes from one row of `changed` to the next */
};

struct jpeg_changes {
    int64_t n_outside; /* pixels outside all patches that differ in at least one channel */
    int most;          /* the largest difference there, in levels of 8 bits */
};

/* Decodes `file` row by row, and compares it with `want`, [H, W, 3]. Errors as jpeg_read(); ERR_INVALID: the sizes
 * differ, or a box is not within the picture. */
MUST_CHECK enum err_code jpeg_count_changes(struct arena *a, struct span file, const struct image *want,
                                            const struct jpeg_patch *patches, int n_patches, struct jpeg_changes *ret,
                                            struct err *err);

#endif
