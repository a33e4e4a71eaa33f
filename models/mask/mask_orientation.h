/*
 * mask_orientation - how a mask must be turned to lie on the photo as it is displayed.
 *
 * A mask is made for the displayed photo, and is turned by its own Exif orientation, if it has one. Some programs make
 * it for the rows as they are stored; then its size has the sides of the stored photo, and it is turned as the photo
 * is. Where sizes cannot say, because the sides stay as they are (orientations 1 to 4) or are equal, the mask counts as
 * displayed unless the session says "stored", or the mask shows the photo and lies as the stored rows do (mask_kind.c).
 * Shapes may differ as in mask_fit().
 */
#ifndef MODELS_MASK_MASK_ORIENTATION_H
#define MODELS_MASK_MASK_ORIENTATION_H

#include <stdbool.h>

#include "kernels/base/err.h"

enum mask_orientation {
    MASK_ORIENTATION_ANY, /* of wishes: not said */
    MASK_DISPLAYED,
    MASK_STORED,
    MASK_ORIENTATION_UNKNOWN /* of wishes: a word that is none of these */
};

struct mask_sides {
    int photo_width, photo_height; /* pixels, as displayed */
    int photo_orientation;         /* of the photo's file */
    int mask_width, mask_height;   /* pixels, as stored */
    int mask_orientation;          /* of the mask's own Exif data; 1: none */
};

struct mask_turn {
    enum mask_orientation orientation; /* DISPLAYED or STORED */
    int turn;                          /* for image_orient(), from the mask's rows as stored */
};

const char *mask_orientation_word(enum mask_orientation orientation);
enum mask_orientation mask_orientation_of_word(const char *word); /* UNKNOWN for any other word */

/* ERR_MASK_SIZE: no turn makes the shapes equal, or not the one that is wished; ERR_MASK_AMBIGUOUS: an unknown wish. */
MUST_CHECK enum err_code mask_choose_turn(const struct mask_sides *sides, enum mask_orientation wish,
                                          struct mask_turn *ret, struct err *err);

#endif
