/*
 * picture - everything a job does with its pictures, in this order:
 *
 *   picture_read     original and mask files -> photo and mask as they are displayed
 *   picture_plan     which parts are painted, at which size (crop.h), and how far the mask grows (composite.h)
 *   for each crop:
 *     picture_prepare  photo and mask  -> picture and mask for the model, which then paints
 *     picture_paste    what was painted -> blended into the photo
 *   picture_encode   photo           -> edited and preview files
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
 *         ERR_MASK_FULL, ERR_MASK_LARGE
 */
#ifndef MODELS_PICTURE_PICTURE_H
#define MODELS_PICTURE_PICTURE_H

#include "models/image/image.h"
#include "models/picture/composite.h"
#include "models/picture/crop.h"
#include "models/picture/picture_settings.h"

enum { PREVIEW_LONG_SIDE = 512, EDITED_QUALITY = 95, PREVIEW_QUALITY = 85, PICTURE_WARNINGS_MAX = 8 };

#define PICTURE_ARENA_BYTES ((size_t)4 << 30) /* address space */

/* What was decided, for the record of the job. Texts are constants or from the arena. */
struct picture_record {
    const char *mask_kind, *mask_reason;
    double marked_share; /* of the photo's pixels, after specks and holes are gone */
    int64_t specks_removed, holes_filled;
    struct paste_edge edge;
    struct crop_plan plan;
    const char *colour_space;
    const char *warnings[PICTURE_WARNINGS_MAX]; /* stable codes */
    int n_warnings;
};

/* Adds a code once; one that does not fit is dropped. */
void picture_warn(struct picture_record *r, const char *code);

struct picture_input {
    struct image photo; /* [H, W, 3], upright */
    struct image mask;  /* [H, W, 1], 255 repaint, 0 keep; neither empty nor full */
    struct span icc;    /* an RGB profile; empty: none */
};

/* One crop, for the model. */
struct picture_model_input {
    struct image picture; /* [fill_height, fill_width, 3] */
    struct image mask;    /* [fill_height, fill_width, 1], 255 repaint: the grown mask, by mask_cover() */
    uint16_t *distance;   /* of the crop's hole (distance.h) */
};

struct picture_files {
    struct span edited;                /* JPEG, the size of the photo as displayed */
    struct span preview;               /* JPEG, longest side PREVIEW_LONG_SIDE at most, never enlarged */
    int width, height;                 /* of edited, pixels */
    int preview_width, preview_height; /* pixels */
};

/* Sets what of *record is known then. */
MUST_CHECK enum err_code picture_read(struct arena *a, struct span original, struct span mask,
                                      const struct picture_settings *settings, struct picture_input *ret,
                                      struct picture_record *record, struct err *err);

/* Sets record->plan and record->edge. */
MUST_CHECK enum err_code picture_plan(struct arena *a, const struct picture_input *in,
                                      const struct picture_settings *settings, struct picture_record *record,
                                      struct err *err);

MUST_CHECK enum err_code picture_prepare(struct arena *a, const struct picture_input *in,
                                         const struct picture_record *record, int crop, struct picture_model_input *ret,
                                         struct err *err);

/* What the model would paint if it painted `source`, which has the photo's size and colours. At scale 1 no pixel is
 * rounded on its way through this and picture_paste(). */
MUST_CHECK enum err_code picture_paint_from(struct arena *a, const struct image *source,
                                            const struct picture_record *record, int crop, struct image_f32 *ret,
                                            struct err *err);

/* painted [fill_height, fill_width, 3]: the model's picture. in->photo is changed in place, within the paste only. */
MUST_CHECK enum err_code picture_paste(struct arena *a, struct picture_input *in,
                                       const struct picture_model_input *model, const struct image_f32 *painted,
                                       const struct picture_settings *settings, struct picture_record *record, int crop,
                                       struct err *err);

MUST_CHECK enum err_code picture_encode(struct arena *a, const struct picture_input *in, struct picture_files *ret,
                                        struct err *err);

#endif
