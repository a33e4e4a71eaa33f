/*
 * picture - what one job does with its pictures, stage by stage, each from plain structs to plain structs:
 *
 *   original, mask files --picture_read--> photo and mask as displayed --picture_choose_geometry--> size to paint at
 *     --picture_prepare--> picture and mask for the model   (the model paints)
 *     --picture_compose--> photo with the paint blended in --picture_encode--> edited and preview files
 *
 * The mask is made for the photo as it is displayed, so both are turned upright by their own Exif orientation first,
 * and a mask that then has another shape is refused rather than guessed at. What shows through a photo's alpha
 * channel is white, as the page of a viewer is; what shows through a mask's is black: not to be repainted.
 *
 * A colour profile goes from the original to both files; nothing else of its metadata does. Pixel values are those
 * of the profile all the way: the model sees, say, Display P3 numbers as if they were sRGB.
 *
 * Everything is taken from the request arena: PICTURE_ARENA_BYTES are enough for the largest pictures accepted.
 * Errors  of decode.h, with "original: " or "mask: " in front of the message; ERR_MASK_SIZE, ERR_MASK_EMPTY,
 *         ERR_MASK_FULL
 */
#ifndef MODELS_IMAGE_PICTURE_H
#define MODELS_IMAGE_PICTURE_H

#include "models/image/image.h"

enum {
    PAINT_LONG_SIDE = 1024, /* pixels; what FLUX.1-Fill is trained for, and what a job's deadline allows */
    PAINT_SHORT_SIDE = 64,  /* less shows the model nothing; a longer, narrower picture is squeezed instead */
    PAINT_MULTIPLE = 16,    /* 8 by the VAE, 2 by the packing of the latents */
    PREVIEW_LONG_SIDE = 512,
    EDITED_QUALITY = 95,
    PREVIEW_QUALITY = 85
};

#define PICTURE_ARENA_BYTES ((size_t)1536 << 20)

struct picture_input {
    struct image photo; /* [H, W, 3], upright */
    struct image mask;  /* [H, W, 1], 255 repaint, 0 keep; neither empty nor full */
    struct span icc;    /* an RGB profile, or empty */
};

struct picture_geometry {
    int width, height; /* at which the model paints the whole photo */
    int feather;       /* pixels of the photo over which the paint fades in, inside the mask */
};

struct picture_model_input {
    struct image picture; /* [geometry.height, geometry.width, 3] */
    struct image mask;    /* [geometry.height, geometry.width, 1], marks every cell that a marked pixel touches */
};

struct picture_files {
    struct span edited;  /* JPEG, the size of the photo as displayed */
    struct span preview; /* JPEG, longest side PREVIEW_LONG_SIDE at most, never enlarged */
};

MUST_CHECK enum err_code picture_read(struct arena *a, struct span original, struct span mask,
                                      struct picture_input *ret, struct err *err);

struct picture_geometry picture_choose_geometry(int photo_width, int photo_height);

MUST_CHECK enum err_code picture_prepare(struct arena *a, const struct picture_input *in,
                                         const struct picture_geometry *geometry, struct picture_model_input *ret,
                                         struct err *err);

/* paint [geometry.height, geometry.width, 3]: what the model made. in->photo is changed in place, inside the mask only.
 */
MUST_CHECK enum err_code picture_compose(struct arena *a, struct picture_input *in,
                                         const struct picture_geometry *geometry, const struct image *paint,
                                         struct err *err);

MUST_CHECK enum err_code picture_encode(struct arena *a, const struct picture_input *in, struct picture_files *ret,
                                        struct err *err);

#endif
