/*
 * patch_match - gives a painted patch the tone and the grain of the photo around it.
 *
 * First tints go (tone.h). Then what the patch lacks of the photo's grain is added: at each frequency, and between the
 * channels, the photo's power outside the hole (grain.h) less the patch's own and less what rounding to whole levels
 * will add; as noise of that spectrum (noise_tile.h) whose strength follows the brightness as the photo's does. A patch
 * that has PATCH_MATCH_ENOUGH of the power at a frequency gets nothing there; a third of that is enough for a patch
 * that repeats the photo's own detail where both can be seen, as a picture handed in for the model's may.
 *
 * In the ramp the photo's grain and the patch's are mixed, and two noises that know nothing of each other partly
 * cancel. So the noise is stronger there, by the root of (2 - share) / share: what is then pasted with that share has
 * the variance of the whole. Such values leave 0 to 255, and must be mixed before they are cut off or rounded.
 *
 * Values change only where paste is not 0, and, by tone, where the hole is set. A photo without colour gets noise
 * without colour. The same arguments give the same bits.
 *
 * Errors  ERR_INVALID a size below 1 or a side above IMAGE_MAX_SIDE; ERR_NOMEM. A patch that cannot be matched is no
 *         error: the record says why. Takes up to 12 MB and 0.6 bytes a pixel, and gives them back.
 */
#ifndef MODELS_PATCH_PATCH_MATCH_H
#define MODELS_PATCH_PATCH_MATCH_H

#include "models/patch/grain.h"
#include "models/patch/patch_area.h"
#include "models/patch/tone.h"

#define PATCH_MATCH_ENOUGH 0.8 /* of the power */

enum patch_match_outcome {
    PATCH_MATCH_ADDED,     /* grain was added */
    PATCH_MATCH_ENOUGH_OF, /* the patch has as much as the photo */
    PATCH_MATCH_NO_BLOCKS, /* too little of the photo around the hole is flat */
    PATCH_MATCH_TEXTURE,   /* what is around the hole is texture, and no grain can be seen in it */
    PATCH_MATCH_TOO_SMALL  /* the hole is too small to measure the patch */
};

struct patch_match {
    struct tone tone;
    enum patch_match_outcome outcome;
    double sigma_photo;  /* of the photo's grain at the patch's brightness, luma, levels; 0: not known */
    double sigma_before; /* of the patch */
    double sigma_after;  /* of the patch as it will be once it is rounded; sigma_before where nothing was added */
};

/* A word for a record: "added", "enough", "no-flat-blocks", "texture", "too-small". */
const char *patch_match_word(enum patch_match_outcome outcome);

MUST_CHECK enum err_code patch_match(struct arena *a, const struct patch_area *area, uint64_t seed,
                                     struct patch_match *ret, struct err *err);

#endif
