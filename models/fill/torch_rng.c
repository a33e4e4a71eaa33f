#include "models/fill/torch_rng.h"

#include <assert.h>
#include <math.h>

enum { SHIFT_M = 397 };

void torch_rng_seed(struct torch_rng *r, uint64_t seed)
{
    r->state[0] = (uint32_t)seed;
    for (uint32_t j = 1; j < TORCH_RNG_STATE; j++)
        r->state[j] = 1812433253u * (r->state[j - 1] ^ (r->state[j - 1] >> 30)) + j;
    r->next = TORCH_RNG_STATE;
}

static void twist(uint32_t *s)
{
    for (int j = 0; j < TORCH_RNG_STATE; j++) {
        uint32_t y = (s[j] & 0x80000000u) | (s[(j + 1) % TORCH_RNG_STATE] & 0x7fffffffu);

        s[j] = s[(j + SHIFT_M) % TORCH_RNG_STATE] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
}

uint32_t torch_rng_u32(struct torch_rng *r)
{
    uint32_t y;

    if (r->next == TORCH_RNG_STATE) {
        twist(r->state);
        r->next = 0;
    }
    y = r->state[r->next++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

static float uniform(struct torch_rng *r)
{
    return (float)(torch_rng_u32(r) & 0xffffffu) * 0x1p-24f;
}

/* Box-Muller on 16 uniforms, in place: value j is paired with value j + 8. */
static void block_to_normals(float *u)
{
    for (int j = 0; j < TORCH_RNG_BLOCK / 2; j++) {
        float radius = sqrtf(-2.0f * logf(1.0f - u[j]));
        float theta = (float)(2.0 * M_PI) * u[j + TORCH_RNG_BLOCK / 2];

        u[j] = radius * cosf(theta);
        u[j + TORCH_RNG_BLOCK / 2] = radius * sinf(theta);
    }
}

void torch_rng_normals(struct torch_rng *r, float *dst, size_t n)
{
    assert(n >= TORCH_RNG_BLOCK);
    for (size_t i = 0; i < n; i++)
        dst[i] = uniform(r);
    for (size_t i = 0; i + TORCH_RNG_BLOCK <= n; i += TORCH_RNG_BLOCK)
        block_to_normals(dst + i);
    if (n % TORCH_RNG_BLOCK) { /* the last sixteen values are drawn again and overwritten */
        float *tail = dst + n - TORCH_RNG_BLOCK;

        for (int i = 0; i < TORCH_RNG_BLOCK; i++)
            tail[i] = uniform(r);
        block_to_normals(tail);
    }
}

void torch_rng_discard_normals(struct torch_rng *r, size_t n)
{
    assert(n >= TORCH_RNG_BLOCK);
    for (size_t i = 0; i < n + (n % TORCH_RNG_BLOCK ? TORCH_RNG_BLOCK : 0); i++)
        (void)torch_rng_u32(r);
}
