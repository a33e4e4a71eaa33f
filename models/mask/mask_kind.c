#include "models/mask/mask_kind.h"

#include <math.h>
#include <string.h>

#include "models/image/mask.h"
#include "models/image/orient.h"
#include "models/mask/mask_clean.h"
#include "models/mask/mask_ground.h"
#include "models/mask/mask_levels.h"
#include "models/mask/mask_photo.h"

#define REMEDY "Please mark what is to go in white on black."

enum {
    DARK = 16,       /* the largest channel of a ground that counts as black */
    DARK_LOSSY = 40, /* the same in a lossy file */
    BRIGHT = 128,
    FAINT = 8 /* a lossy file has levels below this where it was black */
};

/* Shares of the picture, or of its frame. */
static const double FIGURE_MOST = 0.5;     /* a figure that only the frame tells from the ground marks less */
static const double FRAME_OF_GROUND = 0.9; /* and the ground has at least this much of the frame */
static const double WHITE_TOO_MUCH = 0.6;  /* MASK_MAX_SHARE by default */
static const double FRAME_OF_WHITE = 0.55; /* of white that has nearly half of the picture */
static const double GREY_MOST = 0.02;      /* of the pixels of a picture in black and white */
static const double CUT_OUT_MOST = 0.25;   /* a part of the photo that is larger may be the one to keep */
static const double CUTS_OF_FAINT = 0.02;
static const double DOTS_MOST = 0.1; /* of the marked pixels: single ones */
static const double CUTS_MOST = 0.1; /* changes along rows for each pixel: more is noise or a pattern */

static const char *const words[] = { [MASK_KIND_ANY] = "",
                                     [MASK_KIND_WHITE] = "white",
                                     [MASK_KIND_ALPHA_PAINTED] = "alpha-painted",
                                     [MASK_KIND_ALPHA_HOLE] = "alpha-hole",
                                     [MASK_KIND_INVERTED] = "inverted",
                                     [MASK_KIND_LABELS] = "labels",
                                     [MASK_KIND_PAINTED_OVER] = "painted-over",
                                     [MASK_KIND_CUT_OUT] = "cut-out",
                                     [MASK_KIND_UNKNOWN] = "" };

const char *mask_kind_word(enum mask_kind kind)
{
    return words[kind];
}

enum mask_kind mask_kind_of_word(const char *word)
{
    for (int i = MASK_KIND_WHITE; i < MASK_KIND_UNKNOWN; i++)
        if (strcmp(word, words[i]) == 0)
            return (enum mask_kind)i;
    return MASK_KIND_UNKNOWN;
}

/* One mask being read. */
struct reading {
    struct arena *arena;
    const struct mask_file *file;
    const struct mask_photo *photo;
    int turn;
    struct image mask;       /* as the file is stored; distances first, then 255 and 0 */
    struct mask_plane plane; /* the same pixels */
    struct mask_levels levels;
    struct mask_split split;
    struct mask_shape shape;
    enum mask_kind kind;
    const char *reason;
    struct err *err;
};

static int percent(double share)
{
    return (int)lround(100 * share);
}

static void decide(struct reading *r, enum mask_kind kind, const char *reason)
{
    r->kind = kind;
    r->reason = reason;
}

/* Takes the levels from the threshold on for the figure. */
static enum err_code mark_as(struct reading *r, enum mask_kind kind, const char *reason)
{
    mask_mark_levels(&r->plane, r->split.threshold, false);
    decide(r, kind, reason);
    return ERR_OK;
}

static void look(struct reading *r, bool lossy)
{
    mask_count_levels(&r->plane, &r->levels);
    r->split = mask_split_levels(&r->levels, lossy);
    if (r->split.threshold)
        r->shape = mask_see_shape(&r->plane, &r->levels, r->split.threshold, lossy);
}

static enum err_code refuse_one_colour(const struct reading *r, const uint8_t colour[3])
{
    if (mask_brightness(colour) >= BRIGHT)
        return err_set(
            r->err, ERR_MASK_FULL,
            "the mask has one bright colour all over, so it marks everything and nothing would be kept. " REMEDY);
    return err_set(r->err, ERR_MASK_EMPTY, "the mask has one dark colour all over, so it marks nothing. " REMEDY);
}

