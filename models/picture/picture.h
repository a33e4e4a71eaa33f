/*
 * picture - everything a job does with its pictures, in this order:
 *
 *   picture_read             original and mask files -> photo and mask as they are displayed
 *   picture_choose_geometry  size of the photo       -> size at which the model paints
 *   picture_prepare          photo and mask          -> picture and mask for the model, which then paints
 *   picture_compose          the painted picture     -> blended into the photo
 *   picture_encode           photo                   -> edited and preview files
 *
 * The mask is made for the photo as it is displayed. So each of them is first rotated by its own Exif orientation, and
 * a mask whose aspect ratio then differs is refused. Behind transparent pixels a photo is white, like the page of a
 * viewer, and a mask is black, which means not to be repainted.
 *
 * The colour profile of the original is copied to both files; no other metadata is. Pixel values are never converted:
 * the model sees, for instance, Display P3 values as if they were sRGB.
 *
 * All memory is from the arena; PICTURE_ARENA_BYTES are enough for the largest pictures accepted.
 * Errors  of decode.h, with "original: " or "mask: " in front of the message; ERR_MASK_SIZE, ERR_MASK_EMPTY,
 *         ERR_MASK_FULL
 */
#ifndef MODELS_IMAGE_PICTURE_H
#define MODELS_IMAGE_PICTURE_H

#include "models/image/image.h"

enum {
    PAINT_LONG_SIDE = 1024, /* pixels; what FLUX.1-Fill was trained with, and what a job's deadline allows */
    PAINT_SHORT_SIDE = 64,  /* the model needs this much context; a narrower picture is stretched */
    PAINT_MULTIPLE = 16,    /* 8 for the VAE, times 2 for the packing of the latents */
    PREVIEW_LONG_SIDE = 512,
    EDITED_QUALITY = 95,
    PREVIEW_QUALITY = 85
};

#define PICTURE_ARENA_BYTES ((size_t)1536 << 20)

struct picture_input {
    struct image photo; /* [H, W, 3], upright */
    struct image mask;  /* [H, W, 1], 255 repaint, 0 keep; neither empty nor full */
    struct span icc;    /* an RGB profile; empty: none */
};

struct picture_geometry {
    int width, height; /* pixels; the model paints the whole photo at this size */
    int feather;       /* pixels of the photo over which the painted picture fades in, inside the mask */
};

struct picture_model_input {
    struct image picture; /* [geometry.height, geometry.width, 3] */
    struct image mask;    /* [geometry.height, geometry.width, 1], by mask_cover() */
};

struct picture_files {
    struct span edited;                /* JPEG, the size of the photo as displayed */
    struct span preview;               /* JPEG, longest side PREVIEW_LONG_SIDE at most, never enlarged */
    int width, height;                 /* of edited, pixels */
    int preview_width, preview_height; /* pixels */
};

MUST_CHECK enum err_code picture_read(struct arena *a, struct span original, struct span mask,
                                      struct picture_input *ret, struct err *err);

struct picture_geometry picture_choose_geometry(int photo_width, int photo_height);

MUST_CHECK enum err_code picture_prepare(struct arena *a, const struct picture_input *in,
                                         const struct picture_geometry *geometry, struct picture_model_input *ret,
                                         struct err *err);

/* painted [geometry.height, geometry.width, 3]: the model's picture. in->photo is changed in place, inside the mask
 * only. */
MUST_CHECK enum err_code picture_compose(struct arena *a, struct picture_input *in,
                                         const struct picture_geometry *geometry, const struct image *painted,
                                         struct err *err);

MUST_CHECK enum err_code picture_encode(struct arena *a, const struct picture_input *in, struct picture_files *ret,
                                        struct err *err);

#endif
