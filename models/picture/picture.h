/*
 * picture - everything a job does with its pictures, in this order:
 *
 *   picture_read     original and mask files -> photo and mask as they are displayed
 *   picture_plan     which parts are painted, at which size (crop.h), and how far the mask grows (composite.h)
 *   for each crop:
 *     picture_prepare  photo and mask  -> picture and mask for the model, which then paints
 *     picture_paste    what was painted -> its grain and tone matched, blended into the photo
 *     picture_score    how that looks
 *   picture_encode   photo           -> edited and preview files
 *
 * The mask is made for the photo as it is displayed. So each of them is first rotated by its own Exif orientation, and
 * a mask whose aspect ratio then differs is refused. Behind transparent pixels a photo is white, like the page of a
 * viewer, and a mask is black, which means not to be repainted.
 *
 * The model knows sRGB alone: it gets the photo's colours in sRGB, and what it paints is brought back into the space of
 * the photo (codec/colour.h), where it is blended. The photo's own values are not converted, and its profile stays. Of
 * its metadata a few facts stay, written anew (codec/metadata.h).
 *
 * All memory is from the arena; PICTURE_ARENA_BYTES are enough for the largest pictures accepted.
 * Errors  of decode.h, with "original: " or "mask: " in front of the message; ERR_MASK_SIZE, ERR_MASK_EMPTY,
 *         ERR_MASK_FULL, ERR_MASK_LARGE; ERR_CORRUPT, too, where the grown mask reaches into what the file has lost
 */
#ifndef MODELS_PICTURE_PICTURE_H
#define MODELS_PICTURE_PICTURE_H

#include "models/notes/colour.h"
#include "models/image/image.h"
#include "models/picture/composite.h"
#include "models/mask/mask_clean.h"
#include "models/mask/mask_kind.h"
#include "models/mask/shadow.h"
#include "models/picture/crop.h"
#include "models/patch/patch_match.h"
#include "models/picture/picture_settings.h"
#include "models/picture/picture_write.h"
#include "models/score/scores.h"

enum { PREVIEW_LONG_SIDE = 512, PICTURE_WARNINGS_MAX = 8 };

#define PICTURE_ARENA_BYTES ((size_t)4 << 30) /* address space */

/* A crop that was painted twice. */
struct picture_second {
    bool ran, kept;            /* kept: the second result was the better one */
    double total, other_total; /* scores of the result that was kept, and of the other */
};

/* What was decided, for the record of the job. Texts are constants or from the arena. */
struct picture_record {
    struct mask_decision mask; /* kind ANY: it was not made */
    double marked_share;       /* of the photo's pixels, after specks and holes are gone */
    struct mask_cleaning cleaning;
    struct shadow shadow; /* with settings->shadow alone */
    struct paste_edge edge;
    struct crop_plan plan;
    const char *colour_space;
    uint64_t seed;  /* of the grain; set by the caller before picture_paste() */
    bool has_match; /* with settings->patch_match alone */
    struct patch_match match[CROP_MAX];
    bool has_scores;
    struct picture_scores scores[CROP_MAX];
    struct picture_second second[CROP_MAX];
    bool has_output;
    enum picture_output output;                 /* how edited.jpg was written */
    bool has_changes;                           /* picture_count_changes() was asked */
    int64_t changed_outside;                    /* pixels of edited.jpg, beyond the paste, that are not the photo's */
    int max_outside;                            /* the largest difference there, in levels */
    const char *warnings[PICTURE_WARNINGS_MAX]; /* stable codes */
    int n_warnings;
};

/* Adds a code once; one that does not fit is dropped. */
void picture_warn(struct picture_record *r, const char *code);

/* What a job brings. */
struct picture_source {
    struct span original, mask; /* files */
    struct mask_wishes wishes;
};

struct picture_input {
    struct image photo;       /* [H, W, 3], upright */
    struct image mask;        /* [H, W, 1], 255 repaint, 0 keep; neither empty nor full */
    struct span icc;          /* an RGB profile, for the files that are written; empty: none */
    struct colour *colour;    /* what the photo's pixel values mean */
    struct image_box missing; /* at an edge: what the photo's file has lost; empty: nothing */
    struct span exif;         /* of the original: image_notes.exif */
    struct span original;     /* its file */
};

/* One crop, for the model. */
struct picture_model_input {
    struct image picture;  /* [fill_height, fill_width, 3] */
    struct image mask;     /* [fill_height, fill_width, 1], 255 repaint: the grown mask, by mask_cover() */
    struct image_box view; /* of the photo: the hole and what is around it, within the crop */
    uint16_t *distance;    /* of the view (distance.h) */
    struct image before;   /* [h, w, 3] of the view, before the paste */
    struct image hole;     /* [h, w, 1] of the view: 255 where the model does not see the photo */
    struct image paste;    /* [h, w, 1] of the view: the share of what was painted, of 255 */
};

struct picture_files {
    struct span edited;                /* JPEG, the size of the photo as displayed */
    struct span preview;               /* JPEG, longest side PREVIEW_LONG_SIDE at most, never enlarged */
    int width, height;                 /* of edited, pixels */
    int preview_width, preview_height; /* pixels */
    struct picture_written written;
};

/* Sets what of *record is known then. */
MUST_CHECK enum err_code picture_read(struct arena *a, const struct picture_source *source,
                                      const struct picture_settings *settings, struct picture_input *ret,
                                      struct picture_record *record, struct err *err);

/* Sets record->plan and record->edge. */
MUST_CHECK enum err_code picture_plan(struct arena *a, const struct picture_input *in,
                                      const struct picture_settings *settings, struct picture_record *record,
                                      struct err *err);

MUST_CHECK enum err_code picture_prepare(struct arena *a, const struct picture_input *in,
                                         const struct picture_record *record, int crop, struct picture_model_input *ret,
                                         struct err *err);

/* What the model would paint if it painted `source`, which has the photo's size, and colours as `space` says. At scale
 * 1 no pixel is rounded on its way through this and picture_paste(). */
MUST_CHECK enum err_code picture_paint_from(struct arena *a, const struct image *source, const struct colour *space,
                                            const struct picture_record *record, int crop, struct image_f32 *ret,
                                            struct err *err);

/* painted [fill_height, fill_width, 3]: the model's picture. in->photo is changed in place, within the paste only. */
MUST_CHECK enum err_code picture_paste(struct arena *a, struct picture_input *in,
                                       const struct picture_model_input *model, const struct image_f32 *painted,
                                       const struct picture_settings *settings, struct picture_record *record, int crop,
                                       struct err *err);

/* How the pasted crop looks: sets record->scores[crop]. */
MUST_CHECK enum err_code picture_score(struct arena *a, const struct picture_input *in,
                                       const struct picture_model_input *model, struct picture_record *record, int crop,
                                       struct err *err);

/* Puts [h, w, 3] pixels into a box of the photo: those of `before`, to paint once more, or a result that was kept. */
void picture_put(struct picture_input *in, struct image_box box, const struct image *pixels);

MUST_CHECK enum err_code picture_encode(struct arena *a, const struct picture_input *in,
                                        const struct picture_settings *settings, struct picture_record *record,
                                        struct picture_files *ret, struct err *err);

/* How the file differs from the photo beyond what was painted: takes a decoding of it. */
MUST_CHECK enum err_code picture_count_changes(struct arena *a, const struct picture_input *in, struct span edited,
                                               struct picture_record *record, struct err *err);

#endif
