#include "models/patch/patch_match.h"

#include <math.h>

#include "kernels/base/processor.h"
#include "models/image/image.h"
#include "models/patch/noise_tile.h"

#define LACKS_ALL     0.75       /* of what is enough: what has less gets all that is missing */
#define REPEAT_ENOUGH 0.3        /* of the power, where the patch repeats the photo */
#define REPEAT_ALIKE  0.9        /* correlation of two that are the same picture */
#define REPEAT_POWER  0.7        /* of the photo's fine detail */
#define ROUNDING      (1.0 / 12) /* the variance that rounding adds to a channel */
#define SLOWEST_RATIO 2.0        /* the slowest waves' power to the next: more is shading, not grain */
#define BLOCKS_LEAST  1.0        /* of the patch, side by side */

const char *patch_match_word(enum patch_match_outcome outcome)
{
    static const char *const words[] = { "added", "enough", "no-flat-blocks", "texture", "too-small" };

    return words[outcome];
}

/* The fine detail of photo and patch where both show the same part of the scene. */
struct detail {
    double photo, patch, both; /* sums of squares, and of products */
};

INLINE_HOT float luma_of_photo(const uint8_t *v)
{
    return patch_luma(v[0], v[1], v[2]);
}

INLINE_HOT float luma_of_patch(const float *v)
{
    return patch_luma(v[0], v[1], v[2]);
}

static void add_detail(const struct patch_area *p, size_t i, struct detail *d)
{
    const uint8_t *o = p->photo + 3 * i;
    const float *v = p->patch + 3 * i;
    ptrdiff_t row = 3 * (ptrdiff_t)p->width;
    float a = luma_of_photo(o) -
              0.25F * (luma_of_photo(o - 3) + luma_of_photo(o + 3) + luma_of_photo(o - row) + luma_of_photo(o + row));
    float b = luma_of_patch(v) -
              0.25F * (luma_of_patch(v - 3) + luma_of_patch(v + 3) + luma_of_patch(v - row) + luma_of_patch(v + row));

    d->photo += (double)(a * a);
    d->patch += (double)(b * b);
    d->both += (double)(a * b);
}

/* Does the patch repeat the photo, down to its grain, where both can be seen? No model does, but a picture that is
 * handed in for the model's may. */
static bool repeats_photo(const struct patch_area *p)
{
    struct detail d = { 0 };

    for (int y = 1; y < p->height - 1; y++)
        for (int x = 1; x < p->width - 1; x++) {
            size_t i = (size_t)y * (size_t)p->width + (size_t)x;

            if (p->hole[i] && p->paste[i] < 255)
                add_detail(p, i, &d);
        }
    return d.both > 0 && d.both * d.both >= REPEAT_ALIKE * REPEAT_ALIKE * d.photo * d.patch &&
           d.patch >= REPEAT_POWER * d.photo;
}

/* 1 where the patch has little of the power, 0 where it has enough, between them a straight line. */
static double share_to_add(double has, double wants, double enough)
{
    double t;

    if (!(wants > 0))
        return 0;
    t = (enough - has / wants) / (enough * (1 - LACKS_ALL));
    return t < 0 ? 0 : t > 1 ? 1 : t;
}

/* Of luma and of the channels the one that lacks more counts, over a circle and its neighbours. */
static void find_shares(const struct grain_spectrum *wants, const struct grain_spectrum *has, double enough,
                        double ret[GRAIN_RADII])
{
    struct grain_power w[GRAIN_RADII], h[GRAIN_RADII];

    for (int r = 0; r < GRAIN_RADII; r++) {
        w[r] = grain_circle(wants, r);
        h[r] = grain_circle(has, r);
    }
    for (int r = 0; r < GRAIN_RADII; r++) {
        struct grain_power a = { 0 }, b = { 0 };
        double luma, channels;

        for (int k = r > 1 ? r - 1 : 1; k <= r + 1 && k < GRAIN_RADII; k++) {
            a.luma += h[k].luma;
            a.channels += h[k].channels;
            b.luma += w[k].luma;
            b.channels += w[k].channels;
        }
        luma = share_to_add(a.luma, b.luma, enough);
        channels = share_to_add(a.channels, b.channels, enough);
        ret[r] = luma > channels ? luma : channels;
    }
}

/* The bins (1, 0) and (1, 1) hold the slow waves of shading, too. They count up to a multiple of what comes next. */
static void limit_slowest(struct grain_spectrum *s)
{
    double most = SLOWEST_RATIO * grain_circle(s, 2).channels;

    for (int bin = grain_bin(1, 0); bin <= grain_bin(1, 1); bin++) {
        double *p = s->power[bin], sum = p[0] + p[1] + p[2];

        for (int k = 0; k < GRAIN_PAIRS && sum > most; k++)
            p[k] *= most / sum;
    }
}

/* What rounding will add, in units of the grain. The channels of a photo without colour are rounded alike. */
static void add_rounding(struct grain_spectrum *s, double power, bool grey)
{
    for (int bin = 1; bin < GRAIN_BINS; bin++)
        for (int k = 0; k < (grey ? GRAIN_PAIRS : 3); k++)
            s->power[bin][k] += power;
}

/* What the patch lacks, at each radius. False: nothing. */
static bool find_lack(const struct grain *photo, const struct grain_in_patch *patch, double enough,
                      struct grain_spectrum *ret)
{
    struct grain_spectrum wants = photo->spectrum, has = patch->spectrum;
    double shares[GRAIN_RADII], sum = 0;

