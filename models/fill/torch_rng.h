/*
 * torch_rng - the normal numbers of torch's CPU generator, in its order: MT19937, 24-bit uniforms, Box-Muller over
 * blocks of 16 in f32.
 *
 * The seed is taken modulo 2^32. torch's bf16 draw is this draw, rounded. Values differ from torch's by at most 3 ulp,
 * 2.4e-7, because torch has its own log and sincos.
 * Source: PyTorch DistributionTemplates.h; Matsumoto & Nishimura 1998; MODEL.md 1.10.
 */
#ifndef MODELS_FILL_TORCH_RNG_H
#define MODELS_FILL_TORCH_RNG_H

#include <stddef.h>
#include <stdint.h>

enum { TORCH_RNG_STATE = 624, TORCH_RNG_BLOCK = 16 };

struct torch_rng {
    uint32_t state[TORCH_RNG_STATE];
    int next;
};

void torch_rng_seed(struct torch_rng *r, uint64_t seed);
uint32_t torch_rng_u32(struct torch_rng *r);

/* torch.randn of n >= TORCH_RNG_BLOCK values (asserted: torch draws smaller tensors in another way). */
void torch_rng_normals(struct torch_rng *r, float *dst, size_t n);
void torch_rng_discard_normals(struct torch_rng *r, size_t n); /* as if n had been drawn */

#endif
