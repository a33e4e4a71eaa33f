#include "models/image/composite.h"

#include <string.h>

#include "kernels/base/processor.h"
#include "models/image/mask.h"

/* A step to the pixel beside and one across a corner, in thirds of a pixel (Borgefors 1986). */
enum { SIDE = 3, CORNER = 4 };

/*
 * Distances to the nearest pixel outside the mask, over the mask's bounding box and one pixel around it where the
 * picture goes on. Never above `most`: further in the paint is opaque anyway, and a byte is enough.
 * Around the field lies a frame one pixel wide, of the border of the picture, which is no edge: `most` all over.
 */
struct field {
    struct image_box marked, box; /* in the picture: the mask's own box, and this field's */
    int width, height;
    size_t stride; /* width and the frame */
    uint8_t most;
    uint8_t *frame, *d; /* [height + 2, stride], and its pixel (0, 0) of the field */
    uint8_t *thickness; /* [height, width] */
};

static struct field field_of(const struct image *mask, int feather)
{
    struct image_box b = mask_extent(mask).box;
    struct field f = { .marked = b, .most = (uint8_t)(SIDE * (feather + 1)) };

    f.box.left = b.left > 0 ? b.left - 1 : 0;
    f.box.top = b.top > 0 ? b.top - 1 : 0;
    f.box.right = b.right < mask->width ? b.right + 1 : mask->width;
    f.box.bottom = b.bottom < mask->height ? b.bottom + 1 : mask->height;
    f.width = f.box.right - f.box.left;
    f.height = f.box.bottom - f.box.top;
    f.stride = (size_t)f.width + 2;
    return f;
}

static enum err_code field_alloc(struct field *f, struct arena *a, struct err *err)
{
    enum err_code rc = arena_alloc(a, f->stride, (size_t)f->height + 2, &f->frame, err);

    if (!rc)
        rc = arena_alloc(a, (size_t)f->width, (size_t)f->height, &f->thickness, err);
    if (!rc)
        f->d = f->frame + f->stride + 1;
    return rc;
}

INLINE_HOT uint8_t smaller(int a, int b)
{
    return (uint8_t)(a < b ? a : b);
}

/* d[x] falls to what the three neighbours in the row before, as the sweep goes, allow. */
EVERY_PROCESSOR static void relax_from_row(uint8_t *restrict d, const uint8_t *restrict before, int n)
{
    for (int x = 0; x < n; x++)
        d[x] = smaller(smaller(d[x], before[x] + SIDE), smaller(before[x - 1] + CORNER, before[x + 1] + CORNER));
}

/* Two sweeps, each of which looks at the four neighbours that it has passed: down and right, then up and left. */
static void relax(struct field *f)
{
    for (int y = 0; y < f->height; y++) {
        uint8_t *d = f->d + (size_t)y * f->stride;

        relax_from_row(d, d - f->stride, f->width);
        for (int x = 0; x < f->width; x++)
            d[x] = smaller(d[x], d[x - 1] + SIDE);
    }
    for (int y = f->height - 1; y >= 0; y--) {
        uint8_t *d = f->d + (size_t)y * f->stride;

        relax_from_row(d, d + f->stride, f->width);
        for (int x = f->width - 1; x >= 0; x--)
            d[x] = smaller(d[x], d[x + 1] + SIDE);
    }
}

static void measure_distances(struct field *f, const struct image *mask)
{
    memset(f->frame, f->most, f->stride * ((size_t)f->height + 2));
    for (int y = 0; y < f->height; y++) {
        const uint8_t *marked = mask->pixels + (size_t)(f->box.top + y) * (size_t)mask->width + f->box.left;
        uint8_t *d = f->d + (size_t)y * f->stride;

        for (int x = 0; x < f->width; x++)
            d[x] = marked[x] ? f->most : 0;
    }
    relax(f);
}

/* dst[i] = max(dst[i], src[i + shift]), where that is in the row. */
EVERY_PROCESSOR static void max_shifted(uint8_t *restrict dst, const uint8_t *restrict src, int n, int shift)
{
    int begin = shift < 0 ? -shift : 0, end = shift > 0 ? n - shift : n;

    for (int i = begin; i < end; i++)
        dst[i] = dst[i] > src[i + shift] ? dst[i] : src[i + shift];
}

