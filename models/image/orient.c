#include "models/image/orient.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "kernels/base/processor.h"

/* Where the displayed pixel (0, 0) is stored, and which way the stored pixels run as the displayed x and y grow. */
struct turn {
    bool swap;                    /* displayed x runs along stored y */
    bool from_right, from_bottom; /* stored x and y are counted backwards */
};

static const struct turn turns[9] = {
    [1] = { false, false, false }, [2] = { false, true, false }, [3] = { false, true, true },
    [4] = { false, false, true },  [5] = { true, false, false }, [6] = { true, false, true },
    [7] = { true, true, true },    [8] = { true, true, false },
};

/* The stored pixel of displayed (0, 0), and how many bytes on from there one step right and one step down lead. */
struct walk {
    const uint8_t *origin;
    ptrdiff_t step_x, step_y;
};

static struct walk walk_of(const struct image *src, const struct turn *t)
{
    ptrdiff_t pixel = src->channels, row = pixel * src->width;
    ptrdiff_t right = t->from_right ? -pixel : pixel, down = t->from_bottom ? -row : row;
    const uint8_t *origin =
        src->pixels + (t->from_right ? row - pixel : 0) + (t->from_bottom ? row * (src->height - 1) : 0);

    return (struct walk){ origin, t->swap ? down : right, t->swap ? right : down };
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

/* Block by block: a row of one side is a column of the other, and a column of a large picture is all cache misses. */
static void copy_turned(const struct image *dst, const struct walk *w)
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
    const struct turn *t;
    struct image dst;
    struct walk w;
    enum err_code rc;

    if (orientation < 1 || orientation > 8)
        return err_set(err, ERR_INVALID, "picture: orientation %d", orientation);
    if (orientation == 1) {
        *ret = *src;
        return ERR_OK;
    }
    t = &turns[orientation];
    rc = image_new(a, t->swap ? src->height : src->width, t->swap ? src->width : src->height, src->channels, &dst, err);
    if (rc)
        return rc;
    w = walk_of(src, t);
    copy_turned(&dst, &w);
    *ret = dst;
    return ERR_OK;
}
