#include "models/picture/composite.h"

#include <string.h>

#include "kernels/base/processor.h"
#include "models/image/mask.h"

/* A step to the side and a step across a corner, in thirds of a pixel (Borgefors 1986). */
enum { SIDE = 3, CORNER = 4 };

/*
 * Distances to the nearest pixel outside the mask, over the mask's bounding box and one more pixel on each side where
 * the picture has one. Distances are capped at `most`: beyond it the painted picture is opaque, and a byte is enough.
 * A frame one pixel wide surrounds the field. Its distances are `most`, so that the border of the picture does not
 * count as an edge.
 */
struct field {
    struct image_box marked, box; /* in the picture: the mask's box, and the field's */
    int width, height;
    size_t stride; /* bytes from one row to the next, frame included */
    uint8_t most;
    uint8_t *frame;     /* [height + 2, stride] */
    uint8_t *d;         /* the field's pixel (0, 0) in the frame */
    uint8_t *thickness; /* [height, width]: the largest d of the row within `feather` pixels */
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
    TRY(arena_alloc(a, f->stride, (size_t)f->height + 2, &f->frame, err));
    TRY(arena_alloc(a, (size_t)f->width, (size_t)f->height, &f->thickness, err));
    f->d = f->frame + f->stride + 1;
    return ERR_OK;
}

INLINE_HOT uint8_t smaller(int a, int b)
{
    return (uint8_t)(a < b ? a : b);
}

/* Lowers d[x] to what its three neighbours in the row swept before allow. */
EVERY_PROCESSOR static void relax_from_row(uint8_t *restrict d, const uint8_t *restrict before, int n)
{
    for (int x = 0; x < n; x++)
        d[x] = smaller(smaller(d[x], before[x] + SIDE), smaller(before[x - 1] + CORNER, before[x + 1] + CORNER));
}

/* Two sweeps: down and to the right, then up and to the left. Each looks at the four neighbours already swept. */
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

/* dst[i] = max(dst[i], src[i + shift]) wherever i + shift is in the row. */
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

/* n pixels from (x, y) of the field on; photo and painted point to the first of them. */
static void blend_row(const struct field *f, int x, int y, int n, uint8_t *photo, const uint8_t *painted, int feather)
{
    const uint8_t *d = f->d + (size_t)y * f->stride + x;
    uint8_t most[IMAGE_MAX_SIDE]; /* the thickness in both directions */

    memset(most, 0, (size_t)n);
    for (int k = y < feather ? -y : -feather; k <= feather && y + k < f->height; k++)
        max_shifted(most, f->thickness + (size_t)(y + k) * (size_t)f->width + x, n, 0);
    for (int i = 0; i < n; i++, photo += 3, painted += 3)
        for (int c = 0; c < 3 && d[i]; c++)
            photo[c] = d[i] == most[i] ? painted[c] : blend(photo[c], painted[c], d[i], most[i]);
}

static uint8_t *pixel(const struct image *im, int x, int y)
{
    return im->pixels + ((size_t)y * (size_t)im->width + (size_t)x) * (size_t)im->channels;
}

static void blend_marked(const struct field *f, const struct image *photo, const struct image *painted,
                         struct image_box at, int feather)
{
    const struct image_box m = f->marked;

#pragma omp parallel for schedule(static)
    for (int y = m.top; y < m.bottom; y++)
        blend_row(f, m.left - f->box.left, y - f->box.top, m.right - m.left, pixel(photo, m.left, y),
                  pixel(painted, m.left - at.left, y - at.top), feather);
}

static enum err_code check_arguments(const struct image *photo, const struct image *painted, struct image_box at,
                                     const struct image *mask, int feather, struct err *err)
{
    if (photo->channels != 3 || painted->channels != 3 || mask->channels != 1)
        return err_set(err, ERR_INVALID, "composite: photo and painted picture must be RGB, the mask grey");
    if (painted->width != at.right - at.left || painted->height != at.bottom - at.top || at.left < 0 || at.top < 0 ||
        at.right > photo->width || at.bottom > photo->height || mask->width != photo->width ||
        mask->height != photo->height)
        return err_set(err, ERR_INVALID, "composite: the sizes of photo, painted picture and mask do not fit");
    if (feather < 0 || feather > COMPOSITE_FEATHER_MAX)
        return err_set(err, ERR_INVALID, "composite: a feather of %d pixels; 0 to %d are allowed", feather,
                       COMPOSITE_FEATHER_MAX);
    return ERR_OK;
}

static bool holds(struct image_box outer, struct image_box inner)
{
    return outer.left <= inner.left && outer.top <= inner.top && outer.right >= inner.right &&
           outer.bottom >= inner.bottom;
}

enum err_code composite(struct arena *a, struct image *photo, const struct image *painted, struct image_box at,
                        const struct image *mask, int feather, struct err *err)
{
    ARENA_SCRATCH(a);
    struct field f;

    TRY(check_arguments(photo, painted, at, mask, feather, err));
    f = field_of(mask, feather);
    if (!holds(at, f.marked))
        return err_set(err, ERR_INVALID, "composite: the mask marks more than was painted");
    TRY(field_alloc(&f, a, err));
    measure_distances(&f, mask);
    measure_thickness_across(&f, feather);
    blend_marked(&f, photo, painted, at, feather);
    return ERR_OK;
}
