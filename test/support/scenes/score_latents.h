/*
 * score_latents - the second space of features of models/score/score_windows.h: what the encoder of an autoencoder
 * makes of an edited photo.
 */
#ifndef TEST_SUPPORT_SCENES_SCORE_LATENTS_H
#define TEST_SUPPORT_SCENES_SCORE_LATENTS_H

#include "kernels/devarena.h"
#include "models/score/score_windows.h"
#include "models/vae/vae.h"

struct score_encoder {
    struct backend *be;
    struct arena arena; /* host */
    struct devarena weights, memory;
    struct vae vae;
};

/* On the processor, in f32. After an error, score_encoder_close() takes what is there. */
MUST_CHECK enum err_code score_encoder_open(struct score_encoder *e, const char *path, struct err *err);
void score_encoder_close(struct score_encoder *e);

/* The means of the latents of a picture whose sides are multiples of 8 pixels. ret's values are from `a`. */
MUST_CHECK enum err_code score_encode(struct score_encoder *e, struct arena *a, const struct image *rgb,
                                      struct score_features *ret, struct err *err);

#endif
