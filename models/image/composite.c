#include "models/image/composite.h"

#include <string.h>

#include "models/image/mask.h"

/* A step to the pixel beside and one across a corner, in thirds of a pixel (Borgefors 1986). */
enum { SIDE = 3, CORNER = 4 };

/*
 * Distances to the nearest pixel outside the mask, over the mask's bounding box and one pixel around it where the
 * picture goes on. Never above `most`: further in the paint is opaque anyway, and a byte is enough.
 */
struct field {
    int left, top, width, height;
    uint8_t most;
    uint8_t *d, *thickness; /* [height, width] */
};

static struct field field_of(const struct image *mask, int feather)
{
    struct mask_extent e = mask_extent(mask);
    int left = e.left > 0 ? e.left - 1 : 0, top = e.top > 0 ? e.top - 1 : 0;
    int right = e.right < mask->width ? e.right + 1 : mask->width;
    int bottom = e.bottom < mask->height ? e.bottom + 1 : mask->height;

    return (struct field){
        .left = left, .top = top, .width = right - left, .height = bottom - top, .most = (uint8_t)(SIDE * (feather + 1))
    };
}

/* Beyond the field lies the border of the picture, which is no edge. */
static int distance_over(const struct field *f, int x, int y, int step)
{
    if (x < 0 || y < 0 || x >= f->width || y >= f->height)
        return f->most;
    return f->d[(size_t)y * (size_t)f->width + (size_t)x] + step;
}

/* Looks at the four neighbours that a sweep in this direction (1 down and right, -1 up and left) has passed. */
static void relax(struct field *f, int x, int y, int direction)
{
    const int seen[4] = { distance_over(f, x - direction, y, SIDE), distance_over(f, x - 1, y - direction, CORNER),
                          distance_over(f, x, y - direction, SIDE), distance_over(f, x + 1, y - direction, CORNER) };
    uint8_t *d = &f->d[(size_t)y * (size_t)f->width + (size_t)x];

    for (int i = 0; i < 4; i++)
        if (seen[i] < *d)
            *d = (uint8_t)seen[i];
}

static void measure_distances(struct field *f, const struct image *mask)
{
    for (int y = 0; y < f->height; y++)
        for (int x = 0; x < f->width; x++)
            if (mask->pixels[(size_t)(f->top + y) * (size_t)mask->width + (size_t)(f->left + x)])
                f->d[(size_t)y * (size_t)f->width + (size_t)x] = f->most;
    for (int y = 0; y < f->height; y++)
        for (int x = 0; x < f->width; x++)
            relax(f, x, y, 1);
    for (int y = f->height - 1; y >= 0; y--)
        for (int x = f->width - 1; x >= 0; x--)
            relax(f, x, y, -1);
}

/* dst[i] = max(dst[i], src[i + shift]), where that is in the row. */
static void max_shifted(uint8_t *dst, const uint8_t *src, int n, int shift)
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
            max_shifted(f->thickness + (size_t)y * n, f->d + (size_t)y * n, f->width, k);
}

static uint8_t blend(unsigned from, unsigned to, unsigned share, unsigned whole)
{
    return (uint8_t)((from * (whole - share) + to * share + whole / 2) / whole);
}

/* Row y of the field; most is scratch for the thickness in both directions. */
static void blend_row(const struct field *f, const struct image *photo, const struct image *paint, int y, int feather,
                      uint8_t *most)
{
    const uint8_t *d = f->d + (size_t)y * (size_t)f->width;
    size_t at = 3 * ((size_t)(f->top + y) * (size_t)photo->width + (size_t)f->left);

    memset(most, 0, (size_t)f->width);
    for (int k = y < feather ? -y : -feather; k <= feather && y + k < f->height; k++)
        max_shifted(most, f->thickness + (size_t)(y + k) * (size_t)f->width, f->width, 0);
    for (size_t x = 0; x < (size_t)f->width; x++)
        for (size_t c = 0; c < 3 && d[x]; c++)
            photo->pixels[at + 3 * x + c] =
                blend(photo->pixels[at + 3 * x + c], paint->pixels[at + 3 * x + c], d[x], most[x]);
}

static enum err_code check_arguments(const struct image *photo, const struct image *paint, const struct image *mask,
                                     int feather, struct err *err)
{
    if (photo->channels != 3 || paint->channels != 3 || mask->channels != 1)
        return err_set(err, ERR_INVALID, "composite: photo and paint are RGB, the mask is grey");
    if (paint->width != photo->width || paint->height != photo->height || mask->width != photo->width ||
        mask->height != photo->height)
        return err_set(err, ERR_INVALID, "composite: photo, paint and mask differ in size");
    if (feather < 0 || feather > COMPOSITE_FEATHER_MAX)
        return err_set(err, ERR_INVALID, "composite: a feather of %d pixels", feather);
    return ERR_OK;
}

enum err_code composite(struct arena *a, struct image *photo, const struct image *paint, const struct image *mask,
                        int feather, struct err *err)
{
    struct arena_mark scratch = arena_mark(a);
    enum err_code rc = check_arguments(photo, paint, mask, feather, err);
    uint8_t *most = NULL;
    struct field f;

    if (rc)
        return rc;
    f = field_of(mask, feather);
    rc = arena_alloc(a, (size_t)f.width, (size_t)f.height, &f.d, err);
    if (!rc)
        rc = arena_alloc(a, (size_t)f.width, (size_t)f.height, &f.thickness, err);
    if (!rc)
        rc = arena_alloc(a, (size_t)f.width, 1, &most, err);
    if (rc)
        goto out;
    measure_distances(&f, mask);
    measure_thickness_across(&f, feather);
    for (int y = 0; y < f.height; y++)
        blend_row(&f, photo, paint, y, feather, most);
out:
    arena_rewind(a, scratch);
    return rc;
}