static enum err_code refuse_no_mask(const struct reading *r, const char *what)
{
    return err_set(r->err, ERR_MASK_AMBIGUOUS, "the mask looks like %s, not like marks on a plain ground. " REMEDY,
                   what);
}

/* Rounded corners, or what a large round cut-out leaves: corners without the frame between them. */
static bool is_at_corners(const struct reading *r)
{
    return r->shape.corners == 4 || (r->shape.corners >= 2 && r->shape.ring < 0.18);
}

/* ---- the file shows the photo ---- */

static enum err_code mark_paint(struct reading *r, const struct mask_likeness *l, bool invert)
{
    struct mask_paint paint = l->paint;
    struct image found;
    double share;

    paint.has_ties = invert;
    TRY(mask_find_paint(r->arena, r->file, r->photo, r->turn, &paint, &found, r->err));
    share = (double)mask_extent(&found).n_set / (double)((int64_t)found.width * found.height);
    if (share > 1.5 * l->painted + 0.01 || share < 0.5 * l->painted)
        return err_set(r->err, ERR_MASK_AMBIGUOUS,
                       "the mask shows the photo with paint of a colour that the photo has, too, so that it is not "
                       "clear where the paint ends. " REMEDY);
    r->plane.pixels = r->mask.pixels = found.pixels;
    mask_count_levels(&r->plane, &r->levels);
    r->shape = mask_see_shape(&r->plane, &r->levels, 128, false);
    if (r->shape.cuts > CUTS_MOST || r->shape.dots > DOTS_MOST)
        return refuse_no_mask(r, "the photo with a fine pattern");
    if (invert)
        mask_mark_levels(&r->plane, 128, true);
    decide(r, invert ? MASK_KIND_CUT_OUT : MASK_KIND_PAINTED_OVER,
           invert ? "a part of the photo on a flat ground" : "flat paint on the photo");
    return ERR_OK;
}

static enum err_code read_photo(struct reading *r, const struct mask_likeness *l)
{
    if (l->painted < 0.0005)
        return err_set(r->err, ERR_MASK_AMBIGUOUS,
                       "the mask shows the photo itself, with nothing painted on it. " REMEDY);
    if (r->file->index)
        return refuse_no_mask(r, "the photo in the few colours of a palette");
    if (!l->is_flat)
        return err_set(r->err, ERR_MASK_AMBIGUOUS,
                       "the mask shows the photo, and %d %% of it is different, but not in one flat colour. " REMEDY,
                       percent(l->painted));
    if (l->painted <= FIGURE_MOST && l->ring <= FIGURE_MOST)
        return mark_paint(r, l, false);
    if (l->painted >= 1 - CUT_OUT_MOST && l->ring >= FIGURE_MOST)
        return mark_paint(r, l, true);
    return err_set(r->err, ERR_MASK_AMBIGUOUS,
                   "the mask shows the photo with %d %% of it painted over; it is not clear whether that part or the "
                   "rest is to go. " REMEDY,
                   percent(l->painted));
}

/* ---- colours on a ground ---- */

static bool is_paper(const struct mask_ground *g)
{
    return mask_brightness(g->colour) <= DARK || (g->colour[0] >= 239 && g->colour[1] >= 239 && g->colour[2] >= 239);
}

/* Two levels and next to nothing between them, on black or white: the usual mask, which no photo looks like. */
static bool is_plain(const struct reading *r, const struct mask_ground *g)
{
    int64_t most = 0;

    for (int i = 1; i < 256; i++)
        most = r->levels.count[i] > most ? r->levels.count[i] : most;
    return is_paper(g) && g->n_places <= 2 && r->levels.count[0] + most >= r->levels.n - r->levels.n / 100;
}

static bool is_dark(const struct reading *r, const struct mask_ground *g)
{
    return mask_brightness(g->colour) <= (r->file->lossy ? DARK_LOSSY : DARK);
}

/* What the mask looks like where what differs from the ground is no figure; NULL: it is one. */
static const char *no_figure(const struct reading *r)
{
    const struct mask_shape *s = &r->shape;

    if (s->cuts > CUTS_MOST || s->dots > DOTS_MOST)
        return "noise or a fine pattern";
    if (r->split.lowest < FAINT && s->cuts > CUTS_OF_FAINT)
        return "noise in one dark colour";
    if (s->ground < 0.5 * (1 - s->share) || (s->soft > 1 && s->ground < 0.5))
        return "a picture of soft greys";
    if ((!r->file->lossy && r->split.n_flat == 0 && s->common < 0.9 && s->turns > 0.02) ||
        (s->common < 0.8 && s->turns > 0.05) || (s->common < 0.5 && s->soft > 0.8 && s->turns > 0.03))
        return "a photograph";
    return NULL;
}

