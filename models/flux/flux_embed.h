/*
 * flux_embed - the sinusoids of time and guidance, 256 wide, cosines first.
 *
 *   ret[i] = cos(arg * f_i), ret[128 + i] = sin(arg * f_i),   f_i = exp(-ln(10000) * i / 128)
 *
 * arg is 1000 * sigma or 1000 * guidance, in f32. It reaches 30000 rad, where the last bit of f_i shows in the
 * output: so the 128 frequencies are stored as torch's CPU exp() rounds them, the product is rounded to f32, and sine
 * and cosine are taken of that product with full range reduction. Computed in f32 on every backend.
 * Source: diffusers embeddings.py (flip_sin_to_cos, no frequency shift); Vaswani et al. 2017.
 */
#ifndef MODELS_FLUX_FLUX_EMBED_H
#define MODELS_FLUX_FLUX_EMBED_H

enum { FLUX_SINUSOID = 256 };

/* The sinusoids of one argument. */
void flux_sinusoid(float arg, float ret[FLUX_SINUSOID]);

#endif
