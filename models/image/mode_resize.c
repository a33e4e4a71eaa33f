#include "models/image/mode_resize.h"

#include <string.h>

#include "models/image/resize.h"

/* The source of each of n_out pixels. Steps are added up rather than multiplied, as in Pillow. */
static enum err_code nearest(struct arena *a, int n_in, int n_out, int **ret, struct err *err)
{
    double step = (double)n_in / n_out, at = step * 0.5;

    TRY(arena_alloc(a, (size_t)n_out, sizeof **ret, ret, err));
    for (int i = 0; i < n_out; i++) {
        (*ret)[i] = (int)at < n_in ? (int)at : n_in - 1;
        at += step;
    }
    return ERR_OK;
}

static enum err_code resize_nearest(struct arena *a, const struct image *src, int width, int height, struct image *ret,
                                    struct err *err)
{
    size_t c = (size_t)src->channels;
    struct image dst;
    int *xs = NULL, *ys = NULL;

    TRY(image_new(a, width, height, src->channels, &dst, err));
    TRY(nearest(a, src->width, width, &xs, err));
    TRY(nearest(a, src->height, height, &ys, err));
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            memcpy(dst.pixels + ((size_t)y * (size_t)width + (size_t)x) * c,
                   src->pixels + ((size_t)ys[y] * (size_t)src->width + (size_t)xs[x]) * c, c);
    *ret = dst;
    return ERR_OK;
}

/* c * a / 255, rounded */
static uint8_t weighted(unsigned c, unsigned a)
{
    unsigned v = c * a + 128;

    return (uint8_t)(((v >> 8) + v) >> 8);
}

/* Rounded down. Where alpha is 0, the weighted colour stays as it is. */
static uint8_t unweighted(unsigned c, unsigned a)
{
    unsigned v = a == 0 || a == 255 ? c : 255 * c / a;

    return (uint8_t)(v > 255 ? 255 : v);
}

/* Makes each sample of dst from that of src and the alpha of its pixel. */
static void with_alpha(const struct image *dst, const uint8_t *src, const uint8_t *alpha,
                       uint8_t (*change)(unsigned, unsigned))
{
    size_t n = image_bytes(dst), c = (size_t)dst->channels;

    for (size_t i = 0; i < n; i++)
        dst->pixels[i] = change(src[i], alpha[i / c]);
}

static enum err_code resize_weighted(struct arena *a, const struct image *src, uint8_t *alpha, int width, int height,
                                     struct image *ret, struct err *err)
{
    const struct image alpha_in = { src->width, src->height, 1, alpha };
    struct image colour, alpha_out;

    TRY(image_new(a, src->width, src->height, src->channels, &colour, err));
    with_alpha(&colour, src->pixels, alpha, weighted);
    TRY(image_resize(a, &colour, width, height, &colour, err));
    TRY(image_resize(a, &alpha_in, width, height, &alpha_out, err));
    with_alpha(&colour, colour.pixels, alpha_out.pixels, unweighted);
    *ret = colour;
    return ERR_OK;
}

enum err_code image_resize_in_mode(struct arena *a, const struct image *src, const struct image_notes *notes, int width,
                                   int height, struct image *ret, struct err *err)
{
    bool same = width == src->width && height == src->height;

    if (notes->indexed && !same)
        return resize_nearest(a, src, width, height, ret, err);
    if (notes->alpha && !same)
        return resize_weighted(a, src, notes->alpha, width, height, ret, err);
    return image_resize(a, src, width, height, ret, err);
}
