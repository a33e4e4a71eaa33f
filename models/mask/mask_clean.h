/*
 * mask_clean - what counts as marked: specks go, holes are filled, and a mask that marks next to nothing, everything or
 * more than may be painted is refused.
 *
 *   mask   [H, W, 1] u8, 255 repaint, 0 keep, no other value; changed in place
 *
 * A speck is a set of marked pixels that touch at sides or corners (8-connected); a hole is a set of unmarked pixels
 * that touch at sides (4-connected), at the edge of the picture, too. The whole picture is neither. Specks are judged
 * first and holes in what they leave. Rows are taken as runs, and a run takes the label of the first run above it that
 * it touches, which a second walk finds again without having kept it: memory is 4 bytes for each run, not for each
 * pixel.
 *
 * Source  Rosenfeld and Pfaltz 1966 (two walks); He, Chao and Suzuki 2008 (runs); union by size with path halving
 */
#ifndef MODELS_MASK_MASK_CLEAN_H
#define MODELS_MASK_MASK_CLEAN_H

#include <stdint.h>

#include "models/image/image.h"

struct mask_cleaning {
    int specks_removed, holes_filled;
};

/* The smallest number of marked pixels that counts in a picture of this size: max(16, 2e-5 of its pixels). */
int64_t mask_least_pixels(int width, int height);

/* Removes specks and fills holes of fewer than `least` pixels. The arena is left as it was found. */
MUST_CHECK enum err_code mask_clean(struct arena *a, const struct image *mask, int64_t least, struct mask_cleaning *ret,
                                    struct err *err);

/*
 * ERR_MASK_EMPTY fewer than mask_least_pixels() are marked, ERR_MASK_FULL all are, ERR_MASK_LARGE more than max_share
 * of them (0: no limit). The message is a plain sentence, and says both shares. *ret_share is set in any case.
 */
MUST_CHECK enum err_code mask_check_share(const struct image *mask, double max_share, double *ret_share,
                                          struct err *err);

#endif
