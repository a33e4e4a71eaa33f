/*
 * composite - what the model painted over the photo, inside the mask and nowhere else.
 *
 *   photo [H, W, 3]  changed in place; a pixel outside the mask keeps its bytes
 *   paint [h, w, 3]  the same picture, repainted: its part `at`, h x w pixels, in which all lies that the mask marks
 *   mask  [H, W, 1]  255 repaint, 0 keep (mask.h)
 *
 * The transition from the one to the other lies inside the mask: its share grows with the distance d of a pixel to
 * the nearest one outside, d / min(feather + 1, thickness), where the thickness is the largest d within `feather`
 * pixels. So a broad area has an edge of `feather` pixels, and a line one pixel wide is repainted in full. The
 * border of the picture is no edge.
 *
 * Takes 2 bytes a pixel of the mask's bounding box and some more from the arena and gives them back.
 * Errors  ERR_INVALID shapes that do not fit, feather outside 0 to COMPOSITE_FEATHER_MAX; ERR_NOMEM
 */
#ifndef MODELS_IMAGE_COMPOSITE_H
#define MODELS_IMAGE_COMPOSITE_H

#include "models/image/image.h"

enum { COMPOSITE_FEATHER_MAX = 32 }; /* pixels */

MUST_CHECK enum err_code composite(struct arena *a, struct image *photo, const struct image *paint, struct image_box at,
                                   const struct image *mask, int feather, struct err *err);

#endif
