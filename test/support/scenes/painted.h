/*
 * painted - scenes with a painted patch, for tests: photos as cameras take them, and what a painter without grain makes
 * of them.
 *
 * The scene is a soft gradient with a hole in the middle: a disc, whose paste is a few pixels narrower and has a ramp.
 * Noise is drawn from the seed. Grain is measured here without the code under test: as the deviation of three plain
 * filters' outputs, for fine, middle and broad structure.
 */
#ifndef TEST_SUPPORT_SCENES_PAINTED_H
#define TEST_SUPPORT_SCENES_PAINTED_H

#include "models/patch/patch_area.h"
#include "test/support/check.h"

enum { PAINTED_SIDE = 300, PAINTED_PIXELS = PAINTED_SIDE * PAINTED_SIDE };

struct painted {
    float truth[PAINTED_PIXELS][3]; /* the scene without grain, levels */
    float noisy[PAINTED_PIXELS][3]; /* before it becomes bytes */
    uint8_t photo[PAINTED_PIXELS][3];
    float patch[PAINTED_PIXELS][3];
    uint8_t hole[PAINTED_PIXELS], paste[PAINTED_PIXELS];
    struct patch_area area; /* over these arrays */
};

/* A gradient from level `left` to level `right`; the patch is the scene without grain. No grain yet. */
struct painted *painted_new(float left, float right);
void painted_free(struct painted *p);

/* Adds noise: sigma levels in each channel, or the same in all; averaged over boxes of `blur` pixels on a side. */
void painted_add_noise(struct painted *p, float sigma, int blur, bool grey, unsigned seed);
/* Noise whose sigma is `base` and grows by `slope` a level of the scene. */
void painted_add_shot_noise(struct painted *p, float base, float slope, unsigned seed);
/* What JPEG does to each channel: steps of `step` in the cosine transform of blocks of 8. */
void painted_quantise(struct painted *p, float step);
void painted_expose(struct painted *p); /* noisy -> photo: whole levels from 0 to 255 */
void painted_soften(struct painted *p); /* the patch is the photo, averaged over 5 x 5 pixels */
void painted_repeat(struct painted *p); /* the patch is the photo */

/* out = photo (1 - share) + patch share, as bytes; [PAINTED_PIXELS][3], freed by the caller. */
uint8_t (*painted_compose(const struct painted *p))[3];

enum painted_structure { PAINTED_FINE, PAINTED_MIDDLE, PAINTED_BROAD, PAINTED_STRUCTURES };

/* The deviation of a filter's output where the paste is whole (`least` 255), or in the ramp from a share of `least` on,
 * over that outside the hole, 4 to 50 pixels off; in luma. */
double painted_ratio(const struct painted *p, uint8_t (*picture)[3], enum painted_structure s, int least);
double painted_change(const struct painted *p, uint8_t (*picture)[3]); /* greatest difference from the photo, levels */

#endif