static enum err_code refuse_frame(const struct reading *r)
{
    return err_set(r->err, ERR_MASK_AMBIGUOUS,
                   "the mask has a frame of another colour than the ground inside it, so that it is not clear what is "
                   "marked. " REMEDY);
}

/* Nothing but black and white: white is what is marked, by the oldest convention, unless white has most of the picture
 * and nearly all of its frame. */
static bool is_black_and_white(const struct mask_file *f)
{
    const int64_t n = (int64_t)f->stored.width * f->stored.height;
    const int c = f->stored.channels;
    int64_t between = 0;

#pragma omp parallel for schedule(static) reduction(+ : between)
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *p = f->stored.pixels + i * c;
        int low = p[0] < p[c / 2] ? p[0] : p[c / 2], high = p[0] > p[c / 2] ? p[0] : p[c / 2];

        low = low < p[c - 1] ? low : p[c - 1];
        high = high > p[c - 1] ? high : p[c - 1];
        between += high > DARK_LOSSY && low < 255 - DARK_LOSSY;
    }
    return !f->index && (double)between < GREY_MOST * (double)n;
}

/* Whether white is marked, for its shares of the picture and of the frame; or so much of both that it is refused as too
 * much, which says more than a doubt. Nearly half of the picture with more than half of its frame is a doubt: black
 * would be a large figure that goes out of the picture. */
static bool white_is_marked(double share, double frame)
{
    if (frame > FRAME_OF_GROUND || (share > 1 - WHITE_TOO_MUCH && share <= FIGURE_MOST && frame > FRAME_OF_WHITE))
        return false;
    return share <= FIGURE_MOST || share > WHITE_TOO_MUCH || frame <= FIGURE_MOST;
}

static enum err_code mark_white(struct reading *r, const char *reason)
{
    const struct mask_shape *s = &r->shape;

    if (s->share > WHITE_TOO_MUCH && s->ring > FIGURE_MOST)
        return err_set(
            r->err, ERR_MASK_LARGE,
            "%d %% of the photo and %d %% of its frame are marked in white, which is too much; or the mask is "
            "inverted. " REMEDY,
            percent(s->share), percent(s->ring));
    return mark_as(r, MASK_KIND_WHITE, reason);
}

static enum err_code read_on_dark(struct reading *r)
{
    const struct mask_shape *s = &r->shape;

    if (r->split.lowest >= 255 - DARK_LOSSY && is_black_and_white(r->file) && white_is_marked(s->share, s->ring))
        return mark_white(r, "a bright figure on black");
    if (s->ring > FIGURE_MOST || (s->share > 0.4 && s->ring > 0.4) || (s->share > FIGURE_MOST && s->ring > 0.3))
        return err_set(r->err, ERR_MASK_AMBIGUOUS,
                       "the mask marks %d %% of the photo and %d %% of its frame; it may be inverted. " REMEDY,
                       percent(s->share), percent(s->ring));
    if (r->split.n_flat > 1 || r->split.lowest < 64 || r->file->index)
        return mark_as(r, MASK_KIND_LABELS, "labels on a black ground");
    return mark_as(r, MASK_KIND_WHITE, "a bright figure on black");
}

static enum err_code read_on_colour(struct reading *r, const struct mask_ground *g)
{
    const struct mask_shape *s = &r->shape;
    bool bright = mask_brightness(g->colour) >= BRIGHT;

    if (bright && is_black_and_white(r->file) && white_is_marked(1 - s->share, 1 - s->ring)) {
        mask_measure_light(r->file, 0, &r->plane);
        look(r, r->file->lossy);
        return mark_white(r, "white that has most of the frame, but not of the picture");
    }
    if (1 - s->ring < FRAME_OF_GROUND || s->share >= FIGURE_MOST ||
        (!is_paper(g) && !r->file->index && s->common < 0.8))
        return err_set(r->err, ERR_MASK_AMBIGUOUS,
                       "%d %% of the mask has %s colour and %d %% has others; it is not clear which of them marks what "
                       "is to go. " REMEDY,
                       percent(1 - s->share), bright ? "one bright" : "one", percent(s->share));
    if (r->split.n_flat > 1 || r->file->index)
        return mark_as(r, MASK_KIND_LABELS, "labels on a ground that has the frame");
    if (bright)
        return mark_as(r, MASK_KIND_INVERTED, "a dark figure on a bright ground that has the frame");
    return mark_as(r, MASK_KIND_WHITE, "a figure on a ground that has the frame");
}

