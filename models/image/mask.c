#include "models/image/mask.h"

#include <string.h>

#include "models/image/resize.h"

enum err_code image_to_grey(struct arena *a, const struct image *src, struct image *ret, struct err *err)
{
    size_t n = (size_t)src->width * (size_t)src->height;
    struct image grey;
    enum err_code rc;

    if (src->channels == 1) {
        *ret = *src;
        return ERR_OK;
    }
    rc = image_new(a, src->width, src->height, 1, &grey, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *p = src->pixels + 3 * i;
        grey.pixels[i] = (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 32768u) >> 16);
    }
    *ret = grey;
    return ERR_OK;
}

static void threshold(uint8_t *dst, const uint8_t *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = src[i] >= MASK_THRESHOLD ? 255 : 0;
}

enum err_code mask_from_image(struct arena *a, const struct image *src, struct image *ret, struct err *err)
{
    struct image mask, grey;
    struct arena_mark scratch;
    enum err_code rc = image_new(a, src->width, src->height, 1, &mask, err);

    if (rc)
        return rc;
    scratch = arena_mark(a);
    rc = image_to_grey(a, src, &grey, err);
    if (!rc) {
        threshold(mask.pixels, grey.pixels, image_bytes(&mask));
        *ret = mask;
    }
    arena_rewind(a, scratch);
    return rc;
}

/* |mask ratio - photo ratio|, multiplied out so that nothing is divided. */
static bool same_shape(const struct image *mask, int width, int height)
{
    int64_t across = (int64_t)mask->width * height, down = (int64_t)mask->height * width;
    int64_t apart = across > down ? across - down : down - across;
    int64_t one_pixel = width > height ? width : height;

    return apart <= across / 100 || apart <= one_pixel;
}

enum err_code mask_fit(struct arena *a, const struct image *mask, int width, int height, struct image *ret,
                       struct err *err)
{
    enum err_code rc;

    if (mask->width == width && mask->height == height) {
        *ret = *mask;
        return ERR_OK;
    }
    if (!same_shape(mask, width, height))
        return err_set(err, ERR_MASK_SIZE, "mask of %d x %d pixels for a photo of %d x %d", mask->width, mask->height,
                       width, height);
    rc = image_resize(a, mask, width, height, ret, err);
    if (!rc)
        threshold(ret->pixels, ret->pixels, image_bytes(ret));
    return rc;
}

/* ORs n source pixels into the cells they touch: pixel i covers [i * n_out / n_in, (i + 1) * n_out / n_in). */
static void cover_row(uint8_t *dst, int n_out, const uint8_t *src, int n_in)
{
    for (int i = 0; i < n_in; i++) {
        int64_t first = (int64_t)i * n_out / n_in, end = ((int64_t)(i + 1) * n_out + n_in - 1) / n_in;

        if (src[i])
            memset(dst + first, 255, (size_t)(end - first));
    }
}

enum err_code mask_cover(struct arena *a, const struct image *mask, int width, int height, struct image *ret,
                         struct err *err)
{
    struct image cover;
    enum err_code rc = image_new(a, width, height, 1, &cover, err);

    if (rc)
        return rc;
    for (int y = 0; y < mask->height; y++) {
        int64_t first = (int64_t)y * height / mask->height;
        int64_t end = ((int64_t)(y + 1) * height + mask->height - 1) / mask->height;

        for (int64_t row = first; row < end; row++)
            cover_row(cover.pixels + row * width, width, mask->pixels + (int64_t)y * mask->width, mask->width);
    }
    *ret = cover;
    return ERR_OK;
}

struct mask_extent mask_extent(const struct image *mask)
{
    struct mask_extent e = { .left = mask->width, .top = mask->height };

    for (int y = 0; y < mask->height; y++) {
        const uint8_t *row = mask->pixels + (size_t)y * (size_t)mask->width;

        for (int x = 0; x < mask->width; x++) {
            if (!row[x])
                continue;
            e.n_set++;
            e.left = x < e.left ? x : e.left;
            e.right = x + 1 > e.right ? x + 1 : e.right;
            e.top = y < e.top ? y : e.top;
            e.bottom = y + 1;
        }
    }
    return e.n_set ? e : (struct mask_extent){ 0 };
}
