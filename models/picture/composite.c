#include "models/picture/composite.h"

#include <math.h>

#include "kernels/base/processor.h"

enum { GROW_LEAST = 8, FULL_LEAST = 4 }; /* pixels */

static const double grow_share = 0.004; /* of the longer side */

struct paste_edge paste_edge_choose(int long_side, double scale, int grow_px, int feather_px)
{
    const double painted_pixel = fmax(1 / scale, 1);
    double grow = grow_px ? grow_px : fmax(GROW_LEAST, round(grow_share * long_side));
    double feather = feather_px ? feather_px : fmax(2, 2 / scale);
    double needed = ceil(feather + FULL_LEAST + painted_pixel - 1e-9);

    grow = fmin(fmax(grow, needed), DISTANCE_MOST);
    return (struct paste_edge){ (int)grow, fmax(grow - painted_pixel, 1),
                                fmin(feather, fmax(grow - painted_pixel, 1)) };
}

float paste_share(const struct paste_edge *e, uint16_t squared)
{
    double from_edge = sqrt(squared) - 0.5, t = (from_edge - (e->paste - e->feather)) / e->feather;

    if (squared == DISTANCE_FAR || t >= 1)
        return 0;
    return t <= 0 ? 1 : (float)(1 - t * t * (3 - 2 * t));
}

enum err_code paste_shares(struct arena *a, const struct paste_edge *e, float **ret, struct err *err)
{
    const int n = e->grow * e->grow + 1;

    TRY(arena_alloc(a, (size_t)n, sizeof **ret, ret, err));
    for (int i = 0; i < n; i++)
        (*ret)[i] = paste_share(e, (uint16_t)i);
    return ERR_OK;
}

INLINE_HOT uint8_t to_byte(float level)
{
    return (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : lrintf(level));
}

EVERY_PROCESSOR static void blend_row(uint8_t *photo, const float *painted, const uint16_t *distance, int n,
                                      const float *share, int most)
{
    for (int x = 0; x < n; x++, photo += 3, painted += 3) {
        float s = distance[x] <= most ? share[distance[x]] : 0;

        for (int c = 0; c < 3 && s > 0; c++)
            photo[c] = to_byte((float)photo[c] + s * (painted[c] - (float)photo[c]));
    }
}

static enum err_code check(const struct image *photo, struct image_box box, const struct image_f32 *painted,
                           const struct paste_edge *e, struct err *err)
{
    if (photo->channels != 3 || box.left < 0 || box.top < 0 || box.right > photo->width || box.bottom > photo->height ||
        painted->width != box_width(box) || painted->height != box_height(box))
        return err_set(err, ERR_INVALID, "composite: the sizes of photo, box and painted picture do not fit");
    if (e->grow < 1 || e->grow > DISTANCE_MOST || !(e->feather > 0) || !(e->paste >= e->feather))
        return err_set(err, ERR_INVALID, "composite: an edge of %d, %g and %g pixels", e->grow, e->paste, e->feather);
    return ERR_OK;
}

enum err_code composite(struct arena *a, struct image *photo, struct image_box box, const struct image_f32 *painted,
                        const uint16_t *distance, const struct paste_edge *e, struct err *err)
{
    ARENA_SCRATCH(a);
    const size_t n = (size_t)painted->width, stride = 3 * (size_t)photo->width;
    float *share = NULL;

    TRY(check(photo, box, painted, e, err));
    TRY(paste_shares(a, e, &share, err));
#pragma omp parallel for schedule(static)
    for (int y = 0; y < painted->height; y++)
        blend_row(photo->pixels + (size_t)(box.top + y) * stride + 3 * (size_t)box.left,
                  painted->pixels + (size_t)y * 3 * n, distance + (size_t)y * n, (int)n, share, e->grow * e->grow);
    return ERR_OK;
}