    limit_slowest(&wants);
    add_rounding(&has, ROUNDING / (patch->sigma_photo * patch->sigma_photo), photo->grey);
    find_shares(&wants, &has, enough, shares);
    *ret = (struct grain_spectrum){ 0 };
    for (int u = 1; u <= GRAIN_HALF; u++)
        for (int v = 0; v <= u; v++) {
            int bin = grain_bin(u, v);
            double share = shares[lround(sqrt(u * u + v * v))];

            for (int k = 0; k < GRAIN_PAIRS; k++)
                ret->power[bin][k] = share * (wants.power[bin][k] - has.power[bin][k]);
            sum += share;
        }
    return sum > 0;
}

/* What a row needs to know. */
struct adding {
    const struct patch_area *area;
    const struct noise_tile *tile;
    bool grey;
    float sigma[GRAIN_SHADES]; /* by brightness */
    float by_paste[256];
};

INLINE_HOT float strength(const struct adding *g, const float *v, uint8_t paste)
{
    float l = patch_luma(v[0], v[1], v[2]);

    return g->sigma[l > 0 ? l < 255 ? (int)l : 255 : 0] * g->by_paste[paste];
}

/* Close to an end of the range grain is cut off in a photo; there the patch gets less of it. */
INLINE_HOT float room(float v, float reach)
{
    float r = v < 255 - v ? v : 255 - v;

    return r >= reach ? 1 : r > 0 ? r / reach : 0;
}

static void add_to_run(const struct adding *g, float *v, const uint8_t *paste, int n, const float noise[NOISE_STEP][3])
{
    for (int x = 0; x < n; x++, v += 3) {
        float s = strength(g, v, paste[x]), reach = 1.5F * g->sigma[GRAIN_SHADES / 2];

        for (int c = 0; c < 3; c++)
            v[c] += s * room(v[c], reach) * noise[x][g->grey ? 0 : c];
    }
}

static bool any_set(const uint8_t *v, int n)
{
    uint8_t all = 0;

    for (int i = 0; i < n; i++)
        all |= v[i];
    return all;
}

static void add_to_row(const struct adding *g, int y)
{
    const struct patch_area *p = g->area;
    const uint8_t *paste = p->paste + (size_t)y * (size_t)p->width;
    float *v = p->patch + 3 * (size_t)y * (size_t)p->width, noise[NOISE_STEP][3];

    for (int x = 0; x < p->width; x += NOISE_STEP) {
        int n = p->width - x < NOISE_STEP ? p->width - x : NOISE_STEP;

        if (!any_set(paste + x, n))
            continue;
        noise_tile_run(g->tile, x / NOISE_STEP, y, noise);
        add_to_run(g, v + 3 * x, paste + x, n, (const float(*)[3])noise);
    }
}

static void add_noise(const struct patch_area *area, const struct grain *grain, const struct noise_tile *tile)
{
    struct adding g = { .area = area, .tile = tile, .grey = grain->grey };

    for (int i = 0; i < GRAIN_SHADES; i++)
        g.sigma[i] = sqrtf(grain->variance[i]);
    for (int i = 1; i < 256; i++) /* a paste of 0 gets nothing */
        g.by_paste[i] = sqrtf((510 - (float)i) / (float)i);
#pragma omp parallel for schedule(dynamic, 8)
    for (int y = 0; y < area->height; y++)
        add_to_row(&g, y);
}

static enum err_code match_grain(struct arena *a, const struct patch_area *area, uint64_t seed,
                                 const struct grain *grain, struct patch_match *m, struct err *err)
{
    struct grain_in_patch before, after;
    struct grain_spectrum lack;
    struct noise_tile tile;

    TRY(grain_measure_patch(a, area, grain, &before, err));
    if (before.blocks < BLOCKS_LEAST) {
        m->outcome = PATCH_MATCH_TOO_SMALL;
        return ERR_OK;
    }
    m->sigma_photo = before.sigma_photo;
    m->sigma_before = m->sigma_after = before.sigma;
    m->outcome = PATCH_MATCH_ENOUGH_OF;
    if (!(before.sigma_photo > 0) ||
        !find_lack(grain, &before, repeats_photo(area) ? REPEAT_ENOUGH : PATCH_MATCH_ENOUGH, &lack))
        return ERR_OK;
    TRY(noise_tile_new(a, &lack, seed, &tile, err));
    add_noise(area, grain, &tile);
    TRY(grain_measure_patch(a, area, grain, &after, err));
    m->sigma_after = sqrt(after.sigma * after.sigma + ROUNDING * (0.299 * 0.299 + 0.587 * 0.587 + 0.114 * 0.114));
    m->outcome = PATCH_MATCH_ADDED;
    return ERR_OK;
}

static enum err_code check_size(const struct patch_area *area, struct err *err)
{
    if (area->width < 1 || area->height < 1 || area->width > IMAGE_MAX_SIDE || area->height > IMAGE_MAX_SIDE)
        return err_set(err, ERR_INVALID, "patch_match: a patch of %d x %d pixels; 1 to %d are allowed on a side",
                       area->width, area->height, IMAGE_MAX_SIDE);
    return ERR_OK;
}

enum err_code patch_match(struct arena *a, const struct patch_area *area, uint64_t seed, struct patch_match *ret,
                          struct err *err)
{
    ARENA_SCRATCH(a);
    struct patch_match m = { .outcome = PATCH_MATCH_NO_BLOCKS };
    struct grain grain;

    TRY(check_size(area, err));
    TRY(tone_measure(a, area, &m.tone, err));
    tone_apply(&m.tone, area);
    TRY(grain_measure_photo(a, area, &grain, err));
    if (grain.outcome == GRAIN_FOUND)
        TRY(match_grain(a, area, seed, &grain, &m, err));
    else if (grain.outcome == GRAIN_TEXTURE)
        m.outcome = PATCH_MATCH_TEXTURE;
    *ret = m;
    return ERR_OK;
}