/* A paint through which the photo is seen, on black. */
static bool is_dim(const struct reading *r, const struct mask_likeness *l)
{
    return r->kind == MASK_KIND_PAINTED_OVER && l->paint.gain[0] > 0.1;
}

/* A photo of the night or of a white table has the ground of a mask, too: both readings must agree. */
static enum err_code read_photo_on_paper(struct reading *r, const struct mask_likeness *l)
{
    double as_figure = no_figure(r) ? -1 : r->shape.share, as_paint;

    TRY(read_photo(r, l));
    as_paint = (double)mask_extent(&r->mask).n_set / (double)r->levels.n;
    if ((as_figure >= 0 && fabs(as_figure - as_paint) > 0.15 * as_paint) ||
        (as_figure < 0 && is_dim(r, l))) /* or all but a part was dimmed */
        return err_set(r->err, ERR_MASK_AMBIGUOUS,
                       "the mask may be the photo with paint on it or a figure on a plain ground, and the two mark "
                       "different parts. " REMEDY);
    return ERR_OK;
}

static enum err_code read_colours(struct reading *r)
{
    struct mask_ground g = mask_find_ground(r->file);
    struct mask_likeness like;

    mask_measure_ground(r->file, &g, &r->plane);
    look(r, r->file->lossy);
    if (r->split.threshold == 0)
        return refuse_one_colour(r, g.colour);
    if (!is_plain(r, &g)) {
        TRY(mask_compare(r->arena, r->file, r->photo, r->turn, g.colour, &like, r->err));
        if (like.is_photo)
            return is_paper(&g) ? read_photo_on_paper(r, &like) : read_photo(r, &like);
    }
    if (no_figure(r))
        return refuse_no_mask(r, no_figure(r));
    if ((r->shape.ring < 0.1 && r->shape.inner > 0.5) || is_at_corners(r))
        return refuse_frame(r);
    return is_dark(r, &g) ? read_on_dark(r) : read_on_colour(r, &g);
}

/* ---- transparency ---- */

/* What the colours of the opaque pixels are: shares of those pixels. */
struct inks {
    int64_t n;
    double dark;
};

static struct inks see_inks(const struct mask_file *f)
{
    int64_t n_pixels = (int64_t)f->stored.width * f->stored.height, n = 0, dark = 0;
    int c = f->stored.channels;

#pragma omp parallel for schedule(static) reduction(+ : n, dark)
    for (int64_t i = 0; i < n_pixels; i++) {
        const uint8_t *p = f->stored.pixels + i * c;
        uint8_t rgb[3] = { p[0], p[c / 2], p[c - 1] };

        if (f->alpha[i] < 200)
            continue;
        n++;
        dark += mask_brightness(rgb) < 48;
    }
    return (struct inks){ n, n ? (double)dark / (double)n : 0 };
}

static int64_t sum(const int64_t *of, int from, int to)
{
    int64_t n = 0;

    for (int i = from; i <= to; i++)
        n += of[i];
    return n;
}

/* Opaque all over, or nearly: the soft edge of a few pixels says nothing. */
static bool has_alpha(struct reading *r)
{
    int64_t least = mask_least_pixels(r->file->stored.width, r->file->stored.height);

    if (!r->file->alpha)
        return false;
    mask_measure_alpha(r->file->alpha, false, &r->plane);
    mask_count_levels(&r->plane, &r->levels);
    for (int i = 0; i <= 255; i++)
        if (r->levels.count[i] > r->levels.n - least)
            return i < 8; /* one level: transparent all over, or as good as opaque */
    return sum(r->levels.count, 0, 239) >= least;
}

static enum err_code refuse_two_inks(const struct reading *r)
{
    return err_set(r->err, ERR_MASK_AMBIGUOUS,
                   "the mask has dark and bright parts and transparent ones, too, so that it is not clear which of "
                   "them mark what is to go. " REMEDY);
}

