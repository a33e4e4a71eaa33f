/*
 * mask_photo - whether a mask file shows the photo itself, and where it was painted on.
 *
 * Both are compared as small pictures, so that their noise and their sizes do not matter. The file shows the photo
 * where the photo has texture and the file has the same values with the same slopes: no drawing has that by chance.
 * What was painted is told by a straight line for each colour, file = gain * photo + offset: gain 0 is opaque paint,
 * and a tint has a gain below 1. Then each pixel of the file goes to the photo or to the paint, whichever explains the
 * 5 x 5 pixels around it better.
 */
#ifndef MODELS_MASK_MASK_PHOTO_H
#define MODELS_MASK_MASK_PHOTO_H

#include <stdbool.h>

#include "models/mask/mask_kind.h"

struct mask_paint {
    double gain[3], offset[3];
    bool has_ties; /* what has the colour of the paint is paint, even where the photo has that colour, too */
};

/* Of the small pictures; shares of their pixels, 0 to 1. */
struct mask_likeness {
    bool is_photo;    /* a part of the file shows the photo */
    double same;      /* where file and photo are equal */
    double texture;   /* of the photo's textured pixels: those that the file has, too */
    double painted;   /* where they differ */
    double ring;      /* of the frame: where they differ */
    double within;    /* of the photo's textured pixels where the file has neither transparency nor its ground: those
                         that the file has */
    int64_t n_within; /* their number */
    bool is_flat;     /* one paint explains what differs */
    struct mask_paint paint;
};

/* turn: of mask_choose_turn(). Transparent pixels of the file are not compared. ground: of the file. */
MUST_CHECK enum err_code mask_compare(struct arena *a, const struct mask_file *file, const struct mask_photo *photo,
                                      int turn, const uint8_t ground[3], struct mask_likeness *ret, struct err *err);

/* 255 where the paint explains the file better than the photo does; ret [H, W, 1] as the file is stored. */
MUST_CHECK enum err_code mask_find_paint(struct arena *a, const struct mask_file *file, const struct mask_photo *photo,
                                         int turn, const struct mask_paint *paint, struct image *ret, struct err *err);

#endif
