/*
 * composite - blends what the model painted into the photo, inside the mask and nowhere else.
 *
 *   photo   [H, W, 3]  changed in place; a pixel outside the mask keeps its bytes
 *   painted [h, w, 3]  the repainted picture: its part `at`, of h x w pixels, which contains every marked pixel
 *   mask    [H, W, 1]  255 repaint, 0 keep (mask.h)
 *
 * The transition is inside the mask: the painted picture's share of a pixel grows with the pixel's distance d to the
 * nearest one outside, as d / min(feather + 1, thickness), where the thickness is the largest d within `feather`
 * pixels. So a broad area has an edge of `feather` pixels, and a line one pixel wide is repainted in full. The
 * border of the picture does not count as an edge.
 *
 * Takes a little over 2 bytes a pixel of the mask's bounding box from the arena, and gives them back.
 * Errors  ERR_INVALID shapes that do not fit, feather outside 0 to COMPOSITE_FEATHER_MAX; ERR_NOMEM
 */
#ifndef MODELS_IMAGE_COMPOSITE_H
#define MODELS_IMAGE_COMPOSITE_H

#include "models/image/image.h"

enum { COMPOSITE_FEATHER_MAX = 32 }; /* pixels */

MUST_CHECK enum err_code composite(struct arena *a, struct image *photo, const struct image *painted,
                                   struct image_box at, const struct image *mask, int feather, struct err *err);

#endif
