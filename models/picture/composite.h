/*
 * composite - how far what the model painted reaches beyond the mask, and its blending into the photo.
 *
 * An object has a soft edge, and a mask is rarely exact. So the model does not see the photo within `grow` pixels of
 * the mask (struct paste_edge), and its picture is pasted beyond the mask, too:
 *
 *   distance d from the mask's edge        0 ........ paste - feather ........ paste ....... grow
 *   share of what was painted              1          1   a smooth ramp        0   the photo
 *   what the model sees                    nothing, up to grow
 *
 * `paste` stays one painted pixel away from `grow`, because the model's picture at the edge of its hole is a mixture.
 * The mask's edge is half a pixel beyond the centre of its last pixel.
 *
 * The blending is in float and rounded once.
 */
#ifndef MODELS_PICTURE_COMPOSITE_H
#define MODELS_PICTURE_COMPOSITE_H

#include "models/image/resample.h"
#include "models/mask/distance.h"

struct paste_edge {
    int grow;              /* pixels of the photo, up to DISTANCE_MOST */
    double paste, feather; /* pixels of the photo */
};

/* For a photo whose longer side has long_side pixels and is painted at `scale`. grow_px and feather_px are wishes; 0:
 * chosen here. `grow` is enlarged where the other two need that. */
struct paste_edge paste_edge_choose(int long_side, double scale, int grow_px, int feather_px);

/* The share of what was painted, 0 to 1, at a squared distance between centres (distance.h). */
float paste_share(const struct paste_edge *e, uint16_t squared);

/* The shares of all squared distances up to grow * grow, by the distance; beyond, the share is 0. From the arena. */
MUST_CHECK enum err_code paste_shares(struct arena *a, const struct paste_edge *e, float **ret, struct err *err);

/*
 * photo    [H, W, 3]  changed in place, only where the share is not 0
 * painted             the part `box` of the photo, painted, in the photo's own colours
 * distance [h, w]     of the box, measured up to e->grow
 * Errors  ERR_INVALID shapes that do not fit; ERR_NOMEM
 */
MUST_CHECK enum err_code composite(struct arena *a, struct image *photo, struct image_box box,
                                   const struct image_f32 *painted, const uint16_t *distance,
                                   const struct paste_edge *e, struct err *err);

#endif
