/*
 * bands - a smooth sky, and whether a picture of it shows bands. What was rounded once from values that only fall has
 * steps of one level, and runs of equal pixels as long as the gradient makes them; what was rounded twice, or blended
 * from pixels that had been rounded, has longer runs, larger steps, or goes back and forth.
 */
#ifndef TEST_SUPPORT_SCENES_BANDS_H
#define TEST_SUPPORT_SCENES_BANDS_H

#include "models/image/image.h"

/* The sky's levels at pixel (x, y) of a picture of `height` rows: 3 values that fall with y, a little with x, by some
 * 30 levels from top to bottom. */
void bands_sky(int x, int y, int height, float ret[3]);

/* The sky as a picture, each value rounded once. */
void bands_sky_picture(struct arena *a, int width, int height, struct image *ret);

/* Down the columns of `box`, in all channels. */
struct bands {
    int longest_run;  /* of equal pixels */
    int largest_step; /* levels between two neighbours */
    int reversals;    /* how often the level rises */
};
struct bands bands_measure(const struct image *im, struct image_box box);

/* Fails the test where `got` has bands inside `box` that the original does not have. */
void check_no_bands(const char *file, int line, const struct image *got, const struct image *original,
                    struct image_box box);
#define CHECK_NO_BANDS(got, original, box) check_no_bands(__FILE__, __LINE__, (got), (original), (box))

#endif
