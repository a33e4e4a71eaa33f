#include "models/pixels.h"

#include <math.h>

void pixels_to_vae(const struct image *rgb, float *ret)
{
    for (size_t i = 0; i < image_bytes(rgb); i++)
        ret[i] = 2.0f * ((float)rgb->pixels[i] / 255.0f) - 1.0f;
}

void pixels_from_vae(float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        v[i] = fminf(fmaxf(0.5f * v[i] + 0.5f, 0), 1);
}

void pixels_to_bytes(const float *v, int64_t n, uint8_t *ret)
{
    for (int64_t i = 0; i < n; i++)
        ret[i] = (uint8_t)rintf(255.0f * v[i]);
}