static void measure_thickness_across(struct field *f, int feather)
{
    size_t n = (size_t)f->width;

#pragma omp parallel for schedule(static)
    for (int y = 0; y < f->height; y++)
        for (int k = -feather; k <= feather; k++)
            max_shifted(f->thickness + (size_t)y * n, f->d + (size_t)y * f->stride, f->width, k);
}

static uint8_t blend(unsigned from, unsigned to, unsigned share, unsigned whole)
{
    return (uint8_t)((from * (whole - share) + to * share + whole / 2) / whole);
}

/* n pixels from (x, y) of the field on; photo and paint begin with the first of them. */
static void blend_row(const struct field *f, int x, int y, int n, uint8_t *photo, const uint8_t *paint, int feather)
{
    const uint8_t *d = f->d + (size_t)y * f->stride + x;
    uint8_t most[IMAGE_MAX_SIDE]; /* the thickness in both directions */

    memset(most, 0, (size_t)n);
    for (int k = y < feather ? -y : -feather; k <= feather && y + k < f->height; k++)
        max_shifted(most, f->thickness + (size_t)(y + k) * (size_t)f->width + x, n, 0);
    for (int i = 0; i < n; i++, photo += 3, paint += 3)
        for (int c = 0; c < 3 && d[i]; c++)
            photo[c] = d[i] == most[i] ? paint[c] : blend(photo[c], paint[c], d[i], most[i]);
}

static uint8_t *pixel(const struct image *im, int x, int y)
{
    return im->pixels + ((size_t)y * (size_t)im->width + (size_t)x) * (size_t)im->channels;
}

static void blend_marked(const struct field *f, const struct image *photo, const struct image *paint,
                         struct image_box at, int feather)
{
    const struct image_box m = f->marked;

#pragma omp parallel for schedule(static)
    for (int y = m.top; y < m.bottom; y++)
        blend_row(f, m.left - f->box.left, y - f->box.top, m.right - m.left, pixel(photo, m.left, y),
                  pixel(paint, m.left - at.left, y - at.top), feather);
}

static enum err_code check_arguments(const struct image *photo, const struct image *paint, struct image_box at,
                                     const struct image *mask, int feather, struct err *err)
{
    if (photo->channels != 3 || paint->channels != 3 || mask->channels != 1)
        return err_set(err, ERR_INVALID, "composite: photo and paint are RGB, the mask is grey");
    if (paint->width != at.right - at.left || paint->height != at.bottom - at.top || at.left < 0 || at.top < 0 ||
        at.right > photo->width || at.bottom > photo->height || mask->width != photo->width ||
        mask->height != photo->height)
        return err_set(err, ERR_INVALID, "composite: photo, paint and mask differ in size");
    if (feather < 0 || feather > COMPOSITE_FEATHER_MAX)
        return err_set(err, ERR_INVALID, "composite: a feather of %d pixels", feather);
    return ERR_OK;
}

static bool holds(struct image_box outer, struct image_box inner)
{
    return outer.left <= inner.left && outer.top <= inner.top && outer.right >= inner.right &&
           outer.bottom >= inner.bottom;
}

enum err_code composite(struct arena *a, struct image *photo, const struct image *paint, struct image_box at,
                        const struct image *mask, int feather, struct err *err)
{
    struct arena_mark scratch = arena_mark(a);
    enum err_code rc = check_arguments(photo, paint, at, mask, feather, err);
    struct field f;

    if (rc)
        return rc;
    f = field_of(mask, feather);
    if (!holds(at, f.marked))
        return err_set(err, ERR_INVALID, "composite: the mask marks more than was painted");
    rc = field_alloc(&f, a, err);
    if (!rc) {
        measure_distances(&f, mask);
        measure_thickness_across(&f, feather);
        blend_marked(&f, photo, paint, at, feather);
    }
    arena_rewind(a, scratch);
    return rc;
}
