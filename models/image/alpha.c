#include "models/image/alpha.h"

enum err_code image_copy_alpha(struct arena *a, const uint8_t *pixels, size_t n, int channels, uint8_t **ret_alpha,
                               struct err *err)
{
    size_t step = (size_t)channels + 1;
    uint8_t *alpha = NULL;

    TRY(arena_alloc(a, n, 1, &alpha, err));
    for (size_t i = 0; i < n; i++)
        alpha[i] = pixels[i * step + step - 1];
    *ret_alpha = alpha;
    return ERR_OK;
}

/* c over a background, both 0 to 255: (c * a + background * (255 - a)) / 255, rounded. */
static uint8_t over(unsigned c, unsigned a, unsigned background)
{
    return (uint8_t)((c * a + background * (255 - a) + 127) / 255);
}

/* In place: the write position never overtakes the read position. */
void image_flatten(uint8_t *pixels, size_t n, int channels, enum image_alpha alpha)
{
    const uint8_t *src = pixels;
    uint8_t *dst = pixels;

    for (size_t i = 0; i < n; i++, src += channels + 1) {
        unsigned a = alpha == IMAGE_ALPHA_DROP ? 255 : src[channels];

        for (int c = 0; c < channels; c++)
            *dst++ = over(src[c], a, alpha == IMAGE_ALPHA_ON_WHITE ? 255 : 0);
    }
}
