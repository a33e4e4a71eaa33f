#include "models/flux/latents.h"

#include "models/image/mask.h"

static const float vae_scaling_factor = 0.3611f, vae_shift_factor = 0.1159f;

/* Index in z [h, w, 16] of packed value k of token (ty, tx). */
static int64_t latent_index(int64_t ty, int64_t tx, int64_t k, int64_t w)
{
    int64_t c = k / 4, dy = k / 2 % 2, dx = k % 2;

    return ((2 * ty + dy) * w + 2 * tx + dx) * VAE_LATENT + c;
}

void latents_pack(const float *z, int64_t h, int64_t w, float *packed, int64_t stride)
{
    for (int64_t ty = 0; ty < h / 2; ty++)
        for (int64_t tx = 0; tx < w / 2; tx++, packed += stride)
            for (int64_t k = 0; k < LATENT_TOKEN; k++)
                packed[k] = z[latent_index(ty, tx, k, w)];
}

void latents_unpack(const float *packed, int64_t stride, int64_t h, int64_t w, float *z)
{
    for (int64_t ty = 0; ty < h / 2; ty++)
        for (int64_t tx = 0; tx < w / 2; tx++, packed += stride)
            for (int64_t k = 0; k < LATENT_TOKEN; k++)
                z[latent_index(ty, tx, k, w)] = packed[k];
}

void latents_from_chw(const float *chw, int64_t h, int64_t w, float *z)
{
    for (int64_t c = 0; c < VAE_LATENT; c++)
        for (int64_t i = 0; i < h * w; i++)
            z[i * VAE_LATENT + c] = chw[c * h * w + i];
}

void latents_scale(float *z, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        z[i] = (z[i] - vae_shift_factor) * vae_scaling_factor;
}

void latents_unscale(float *z, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        z[i] = z[i] / vae_scaling_factor + vae_shift_factor;
}

void latents_binarise_mask(const struct image *mask, uint8_t *ret)
{
    int64_t n = (int64_t)mask->width * mask->height;

    for (int64_t i = 0; i < n; i++)
        ret[i] = mask_marks(mask->channels == 3 ? mask_grey(mask->pixels + 3 * i) : mask->pixels[i]);
}

void latents_pack_mask(const uint8_t *m, int64_t th, int64_t tw, float *packed, int64_t stride)
{
    for (int64_t ty = 0; ty < th; ty++)
        for (int64_t tx = 0; tx < tw; tx++, packed += stride)
            for (int64_t k = 0; k < MASK_TOKEN; k++) {
                int64_t py = k / (4 * VAE_SCALE), px = k / 4 % VAE_SCALE, dy = k / 2 % 2, dx = k % 2;
                int64_t y = TOKEN_SIDE * ty + VAE_SCALE * dy + py, x = TOKEN_SIDE * tx + VAE_SCALE * dx + px;

                packed[k] = m[y * TOKEN_SIDE * tw + x];
            }
}
