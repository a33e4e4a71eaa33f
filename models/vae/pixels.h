/*
 * pixels - a picture's bytes <-> the f32 values that the VAE takes and gives.
 * Source: diffusers image_processor.py; MODEL.md 1.3, 1.16.
 */
#ifndef MODELS_VAE_PIXELS_H
#define MODELS_VAE_PIXELS_H

#include "models/image/image.h"

/* ret [H, W, 3], the caller's: 2 (u / 255) - 1 for each byte u of an RGB picture. */
void pixels_to_vae(const struct image *rgb, float *ret);

/* In place on n values: 0.5 v + 0.5, clamped to 0 .. 1; NaN becomes 0. */
void pixels_from_vae(float *v, int64_t n);
/* ret, n bytes, the caller's: 255 v, rounded half to even; v within 0 .. 1. */
void pixels_to_bytes(const float *v, int64_t n, uint8_t *ret);

#endif
