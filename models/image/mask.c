#include "models/image/mask.h"

#include <string.h>

#include "kernels/base/processor.h"
#include "models/image/resize.h"

EVERY_PROCESSOR static void grey_of(uint8_t *grey, const uint8_t *rgb, size_t n)
{
    for (size_t i = 0; i < n; i++)
        grey[i] = mask_grey(rgb + 3 * i);
}

enum err_code image_to_grey(struct arena *a, const struct image *src, struct image *ret, struct err *err)
{
    size_t n = (size_t)src->width * (size_t)src->height;
    struct image grey;

    if (src->channels == 1) {
        *ret = *src;
        return ERR_OK;
    }
    TRY(image_new(a, src->width, src->height, 1, &grey, err));
    grey_of(grey.pixels, src->pixels, n);
    *ret = grey;
    return ERR_OK;
}

EVERY_PROCESSOR static void threshold(uint8_t *dst, const uint8_t *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = mask_marks(src[i]) ? 255 : 0;
}

static enum err_code mark_pixels(struct arena *a, const struct image *src, const struct image *mask, struct err *err)
{
    ARENA_SCRATCH(a);
    struct image grey;

    TRY(image_to_grey(a, src, &grey, err));
    threshold(mask->pixels, grey.pixels, image_bytes(mask));
    return ERR_OK;
}

enum err_code mask_from_image(struct arena *a, const struct image *src, struct image *ret, struct err *err)
{
    struct image mask;

    TRY(image_new(a, src->width, src->height, 1, &mask, err));
    TRY(mark_pixels(a, src, &mask, err));
    *ret = mask;
    return ERR_OK;
}

/* Compares the aspect ratios, multiplied out to avoid a division. */
bool mask_has_shape(int mask_width, int mask_height, int width, int height)
{
    int64_t across = (int64_t)mask_width * height, down = (int64_t)mask_height * width;
    int64_t apart = across > down ? across - down : down - across;
    int64_t one_pixel = width > height ? width : height;

    return apart <= across / 100 || apart <= one_pixel;
}

enum err_code mask_fit(struct arena *a, const struct image *mask, int width, int height, struct image *ret,
                       struct err *err)
{
    if (!mask_has_shape(mask->width, mask->height, width, height))
        return err_set(err, ERR_MASK_SIZE, "%d x %d pixels, but the photo has %d x %d: the aspect ratios differ",
                       mask->width, mask->height, width, height);
    TRY(image_resize(a, mask, width, height, ret, err));
    threshold(ret->pixels, ret->pixels, image_bytes(ret));
    return ERR_OK;
}

/* The cells that input i touches along one axis: [i * n_out / n_in, (i + 1) * n_out / n_in), rounded outwards. */
struct cells {
    int first, end;
};

static struct cells cells_of(int i, int n_in, int n_out)
{
    return (struct cells){ (int)((int64_t)i * n_out / n_in), (int)(((int64_t)(i + 1) * n_out + n_in - 1) / n_in) };
}

/* Marks the cells that the marked pixels of a row touch; columns[i] is what pixel i touches. */
static void cover_row(uint8_t *dst, const uint8_t *src, int n, const struct cells *columns)
{
    for (int i = 0; i < n; i++)
        if (src[i])
            memset(dst + columns[i].first, 255, (size_t)(columns[i].end - columns[i].first));
}

static enum err_code cover_box(struct arena *a, const struct image *mask, struct image_box box,
                               const struct image *cover, struct err *err)
{
    ARENA_SCRATCH(a);
    int n = box_width(box);
    struct cells *columns = NULL;

    TRY(arena_alloc(a, (size_t)n, sizeof *columns, &columns, err));
    for (int i = 0; i < n; i++)
        columns[i] = cells_of(box.left + i, mask->width, cover->width);
    for (int y = box.top; y < box.bottom; y++) {
        const uint8_t *row = mask->pixels + (size_t)y * (size_t)mask->width + box.left;
        struct cells rows = cells_of(y, mask->height, cover->height);

        for (int i = rows.first; i < rows.end; i++)
            cover_row(cover->pixels + (size_t)i * (size_t)cover->width, row, n, columns);
    }
    return ERR_OK;
}

enum err_code mask_cover(struct arena *a, const struct image *mask, int width, int height, struct image *ret,
                         struct err *err)
{
    struct image cover;

    TRY(image_new(a, width, height, 1, &cover, err));
    TRY(cover_box(a, mask, mask_extent(mask).box, &cover, err));
    *ret = cover;
    return ERR_OK;
}

EVERY_PROCESSOR static int count_set(const uint8_t *row, int n)
{
    int count = 0;

    for (int x = 0; x < n; x++)
        count += row[x] != 0;
    return count;
}

struct mask_extent mask_extent(const struct image *mask)
{
    struct mask_extent e = { .box = { .left = mask->width, .top = mask->height } };

    for (int y = 0; y < mask->height; y++) {
        const uint8_t *row = mask->pixels + (size_t)y * (size_t)mask->width;
        int n = count_set(row, mask->width), left = 0, right = mask->width;

        if (!n)
            continue;
        while (!row[left])
            left++;
        while (!row[right - 1])
            right--;
        e.n_set += n;
        e.box.left = left < e.box.left ? left : e.box.left;
        e.box.right = right > e.box.right ? right : e.box.right;
        e.box.top = y < e.box.top ? y : e.box.top;
        e.box.bottom = y + 1;
    }
    return e.n_set ? e : (struct mask_extent){ 0 };
}
