#include "models/mask/mask_photo.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/image/mask.h"
#include "models/image/orient.h"
#include "models/image/resize.h"

enum {
    SMALL_SIDE = 320,  /* pixels of the longer side of the small pictures */
    SAME = 14,         /* levels by which equal small pictures may differ */
    DIFFERENT = 22,    /* levels by which painted ones do at least */
    SLOPE = 12,        /* levels over two pixels that are texture */
    LEAST_TEXTURE = 40 /* pixels */
};

struct small {
    struct image photo, file; /* of one size and one number of channels, as the file is stored */
    const uint8_t *opaque;    /* NULL: all */
    const uint8_t *ground;    /* [3] */
};

static int undo(int turn)
{
    return turn == 6 ? 8 : turn == 8 ? 6 : turn;
}

/* The photo at this size of the stored mask, in its channels. */
static enum err_code photo_as_stored(struct arena *a, const struct mask_photo *photo, int turn, int width, int height,
                                     int channels, struct image *ret, struct err *err)
{
    struct image resized, turned;

    TRY(image_resize(a, photo->displayed, turn >= 5 ? height : width, turn >= 5 ? width : height, &resized, err));
    TRY(image_orient(a, &resized, undo(turn), &turned, err));
    if (channels == 1)
        return image_to_grey(a, &turned, ret, err);
    *ret = turned;
    return ERR_OK;
}

static enum err_code make_small(struct arena *a, const struct mask_file *file, const struct mask_photo *photo, int turn,
                                struct small *ret, struct err *err)
{
    const struct image *m = &file->stored;
    int longer = m->width > m->height ? m->width : m->height;
    double scale = longer > SMALL_SIDE ? (double)SMALL_SIDE / longer : 1;
    int width = (int)fmax(1, lround(m->width * scale)), height = (int)fmax(1, lround(m->height * scale));
    struct small s = { .opaque = NULL };

    TRY(image_resize(a, m, width, height, &s.file, err));
    TRY(photo_as_stored(a, photo, turn, width, height, m->channels, &s.photo, err));
    if (file->alpha) {
        struct image alpha = { m->width, m->height, 1, (uint8_t *)file->alpha }, opaque;

        TRY(image_resize(a, &alpha, width, height, &opaque, err));
        s.opaque = opaque.pixels;
    }
    *ret = s;
    return ERR_OK;
}

/* The largest difference of the channels. */
static int apart(const struct small *s, size_t at)
{
    size_t c = (size_t)s->file.channels;
    int d = 0;

    for (size_t i = at * c; i < (at + 1) * c; i++) {
        int e = abs(s->file.pixels[i] - s->photo.pixels[i]);

        d = e > d ? e : d;
    }
    return d;
}

static int slope(const struct image *im, size_t at)
{
    size_t c = (size_t)im->channels, i = at * c + c / 2;

    return im->pixels[i + c] - im->pixels[i - c];
}

static bool opaque(const struct small *s, size_t at)
{
    return !s->opaque || s->opaque[at] >= 250;
}

static bool is_ground(const struct small *s, size_t at)
{
    size_t c = (size_t)s->file.channels;

    for (size_t i = 0; i < c; i++)
        if (abs(s->file.pixels[at * c + i] - s->ground[i]) > DIFFERENT)
            return false;
    return true;
}

static void compare_texture(const struct small *s, struct mask_likeness *ret)
{
    int64_t all = 0, shown = 0, within = 0, shown_within = 0;

    for (int y = 0; y < s->photo.height; y++)
        for (int x = 1; x + 1 < s->photo.width; x++) {
            size_t at = (size_t)y * (size_t)s->photo.width + (size_t)x;
            int p = slope(&s->photo, at), f;
            bool is_shown;

            if (abs(p) < SLOPE)
                continue;
            f = slope(&s->file, at);
            is_shown = opaque(s, at) && apart(s, at) <= SAME && 10 * abs(f - p) <= 4 * abs(p) + 20;
            all++;
            shown += is_shown;
            within += opaque(s, at) && !is_ground(s, at);
            shown_within += is_shown && !is_ground(s, at);
        }
    ret->texture = all ? (double)shown / (double)all : 0;
    ret->within = within ? (double)shown_within / (double)within : 0;
    ret->n_within = within;
}

static void compare_values(const struct small *s, struct mask_likeness *ret)
{
    int64_t n = 0, same = 0, painted = 0, ring = 0, n_ring = 0;

    for (int y = 0; y < s->photo.height; y++)
        for (int x = 0; x < s->photo.width; x++) {
            size_t at = (size_t)y * (size_t)s->photo.width + (size_t)x;
            bool on_ring = x == 0 || y == 0 || x == s->photo.width - 1 || y == s->photo.height - 1;
            int d = opaque(s, at) ? apart(s, at) : 0;

            n += opaque(s, at);
            same += opaque(s, at) && d <= SAME;
            painted += d >= DIFFERENT;
            n_ring += on_ring;
            ring += on_ring && d >= DIFFERENT;
        }
    ret->same = n ? (double)same / (double)n : 0;
    ret->painted = n ? (double)painted / (double)n : 0;
    ret->ring = n_ring ? (double)ring / (double)n_ring : 0;
}

