#include "models/mask/distance.h"

#include "kernels/base/processor.h"

/* Of one row: the distances up the columns, made of those of the row before. */
EVERY_PROCESSOR static void step_down(uint16_t *restrict d, const uint16_t *restrict before,
                                      const uint8_t *restrict marked, int n, int far)
{
    for (int x = 0; x < n; x++) {
        int above = before[x] + 1;

        d[x] = (uint16_t)(marked[x] ? 0 : above < far ? above : far);
    }
}

EVERY_PROCESSOR static void step_up(uint16_t *restrict d, const uint16_t *restrict below, int n)
{
    for (int x = 0; x < n; x++)
        d[x] = d[x] < below[x] + 1 ? d[x] : (uint16_t)(below[x] + 1);
}

static const uint8_t *row_of(const struct image *mask, struct image_box box, int y)
{
    return mask->pixels + (size_t)(box.top + y) * (size_t)mask->width + box.left;
}

/* The rows of each thread are columns of its own: a strip of the box, from the top to the bottom and back. */
static void measure_down(const struct image *mask, struct image_box box, int far, uint16_t *d)
{
    enum { STRIP = 512 };
    int width = box_width(box), height = box_height(box);

#pragma omp parallel for schedule(static)
    for (int x = 0; x < width; x += STRIP) {
        int n = width - x < STRIP ? width - x : STRIP;
        uint16_t none[STRIP];
        const uint16_t *before = none;

        for (int i = 0; i < n; i++)
            none[i] = (uint16_t)far;
        for (int y = 0; y < height; y++) {
            uint16_t *row = d + (size_t)y * (size_t)width + x;

            step_down(row, before, row_of(mask, box, y) + x, n, far);
            before = row;
        }
        for (int y = height - 2; y >= 0; y--)
            step_up(d + (size_t)y * (size_t)width + x, d + (size_t)(y + 1) * (size_t)width + x, n);
    }
}

EVERY_PROCESSOR static void lower(uint32_t *restrict best, const uint32_t *restrict square, int n, uint32_t side)
{
    for (int x = 0; x < n; x++)
        best[x] = best[x] < square[x] + side ? best[x] : square[x] + side;
}

/* One row: `d` holds distances along columns, and gets squared distances. Both arrays have room for n and `most` more
 * on each side. */
static void measure_row(uint16_t *d, int n, int most, uint32_t *square, uint32_t *best)
{
    const uint32_t far = 2u * DISTANCE_FAR, limit = (uint32_t)(most * most);

    for (int x = 0; x < n; x++) {
        square[most + x] = d[x] > most ? far : (uint32_t)d[x] * d[x];
        best[x] = far;
    }
    for (int k = -most; k <= most; k++)
        lower(best, square + most + k, n, (uint32_t)(k * k));
    for (int x = 0; x < n; x++)
        d[x] = (uint16_t)(best[x] > limit ? DISTANCE_FAR : best[x]);
}

static bool any_near(const uint16_t *d, int n, int most)
{
    for (int x = 0; x < n; x++)
        if (d[x] <= most)
            return true;
    return false;
}

static enum err_code measure_across(struct arena *a, int width, int height, int most, uint16_t *d, struct err *err)
{
    ARENA_SCRATCH(a);
    size_t padded = (size_t)width + 2 * (size_t)most, n_strips = 64;
    uint32_t *rooms = NULL;
    int per_strip = (height + (int)n_strips - 1) / (int)n_strips;

    TRY(arena_alloc(a, n_strips * 2 * padded, sizeof *rooms, &rooms, err));
#pragma omp parallel for schedule(dynamic)
    for (int s = 0; s < (int)n_strips; s++) {
        uint32_t *square = rooms + (size_t)s * 2 * padded, *best = square + padded;
        int end = (s + 1) * per_strip < height ? (s + 1) * per_strip : height;

        for (size_t x = 0; x < padded; x++)
            square[x] = 2u * DISTANCE_FAR;
        for (int y = s * per_strip; y < end; y++) {
            uint16_t *row = d + (size_t)y * (size_t)width;

            if (any_near(row, width, most))
                measure_row(row, width, most, square, best);
            else
                for (int x = 0; x < width; x++)
                    row[x] = DISTANCE_FAR;
        }
    }
    return ERR_OK;
}

enum err_code distance_squared(struct arena *a, const struct image *mask, struct image_box box, int most,
                               uint16_t **ret, struct err *err)
{
    int width = box_width(box), height = box_height(box);
    uint16_t *d = NULL;

    if (box.left < 0 || box.top < 0 || box.right > mask->width || box.bottom > mask->height || width < 1 || height < 1)
        return err_set(err, ERR_INVALID, "distance: the box is not within the mask");
    if (most < 1 || most > DISTANCE_MOST)
        return err_set(err, ERR_INVALID, "distance: up to %d pixels are asked for; 1 to %d are allowed", most,
                       DISTANCE_MOST);
    TRY(arena_alloc(a, (size_t)width * (size_t)height, sizeof *d, &d, err));
    measure_down(mask, box, most + 1, d);
    TRY(measure_across(a, width, height, most, d, err));
    *ret = d;
    return ERR_OK;
}
