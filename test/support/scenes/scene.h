/*
 * scene - draws somebody on a ground, with or without a shadow: the photo, the mask of the figure and the truth about
 * the shadow, for models/mask/shadow.h. Light is computed in linear values; the figure's edge is that of a lens
 * (sigma 1.2 pixels), the shadow is the figure's outline laid on the ground, with a penumbra that widens with the
 * distance.
 */
#ifndef TEST_SUPPORT_SCENES_SCENE_H
#define TEST_SUPPORT_SCENES_SCENE_H

#include "models/image/image.h"

enum scene_ground { SCENE_GRASS, SCENE_SAND, SCENE_TILES, SCENE_TWO_GROUNDS, SCENE_CONCRETE, SCENE_FUR, SCENE_GROUNDS };

/* What is dark beside the figure and is no shadow of it. */
enum scene_dark {
    SCENE_NOTHING,
    SCENE_ASPHALT, /* a dark ground of the same hue that begins at the feet */
    SCENE_TILE,    /* one dark plate under the feet */
    SCENE_BLACK_PET,
    SCENE_GREY_PET,
    SCENE_BROWN_PET, /* an animal that lies at the feet */
    SCENE_LEGS,      /* dark trousers that go on below the mask */
    SCENE_MARKINGS,  /* a dark patch of a coat with soft edges */
    SCENE_FENCE,     /* soft stripes over the whole ground: the shadow of something else */
    SCENE_EVENING,   /* light that fades towards the lower edge */
    SCENE_DARKS
};
extern const char *const scene_ground_names[SCENE_GROUNDS], *const scene_dark_names[SCENE_DARKS];

struct scene {
    enum scene_ground ground;
    enum scene_dark dark;
    double light;     /* that is left in the shadow, 0 to 1, of red and green; 1: no shadow */
    double direction; /* how far the shadow leans to the right, in heights of the figure; below 0 to the left */
    double
        penumbra; /* its width at the far end, as a part of the figure's height; the sun: 0.01, an overcast sky: 0.05 */
    int mask_error; /* pixels by which the mask is larger than the figure */
    int height;     /* of the picture, pixels; its width is a quarter more */
    unsigned seed;
};

/* shadow [H, W, 1]: 255 where the shadow takes more than a tenth of the light, outside of the mask. Aborts at the end
 * of the arena. */
void scene_draw(struct arena *a, const struct scene *s, struct image *photo, struct image *mask, struct image *shadow);

#endif
