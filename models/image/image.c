#include "models/image/image.h"

#include <string.h>

enum err_code image_check_size(int64_t width, int64_t height, struct err *err)
{
    return image_check_pixels(width, height, 0, err);
}

enum err_code image_check_pixels(int64_t width, int64_t height, int64_t max_pixels, struct err *err)
{
    bool is_set = max_pixels > 0 && max_pixels < IMAGE_MAX_PIXELS;
    int64_t max = is_set ? max_pixels : IMAGE_MAX_PIXELS;
    int64_t tenths; /* of a megapixel, rounded up: a picture that is over the limit by one pixel says so, too */

    if (width < 1 || height < 1)
        return err_set(err, ERR_INVALID, "the picture has %lld x %lld pixels", (long long)width, (long long)height);
    if (width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE)
        return err_set(err, ERR_TOO_LARGE, "the picture has %lld x %lld pixels; at most %d a side are accepted",
                       (long long)width, (long long)height, IMAGE_MAX_SIDE);
    if (width * height <= max)
        return ERR_OK;
    tenths = (width * height + 99999) / 100000;
    return err_set(err, ERR_TOO_LARGE,
                   "the picture has %lld x %lld pixels, %.9g megapixels; at most %.9g megapixels are accepted%s",
                   (long long)width, (long long)height, (double)tenths / 10, 1e-6 * (double)max,
                   is_set ? " (MAX_PIXELS)" : "");
}

int image_max_rows_missing(int height)
{
    enum { BLOCK_ROWS = 16 }; /* of the usual JPEG file: what a cut takes at the least */
    int most = height / 100 > BLOCK_ROWS ? height / 100 : BLOCK_ROWS;

    return most < height / 4 ? most : height / 4;
}

enum err_code image_new(struct arena *a, int width, int height, int channels, struct image *ret, struct err *err)
{
    struct image im = { .width = width, .height = height, .channels = channels };

    TRY(image_check_size(width, height, err));
    if (channels != 1 && channels != 3)
        return err_set(err, ERR_INVALID, "the picture has %d channels; 1 or 3 are supported", channels);
    TRY(arena_alloc(a, image_bytes(&im), 1, &im.pixels, err));
    *ret = im;
    return ERR_OK;
}

enum err_code image_to_rgb(struct arena *a, const struct image *src, struct image *ret, struct err *err)
{
    struct image rgb;
    size_t n = (size_t)src->width * (size_t)src->height;

    if (src->channels == 3) {
        *ret = *src;
        return ERR_OK;
    }
    TRY(image_new(a, src->width, src->height, 3, &rgb, err));
    for (size_t i = 0; i < n; i++)
        memset(rgb.pixels + 3 * i, src->pixels[i], 3);
    *ret = rgb;
    return ERR_OK;
}