static enum err_code read_hole(struct reading *r, bool of_photo)
{
    mask_measure_alpha(r->file->alpha, true, &r->plane);
    look(r, false);
    if (r->split.threshold == 0 || r->shape.share > FIGURE_MOST || r->shape.cuts > CUTS_MOST || is_at_corners(r))
        return err_set(
            r->err, ERR_MASK_AMBIGUOUS,
            "%d %% of the mask is transparent; it is not clear whether that part or the rest is to go. " REMEDY,
            percent(r->shape.share));
    return mark_as(r, MASK_KIND_ALPHA_HOLE,
                   of_photo ? "a transparent part of the photo" : "a transparent part of an opaque sheet");
}

static enum err_code read_opaque_part(struct reading *r, bool of_photo)
{
    look(r, false);
    if (r->split.threshold == 0)
        return err_set(r->err, ERR_MASK_EMPTY, "the mask is transparent all over, so it marks nothing. " REMEDY);
    if (r->shape.cuts > CUTS_MOST)
        return refuse_no_mask(r, "noise or a fine pattern");
    if (r->shape.share > (of_photo ? CUT_OUT_MOST : FIGURE_MOST))
        return err_set(r->err, ERR_MASK_AMBIGUOUS,
                       of_photo ? "the mask keeps %d %% of the photo on a transparent ground; it is not clear whether "
                                  "that part or the rest is to go. " REMEDY
                                : "the mask covers %d %% of the photo on a transparent ground; it is not clear whether "
                                  "that part or the rest is to go. " REMEDY,
                       percent(r->shape.share));
    if (of_photo)
        return mark_as(r, MASK_KIND_CUT_OUT, "a part of the photo on a transparent ground");
    return mark_as(r, MASK_KIND_ALPHA_PAINTED, "strokes in alpha over a transparent ground");
}

/* has_alpha() has counted the levels. */
static enum err_code read_alpha(struct reading *r)
{
    double clear = (double)sum(r->levels.ring, 0, 15) / (double)r->levels.n_ring;
    double solid = (double)sum(r->levels.ring, 240, 255) / (double)r->levels.n_ring;
    struct inks inks = see_inks(r->file);
    bool two_inks = inks.dark > 0.02 && inks.dark < 0.98;
    const struct mask_ground g = mask_find_ground(r->file);
    struct mask_likeness like;

    if (sum(r->levels.count, 8, 255) == 0)
        return err_set(r->err, ERR_MASK_EMPTY, "the mask is transparent all over, so it marks nothing. " REMEDY);
    TRY(mask_compare(r->arena, r->file, r->photo, r->turn, g.colour, &like, r->err));
    if (like.is_photo && solid >= FIGURE_MOST)
        return read_hole(r, true);
    if (like.is_photo && clear >= FIGURE_MOST)
        return read_opaque_part(r, true);
    if (two_inks)
        return refuse_two_inks(r);
    if (clear >= FIGURE_MOST)
        return read_opaque_part(r, false);
    if (solid >= FRAME_OF_GROUND)
        return read_hole(r, false);
    return err_set(r->err, ERR_MASK_AMBIGUOUS,
                   "the frame of the mask is partly transparent and partly not, so that it is not clear which part "
                   "marks what is to go. " REMEDY);
}

/* ---- what the session says ---- */

static enum err_code refuse_wish(const struct reading *r, const char *why)
{
    return err_set(r->err, ERR_MASK_AMBIGUOUS, "the app says that the mask is of the kind %s, but %s. " REMEDY,
                   mask_kind_word(r->kind), why);
}

static enum err_code mark_wished(struct reading *r, bool lossy)
{
    look(r, lossy);
    if (r->split.threshold == 0)
        return refuse_wish(r, "it has the same value all over");
    return mark_as(r, r->kind, "as the session says");
}

static enum err_code read_light(struct reading *r, bool invert)
{
    mask_measure_light(r->file, invert ? 255 : 0, &r->plane);
    if (invert)
        mask_measure_alpha(r->plane.pixels, true, &r->plane);
    return mark_wished(r, r->file->lossy);
}

static enum err_code read_wished_alpha(struct reading *r, bool hole)
{
    if (!r->file->alpha)
        return refuse_wish(r, "it has no transparency");
    mask_measure_alpha(r->file->alpha, hole, &r->plane);
    return mark_wished(r, false);
}

