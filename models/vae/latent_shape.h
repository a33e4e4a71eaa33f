/*
 * latent_shape - the shape of a picture's latents: H x W pixels become [H / 8, W / 8, 16].
 */
#ifndef MODELS_VAE_LATENT_SHAPE_H
#define MODELS_VAE_LATENT_SHAPE_H

enum {
    VAE_SCALE = 8,  /* pixels a latent, each axis */
    VAE_LATENT = 16 /* channels of a latent */
};

#endif
