#include "models/vae/pixels.h"

#include <math.h>

#include "kernels/base/processor.h"

EVERY_PROCESSOR void pixels_to_vae(const struct image *rgb, float *ret)
{
    const uint8_t *p = rgb->pixels;
    size_t n = image_bytes(rgb);

    for (size_t i = 0; i < n; i++)
        ret[i] = 2.0f * ((float)p[i] / 255.0f) - 1.0f;
}

/* NaN becomes 0. */
INLINE_HOT float within_0_1(float x)
{
    x = x > 0 ? x : 0;
    return x < 1 ? x : 1;
}

EVERY_PROCESSOR void pixels_from_vae(float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        v[i] = within_0_1(0.5f * v[i] + 0.5f);
}

EVERY_PROCESSOR void pixels_to_bytes(const float *v, int64_t n, uint8_t *ret)
{
    for (int64_t i = 0; i < n; i++)
        ret[i] = (uint8_t)(int)rintf(255.0f * v[i]);
}
