/*
 * half - f32 to f16 for code that writes blocks; inline, so that it is compiled for every processor with its caller.
 * Rounds to nearest even; from 65520 on the result is infinity, and NaN stays NaN.
 */
#ifndef KERNELS_HALF_H
#define KERNELS_HALF_H

#include <stdint.h>
#include <string.h>

#include "kernels/base/processor.h"

union word {
    uint32_t u;
    int32_t i;
    float f;
};

/* Below the normal halves, adding 0.5 leaves a last place of 2^-24, which is that of the subnormals. */
INLINE_HOT uint16_t half_of(float f)
{
    union word v = { .f = f };
    uint32_t sign = v.u >> 16 & 0x8000, magnitude = v.u & 0x7fffffff;
    union word small = { .f = (union word){ .u = magnitude }.f + 0.5f };
    uint32_t subnormal = small.u - 0x3f000000;
    uint32_t normal = (magnitude + 0xfff + (magnitude >> 13 & 1) - (112u << 23)) >> 13;
    uint32_t special = magnitude > 0x7f800000 ? 0x7e00 : 0x7c00;

    return (uint16_t)(sign | (magnitude < 0x38800000 ? subnormal : magnitude < 0x47800000 ? normal : special));
}

INLINE_HOT void put_half(uint8_t *b, float f)
{
    uint16_t h = half_of(f);

    memcpy(b, &h, sizeof h);
}

#endif
