#include "models/image/image.h"

#include <string.h>

enum err_code image_check_size(int64_t width, int64_t height, struct err *err)
{
    if (width < 1 || height < 1)
        return err_set(err, ERR_INVALID, "picture: %lld x %lld pixels", (long long)width, (long long)height);
    if (width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE || width * height > IMAGE_MAX_PIXELS)
        return err_set(err, ERR_TOO_LARGE, "picture: %lld x %lld pixels; at most %d a side and %d in all",
                       (long long)width, (long long)height, IMAGE_MAX_SIDE, IMAGE_MAX_PIXELS);
    return ERR_OK;
}

enum err_code image_new(struct arena *a, int width, int height, int channels, struct image *ret, struct err *err)
{
    struct image im = { .width = width, .height = height, .channels = channels };
    enum err_code rc = image_check_size(width, height, err);

    if (rc)
        return rc;
    if (channels != 1 && channels != 3)
        return err_set(err, ERR_INVALID, "picture: %d channels", channels);
    rc = arena_alloc(a, image_bytes(&im), 1, &im.pixels, err);
    if (!rc)
        *ret = im;
    return rc;
}

enum err_code image_to_rgb(struct arena *a, const struct image *src, struct image *ret, struct err *err)
{
    struct image rgb;
    size_t n = (size_t)src->width * (size_t)src->height;
    enum err_code rc;

    if (src->channels == 3) {
        *ret = *src;
        return ERR_OK;
    }
    rc = image_new(a, src->width, src->height, 3, &rgb, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++)
        memset(rgb.pixels + 3 * i, src->pixels[i], 3);
    *ret = rgb;
    return ERR_OK;
}
