/*
 * latents - the host side of the transformer's image tokens: latents and masks, packed and unpacked.
 *
 * H, W pixels, multiples of 16; h = H/8, w = W/8 latents; th = h/2, tw = w/2 tokens, n = ty * tw + tx.
 * Easy to get wrong: in a packed latent the channel is the slow index and the 2x2 patch the fast one (k = 4c + 2dy +
 * dx). In a packed mask the pixel within its 8x8 cell is slow and the cell within the token fast (k = 4 (8py + px) +
 * 2dy + dx), so it is not a raster of 16x16 pixels. A latent on the host is [h, w, 16], channel last, as the VAE has
 * it; torch's is [16, h, w].
 *
 * Source: diffusers pipeline_flux_fill.py; MODEL.md 1.4 to 1.9.
 */
#ifndef MODELS_FLUX_LATENTS_H
#define MODELS_FLUX_LATENTS_H

#include <stdint.h>

#include "models/image/image.h"
#include "models/vae/latent_shape.h"

enum {
    TOKEN_SIDE = 2 * VAE_SCALE,          /* pixels a token, each axis */
    LATENT_TOKEN = 4 * VAE_LATENT,       /* latent values a token */
    MASK_TOKEN = TOKEN_SIDE * TOKEN_SIDE /* mask values a token */
};

/* z [h, w, 16] -> packed [th * tw] rows of LATENT_TOKEN values, `stride` values apart; and back. h, w even. */
void latents_pack(const float *z, int64_t h, int64_t w, float *packed, int64_t stride);
void latents_unpack(const float *packed, int64_t stride, int64_t h, int64_t w, float *z);

/* [16, h, w] -> [h, w, 16] */
void latents_from_chw(const float *chw, int64_t h, int64_t w, float *z);

/* In place on n values: (z - 0.1159) * 0.3611, what the transformer works on; and z / 0.3611 + 0.1159, what the
 * decoder takes. */
void latents_scale(float *z, int64_t n);
void latents_unscale(float *z, int64_t n);

/* Grey or RGB -> one byte a pixel, 1 = repaint (mask_marks), 0 = keep. ret [H, W], the caller's. */
void latents_binarise_mask(const struct image *mask, uint8_t *ret);

/* m [16 th, 16 tw] of 0 and 1 -> packed [th * tw] rows of MASK_TOKEN values 0 or 1, `stride` values apart. */
void latents_pack_mask(const uint8_t *m, int64_t th, int64_t tw, float *packed, int64_t stride);

#endif