/* ---- the paint ---- */

struct sums {
    double n, p, f, pp, pf;
};

static bool explained(const struct small *s, size_t at, const struct mask_paint *paint, double within)
{
    size_t c = (size_t)s->file.channels;

    for (size_t i = 0; i < c; i++)
        if (fabs(paint->gain[i] * s->photo.pixels[at * c + i] + paint->offset[i] - s->file.pixels[at * c + i]) > within)
            return false;
    return true;
}

static bool is_painted(const struct small *s, size_t at)
{
    return opaque(s, at) && apart(s, at) >= DIFFERENT;
}

/* Painted, and so are the four beside it: no mixture of paint and photo. */
static bool is_inside_paint(const struct small *s, size_t at)
{
    size_t w = (size_t)s->file.width, x = at % w, y = at / w;

    return is_painted(s, at) && x > 0 && x + 1 < w && y > 0 && y + 1 < (size_t)s->file.height &&
           is_painted(s, at - 1) && is_painted(s, at + 1) && is_painted(s, at - w) && is_painted(s, at + w);
}

/* Least squares over the painted pixels that the paint before explained; opaque: with a gain of 0. */
static struct mask_paint fit(const struct small *s, const struct mask_paint *before, double within, bool is_opaque)
{
    size_t c = (size_t)s->file.channels, n = (size_t)s->file.width * (size_t)s->file.height;
    struct mask_paint paint = { 0 };
    struct sums t[3] = { 0 };

    for (size_t at = 0; at < n; at++)
        for (size_t i = 0; i < c && is_inside_paint(s, at) && (!before || explained(s, at, before, within)); i++) {
            double p = s->photo.pixels[at * c + i], f = s->file.pixels[at * c + i];

            t[i] = (struct sums){ t[i].n + 1, t[i].p + p, t[i].f + f, t[i].pp + p * p, t[i].pf + p * f };
        }
    for (size_t i = 0; i < c && t[i].n > 0; i++) {
        double spread = t[i].pp - t[i].p * t[i].p / t[i].n;
        double gain = spread > 16 * t[i].n && !is_opaque ? (t[i].pf - t[i].p * t[i].f / t[i].n) / spread : 0;

        paint.gain[i] = fmin(fmax(gain, 0), 1);
        paint.offset[i] = (t[i].f - paint.gain[i] * t[i].p) / t[i].n;
    }
    return paint;
}

static double share_explained(const struct small *s, const struct mask_paint *paint)
{
    size_t n = (size_t)s->file.width * (size_t)s->file.height;
    int64_t painted = 0, good = 0;

    for (size_t at = 0; at < n; at++)
        if (is_inside_paint(s, at)) {
            painted++;
            good += explained(s, at, paint, SAME);
        }
    return painted ? (double)good / (double)painted : 0;
}

/* Opaque paint if that explains what differs, and a tint otherwise. */
static void find_paint(const struct small *s, struct mask_likeness *ret)
{
    static const double narrower[] = { 80, 50, 30, 20 };

    for (int is_opaque = 1; is_opaque >= 0 && !ret->is_flat; is_opaque--) {
        struct mask_paint paint = fit(s, NULL, 0, is_opaque);

        for (int i = 0; i < 4; i++)
            paint = fit(s, &paint, narrower[i], is_opaque);
        ret->paint = paint;
        ret->is_flat = share_explained(s, &paint) >= 0.85;
        for (int i = 0; i < s->file.channels; i++)
            ret->is_flat = ret->is_flat && paint.gain[i] <= 0.93;
    }
}

/* Without texture, values alone can tell, unless they are those of black or white paper. */
static bool is_it_the_photo(const struct small *s, const struct mask_likeness *l)
{
    bool is_paper = (s->ground[0] <= 16 && s->ground[1] <= 16 && s->ground[2] <= 16) ||
                    (s->ground[0] >= 239 && s->ground[1] >= 239 && s->ground[2] >= 239);

    if (l->texture >= 0.3 || (l->within >= 0.6 && l->n_within >= LEAST_TEXTURE))
        return true;
    return l->same >= 0.5 && (!is_paper || l->texture >= 0.1);
}

