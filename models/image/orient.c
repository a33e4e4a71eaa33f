#include "models/image/orient.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "kernels/base/processor.h"

/* Where the displayed pixel (0, 0) is stored, and in which direction the stored pixels follow it. */
struct orientation {
    bool swap;                    /* displayed x runs along stored y */
    bool from_right, from_bottom; /* stored x, or y, runs backwards */
};

static const struct orientation orientations[9] = {
    /* by their Exif number */
    [1] = { false, false, false }, [2] = { false, true, false }, [3] = { false, true, true },
    [4] = { false, false, true },  [5] = { true, false, false }, [6] = { true, false, true },
    [7] = { true, true, true },    [8] = { true, true, false },
};

/* The stored pixel of the displayed (0, 0), and the bytes from one stored pixel to the next, for a displayed step to
 * the right and for one down. */
struct walk {
    const uint8_t *origin;
    ptrdiff_t step_x, step_y;
};

static struct walk walk_of(const struct image *src, const struct orientation *o)
{
    ptrdiff_t pixel = src->channels, row = pixel * src->width;
    ptrdiff_t right = o->from_right ? -pixel : pixel, down = o->from_bottom ? -row : row;
    const uint8_t *origin =
        src->pixels + (o->from_right ? row - pixel : 0) + (o->from_bottom ? row * (src->height - 1) : 0);

    return (struct walk){ origin, o->swap ? down : right, o->swap ? right : down };
}

enum { BLOCK = 32 };

INLINE_HOT void copy_block(const struct image *dst, const struct walk *w, int x0, int y0, size_t channels)
{
    int x1 = x0 + BLOCK < dst->width ? x0 + BLOCK : dst->width;
    int y1 = y0 + BLOCK < dst->height ? y0 + BLOCK : dst->height;

    for (int y = y0; y < y1; y++) {
        const uint8_t *src = w->origin + y * w->step_y + x0 * w->step_x;
        uint8_t *p = dst->pixels + ((size_t)y * (size_t)dst->width + (size_t)x0) * channels;

        for (int x = x0; x < x1; x++, src += w->step_x, p += channels)
            memcpy(p, src, channels);
    }
}

/* Block by block: a row of one picture may be a column of the other, and going down a whole column of a large picture
 * misses the cache at every pixel. */
static void copy_blocks(const struct image *dst, const struct walk *w)
{
#pragma omp parallel for schedule(static)
    for (int y0 = 0; y0 < dst->height; y0 += BLOCK)
        for (int x0 = 0; x0 < dst->width; x0 += BLOCK)
            if (dst->channels == 3)
                copy_block(dst, w, x0, y0, 3);
            else
                copy_block(dst, w, x0, y0, 1);
}

enum err_code image_orient(struct arena *a, const struct image *src, int orientation, struct image *ret,
                           struct err *err)
{
    const struct orientation *o;
    struct image dst;
    struct walk w;

    if (orientation < 1 || orientation > 8)
        return err_set(err, ERR_INVALID, "the picture has the orientation %d; 1 to 8 are allowed", orientation);
    if (orientation == 1) {
        *ret = *src;
        return ERR_OK;
    }
    o = &orientations[orientation];
    TRY(image_new(a, o->swap ? src->height : src->width, o->swap ? src->width : src->height, src->channels, &dst, err));
    w = walk_of(src, o);
    copy_blocks(&dst, &w);
    *ret = dst;
    return ERR_OK;
}

struct image_box image_box_of_last_rows(int width, int height, int rows, int orientation)
{
    const struct orientation *o = &orientations[orientation >= 1 && orientation <= 8 ? orientation : 1];
    struct image_box box = { 0, 0, o->swap ? height : width, o->swap ? width : height };

    if (rows == 0)
        return (struct image_box){ 0, 0, 0, 0 };
    if (o->swap && o->from_bottom)
        box.right = rows;
    else if (o->swap)
        box.left = height - rows;
    else if (o->from_bottom)
        box.bottom = rows;
    else
        box.top = height - rows;
    return box;
}