/* The ground of labels is the first place of a palette, and black without one. */
static enum err_code read_wished_labels(struct reading *r)
{
    const struct mask_ground g = { .by_place = r->file->index != NULL, .place = r->file->index ? 0 : -1 };

    mask_measure_ground(r->file, &g, &r->plane);
    return mark_wished(r, r->file->lossy);
}

static enum err_code read_wished_photo(struct reading *r, bool cut_out)
{
    struct mask_likeness like;

    if (cut_out && r->file->alpha)
        return read_wished_alpha(r, false);
    TRY(mask_compare(r->arena, r->file, r->photo, r->turn, mask_find_ground(r->file).colour, &like, r->err));
    if (!like.is_flat || like.painted < 0.0005)
        return refuse_wish(r, "what differs from the photo is not of one flat colour");
    TRY(mark_paint(r, &like, cut_out));
    r->reason = "as the session says";
    return ERR_OK;
}

static enum err_code read_wished(struct reading *r, enum mask_kind kind)
{
    r->kind = kind;
    switch (kind) {
    case MASK_KIND_WHITE:
        return read_light(r, false);
    case MASK_KIND_INVERTED:
        return read_light(r, true);
    case MASK_KIND_ALPHA_PAINTED:
        return read_wished_alpha(r, false);
    case MASK_KIND_ALPHA_HOLE:
        return read_wished_alpha(r, true);
    case MASK_KIND_LABELS:
        return read_wished_labels(r);
    case MASK_KIND_PAINTED_OVER:
        return read_wished_photo(r, false);
    case MASK_KIND_CUT_OUT:
        return read_wished_photo(r, true);
    default:
        return err_set(r->err, ERR_MASK_AMBIGUOUS,
                       "the kind that the app names for the mask is not known; it can be white, inverted, "
                       "alpha-painted, alpha-hole, labels, painted-over or cut-out");
    }
}

static enum err_code read_kind(struct reading *r, enum mask_kind wish)
{
    if (wish != MASK_KIND_ANY)
        return read_wished(r, wish);
    return has_alpha(r) ? read_alpha(r) : read_colours(r);
}

static struct mask_sides sides_of(const struct mask_file *file, const struct mask_photo *photo)
{
    return (struct mask_sides){ photo->displayed->width, photo->displayed->height, photo->orientation,
                                file->stored.width,      file->stored.height,      file->orientation };
}

/* Where the sizes cannot say whether the mask was made for the stored rows, a mask that shows the photo says it itself.
 */
static enum err_code turn_by_content(struct reading *r, const struct mask_sides *sides, struct mask_turn *turn)
{
    const struct mask_ground g = mask_find_ground(r->file);
    struct mask_likeness now, other;
    struct mask_turn stored;
    struct err unused = { 0 };

    if (turn->turn != 1 || sides->photo_orientation == 1 || mask_choose_turn(sides, MASK_STORED, &stored, &unused))
        return ERR_OK;
    TRY(mask_compare(r->arena, r->file, r->photo, turn->turn, g.colour, &now, r->err));
    TRY(mask_compare(r->arena, r->file, r->photo, stored.turn, g.colour, &other, r->err));
    if (other.is_photo && !now.is_photo && (other.texture >= 0.1 || other.within >= 0.6))
        *turn = stored;
    return ERR_OK;
}

enum err_code mask_decide(struct arena *a, const struct mask_file *file, const struct mask_photo *photo,
                          const struct mask_wishes *wishes, struct image *ret, struct mask_decision *ret_why,
                          struct err *err)
{
    const struct mask_sides sides = sides_of(file, photo);
    struct reading r = { .arena = a, .file = file, .photo = photo, .err = err };
    struct mask_turn turn;
    struct image upright;

    TRY(mask_choose_turn(&sides, wishes->orientation, &turn, err));
    if (wishes->orientation == MASK_ORIENTATION_ANY)
        TRY(turn_by_content(&r, &sides, &turn));
    r.turn = turn.turn;
    TRY(image_new(a, file->stored.width, file->stored.height, 1, &r.mask, err));
    r.plane = (struct mask_plane){ r.mask.width, r.mask.height, r.mask.pixels };
    TRY(read_kind(&r, wishes->kind));
    TRY(image_orient(a, &r.mask, turn.turn, &upright, err));
    *ret_why = (struct mask_decision){ r.kind, turn.orientation, r.reason };
    *ret = upright;
    return ERR_OK;
}