enum err_code mask_compare(struct arena *a, const struct mask_file *file, const struct mask_photo *photo, int turn,
                           const uint8_t ground[3], struct mask_likeness *ret, struct err *err)
{
    ARENA_SCRATCH(a);
    struct mask_likeness l = { 0 };
    struct small s;

    TRY(make_small(a, file, photo, turn, &s, err));
    s.ground = ground;
    compare_texture(&s, &l);
    compare_values(&s, &l);
    find_paint(&s, &l);
    l.is_photo = is_it_the_photo(&s, &l);
    *ret = l;
    return ERR_OK;
}

/* ---- at the size of the mask ---- */

enum { NO_WEIGHT = 128, REACH = 2, TIE = 4 /* levels */ };

/* 128 where photo and paint explain a pixel equally well, more where the paint does better. */
static void weigh_row(uint8_t *dst, const uint8_t *f, const uint8_t *p, int n, int channels,
                      const struct mask_paint *paint)
{
    for (int x = 0; x < n; x++, f += channels, p += channels) {
        double as_photo = 0, as_paint = 0;

        for (int i = 0; i < channels; i++) {
            as_photo += abs(f[i] - p[i]);
            as_paint += fabs(f[i] - paint->gain[i] * p[i] - paint->offset[i]);
        }
        if (paint->has_ties && as_paint <= TIE * channels)
            as_photo = fmax(as_photo, as_paint + 2.0 * TIE * channels);
        dst[x] = (uint8_t)(NO_WEIGHT + 0.5 + fmin(fmax((as_photo - as_paint) / channels, -60), 60));
    }
}

/* Of the weights in a column of 5 pixels, or in several columns. */
struct tally {
    int total, paint;
};

static struct tally tally_column(const struct image *weights, int y0, int y1, int x)
{
    const uint8_t *p = weights->pixels + (size_t)y0 * (size_t)weights->width + (size_t)x;
    struct tally t = { 0 };

    for (int y = y0; y <= y1; y++, p += weights->width) {
        t.total += *p - NO_WEIGHT;
        t.paint += *p > NO_WEIGHT + 2;
    }
    return t;
}

/* Marked are the pixels around which the paint explains more, and where it does so at the pixel itself or at a third of
 * those around it: where paint and photo have one colour, the paint does not grow. */
static void vote_row(const struct image *weights, int y, uint8_t *dst)
{
    int w = weights->width, y0 = y - REACH < 0 ? 0 : y - REACH;
    int y1 = y + REACH >= weights->height ? weights->height - 1 : y + REACH, n = (y1 - y0 + 1) * (2 * REACH + 1);
    const uint8_t *own = weights->pixels + (size_t)y * (size_t)w;
    struct tally last[2 * REACH + 1] = { { 0 } }, all = { 0 };

    for (int x = -REACH; x < w; x++) {
        struct tally *oldest = &last[(x + REACH) % (2 * REACH + 1)];
        struct tally next = x + REACH < w ? tally_column(weights, y0, y1, x + REACH) : (struct tally){ 0 };

        all = (struct tally){ all.total + next.total - oldest->total, all.paint + next.paint - oldest->paint };
        *oldest = next;
        if (x >= 0)
            dst[x] = all.total > 4 * n && (own[x] > NO_WEIGHT + 2 || 3 * all.paint > n) ? 255 : 0;
    }
}

static enum err_code weigh(struct arena *a, const struct mask_file *file, const struct mask_photo *photo, int turn,
                           const struct mask_paint *paint, const struct image *weights, struct err *err)
{
    ARENA_SCRATCH(a);
    const struct image *m = &file->stored;
    size_t row = (size_t)m->width * (size_t)m->channels;
    struct image stored;

    TRY(photo_as_stored(a, photo, turn, m->width, m->height, m->channels, &stored, err));
#pragma omp parallel for schedule(static)
    for (int y = 0; y < m->height; y++)
        weigh_row(weights->pixels + (size_t)y * (size_t)m->width, m->pixels + (size_t)y * row,
                  stored.pixels + (size_t)y * row, m->width, m->channels, paint);
    return ERR_OK;
}

enum err_code mask_find_paint(struct arena *a, const struct mask_file *file, const struct mask_photo *photo, int turn,
                              const struct mask_paint *paint, struct image *ret, struct err *err)
{
    const struct image *m = &file->stored;
    struct image weights, mask;

    TRY(image_new(a, m->width, m->height, 1, &mask, err));
    {
        ARENA_SCRATCH(a);

        TRY(image_new(a, m->width, m->height, 1, &weights, err));
        TRY(weigh(a, file, photo, turn, paint, &weights, err));
#pragma omp parallel for schedule(static)
        for (int y = 0; y < m->height; y++)
            vote_row(&weights, y, mask.pixels + (size_t)y * (size_t)m->width);
    }
    *ret = mask;
    return ERR_OK;
}
