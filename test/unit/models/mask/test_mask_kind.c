/*
 * The kinds of mask that apps, brushes and segmenters make, each with what becomes of it. A row draws a figure, which is
 * always the same, on a ground; what is marked must be the figure (intersection over union of at least 0.9), or the
 * mask is refused.
 */
#include "models/mask/mask_kind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/codec/jpeg.h"
#include "models/image/orient.h"
#include "models/image/mask.h"
#include "models/mask/mask_clean.h"
#include "test/support/check.h"
#include "test/support/pictures.h"

enum { W = 300, H = 200, PHOTO = -1, SPLIT = -2 };

/* What a part of a mask is filled with: a colour; PHOTO, the photo's own; SPLIT, two colours, left and right. */
struct ink {
    int red, green, blue;
};

#define WHITE   { 255, 255, 255 }
#define BLACK   { 0, 0, 0 }
#define RED     { 255, 0, 0 }
#define BLUE    { 0, 0, 255 }
#define GREY(v) { v, v, v }
#define SHOWN   { PHOTO, 0, 0 }

enum { NO_ALPHA = 0 }; /* of both alphas */

struct row {
    const char *name;
    struct ink figure, ground;
    int figure_alpha, ground_alpha;
    int edge;    /* pixels over which the figure fades */
    int quality; /* of a JPEG file; 0: none */
    enum mask_kind want;
    enum err_code refused;
};

#define OK(kind)     MASK_KIND_##kind, ERR_OK
#define REFUSED(why) MASK_KIND_ANY, ERR_MASK_##why

static const struct row rows[] = {
    { "white on black", WHITE, BLACK, 0, 0, 0, 0, OK(WHITE) },
    { "white on black, edges of a pixel", WHITE, BLACK, 0, 0, 1, 0, OK(WHITE) },
    { "white on black, soft", WHITE, BLACK, 0, 0, 6, 0, OK(WHITE) },
    { "white on black, very soft", WHITE, BLACK, 0, 0, 14, 0, OK(WHITE) },
    { "light grey", GREY(200), BLACK, 0, 0, 0, 0, OK(WHITE) },
    { "middle grey", GREY(128), BLACK, 0, 0, 1, 0, OK(WHITE) },
    { "grey of half a brush", GREY(100), BLACK, 0, 0, 1, 0, OK(WHITE) },
    { "red on black", RED, BLACK, 0, 0, 1, 0, OK(WHITE) },
    { "green on black", { 0, 255, 0 }, BLACK, 0, 0, 1, 0, OK(WHITE) },
    { "blue on black, luma 29", BLUE, BLACK, 0, 0, 1, 0, OK(WHITE) },
    { "yellow on black", { 255, 255, 0 }, BLACK, 0, 0, 1, 0, OK(WHITE) },
    { "magenta on black", { 255, 0, 255 }, BLACK, 0, 0, 1, 0, OK(WHITE) },
    { "dark blue on black", { 0, 0, 120 }, BLACK, 0, 0, 0, 0, OK(WHITE) },
    { "white on nearly black", WHITE, GREY(9), 0, 0, 1, 0, OK(WHITE) },
    { "light on dark grey", GREY(200), GREY(60), 0, 0, 1, 0, OK(WHITE) },
    { "JPEG 95", WHITE, BLACK, 0, 0, 0, 95, OK(WHITE) },
    { "JPEG 75", WHITE, BLACK, 0, 0, 1, 75, OK(WHITE) },
    { "JPEG 40", WHITE, BLACK, 0, 0, 0, 40, OK(WHITE) },
    { "JPEG 15", WHITE, BLACK, 0, 0, 0, 15, OK(WHITE) },
    { "JPEG, red", RED, BLACK, 0, 0, 0, 75, OK(WHITE) },
    { "JPEG, soft", WHITE, BLACK, 0, 0, 6, 75, OK(WHITE) },
    { "JPEG, inverted", BLACK, WHITE, 0, 0, 0, 75, OK(INVERTED) },
    { "JPEG, all black", BLACK, BLACK, 0, 0, 0, 75, REFUSED(EMPTY) },
    { "JPEG, all white", WHITE, WHITE, 0, 0, 0, 75, REFUSED(FULL) },
    { "all black", BLACK, BLACK, 0, 0, 0, 0, REFUSED(EMPTY) },
    { "all white", WHITE, WHITE, 0, 0, 0, 0, REFUSED(FULL) },
    { "label 1 on 0", GREY(1), BLACK, 0, 0, 0, 0, OK(LABELS) },
    { "label 5 on 0", GREY(5), BLACK, 0, 0, 0, 0, OK(LABELS) },
    { "labels 1 and 2", { SPLIT, 1, 2 }, BLACK, 0, 0, 0, 0, OK(LABELS) },
    { "labels 1 and 255", { SPLIT, 1, 255 }, BLACK, 0, 0, 0, 0, OK(LABELS) },
    { "labels 128 and 255", { SPLIT, 128, 255 }, BLACK, 0, 0, 0, 0, OK(LABELS) },
    { "labels 85 and 170", { SPLIT, 85, 170 }, BLACK, 0, 0, 0, 0, OK(LABELS) },
    { "black on white", BLACK, WHITE, 0, 0, 0, 0, OK(INVERTED) },
    { "black on white, soft", BLACK, WHITE, 0, 0, 6, 0, OK(INVERTED) },
    { "red on white", RED, WHITE, 0, 0, 1, 0, OK(INVERTED) },
    { "grey on white", GREY(128), WHITE, 0, 0, 1, 0, OK(INVERTED) },
    { "red on blue", RED, BLUE, 0, 0, 0, 0, OK(INVERTED) },
    { "black strokes in alpha", BLACK, BLACK, 255, 0, 0, 0, OK(ALPHA_PAINTED) },
    { "black strokes in alpha, soft", BLACK, BLACK, 255, 0, 6, 0, OK(ALPHA_PAINTED) },
    { "white strokes in alpha", WHITE, BLACK, 255, 0, 1, 0, OK(ALPHA_PAINTED) },
    { "white strokes in alpha on hidden white", WHITE, WHITE, 255, 0, 1, 0, OK(ALPHA_PAINTED) },
    { "red strokes in alpha", RED, BLACK, 255, 0, 1, 0, OK(ALPHA_PAINTED) },
    { "red strokes of half an alpha", RED, BLACK, 128, 0, 1, 0, OK(ALPHA_PAINTED) },
    { "yellow highlight, 30 % of alpha", { 255, 255, 0 }, BLACK, 77, 0, 1, 0, OK(ALPHA_PAINTED) },
    { "red strokes, 10 % of alpha", RED, BLACK, 26, 0, 0, 0, OK(ALPHA_PAINTED) },
    { "strokes over a veil of alpha 2", RED, BLACK, 255, 2, 0, 0, OK(ALPHA_PAINTED) },
    { "dark and bright strokes in alpha", { SPLIT, 0, 255 }, BLACK, 255, 0, 0, 0, REFUSED(AMBIGUOUS) },
    { "transparent all over", BLACK, BLACK, 1, 1, 0, 0, REFUSED(EMPTY) },
    { "opaque alpha", WHITE, BLACK, 255, 255, 1, 0, OK(WHITE) },
    { "the same alpha all over", WHITE, BLACK, 180, 180, 0, 0, OK(WHITE) },
    { "white sheet with a hole", WHITE, WHITE, 0, 255, 0, 0, OK(ALPHA_HOLE) },
    { "black sheet with a hole", BLACK, BLACK, 0, 255, 1, 0, OK(ALPHA_HOLE) },
    { "photo with a hole", SHOWN, SHOWN, 0, 255, 0, 0, OK(ALPHA_HOLE) },
    { "photo with a hole, black behind it", BLACK, SHOWN, 0, 255, 0, 0, OK(ALPHA_HOLE) },
    { "photo with a hole, white behind it", WHITE, SHOWN, 0, 255, 1, 0, OK(ALPHA_HOLE) },
    { "photo with half a hole", SHOWN, SHOWN, 128, 255, 0, 0, OK(ALPHA_HOLE) },
    { "part of the photo in alpha", SHOWN, SHOWN, 255, 0, 0, 0, OK(CUT_OUT) },
    { "part of the photo in alpha on hidden black", SHOWN, BLACK, 255, 0, 0, 0, OK(CUT_OUT) },
    { "part of the photo on black", SHOWN, BLACK, 0, 0, 0, 0, OK(CUT_OUT) },
    { "part of the photo on white", SHOWN, WHITE, 0, 0, 0, 0, OK(CUT_OUT) },
    { "part of the photo on green", SHOWN, { 0, 255, 0 }, 0, 0, 0, 0, OK(CUT_OUT) },
    { "red paint on the photo", RED, SHOWN, 0, 0, 0, 0, OK(PAINTED_OVER) },
    { "white paint on the photo", WHITE, SHOWN, 0, 0, 0, 0, OK(PAINTED_OVER) },
    { "black paint on the photo", BLACK, SHOWN, 0, 0, 0, 0, OK(PAINTED_OVER) },
    { "paint on the photo as JPEG", { 255, 0, 255 }, SHOWN, 0, 0, 0, 85, OK(PAINTED_OVER) },
    { "the photo itself", SHOWN, SHOWN, 0, 0, 0, 0, REFUSED(AMBIGUOUS) },
    { "the photo itself as JPEG", SHOWN, SHOWN, 0, 0, 0, 75, REFUSED(AMBIGUOUS) },
    { "two paints on the photo", { SPLIT, 0, 255 }, SHOWN, 0, 0, 0, 0, REFUSED(AMBIGUOUS) },
};

/* ---- drawing ---- */

/* How far a pixel is inside the figure, pixels; an ellipse. About 5 % of the picture. */
static double depth_in_figure(int x, int y)
{
    double dx = (x - 180) / 1.4, dy = y - 110, r = dx * dx + dy * dy;

    return (26.0 * 26.0 - r) / (2 * 26.0);
}

static bool in_figure(int i)
{
    return depth_in_figure(i % W, i / W) >= 0;
}

static int share_of_figure(int i, int edge)
{
    double at = edge ? 0.5 + depth_in_figure(i % W, i / W) / edge : in_figure(i);

    return (int)(255 * (at < 0 ? 0 : at > 1 ? 1 : at) + 0.5);
}

/* Stripes and blocks of many colours, with some noise: texture everywhere. */
static void draw_photo(struct arena *a, struct image *ret)
{
    struct image noise, blocks;
    struct err err = { 0 };

    picture_of_noise(a, W, H, 3, 3, &noise);
    picture_of_noise(a, W / 12 + 1, H / 12 + 1, 3, 4, &blocks);
    CHECK_OK(image_new(a, W, H, 3, ret, &err), err);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            for (int c = 0; c < 3; c++)
                ret->pixels[(y * W + x) * 3 + c] =
                    (uint8_t)(40 + blocks.pixels[(y / 12 * blocks.width + x / 12) * 3 + c] / 4 + x / 4 + noise.pixels[(y * W + x) * 3 + c] / 32);
}

static int ink_at(const struct ink *ink, const struct image *photo, int i, int c)
{
    if (ink->red == PHOTO)
        return photo->pixels[i * 3 + c];
    if (ink->red == SPLIT)
        return i % W < 180 ? ink->green : ink->blue;
    return c == 0 ? ink->red : c == 1 ? ink->green : ink->blue;
}

static void as_jpeg(struct arena *a, int quality, struct mask_file *f)
{
    const struct jpeg_options options = { .quality = quality, .chroma = JPEG_CHROMA_HALF };
    struct image_notes notes;
    struct span bytes;
    struct err err = { 0 };

    CHECK_OK(jpeg_write(a, &f->stored, &options, &bytes, &err), err);
    CHECK_OK(jpeg_read(a, bytes, &f->stored, &notes, &err), err);
    f->lossy = true;
}

static void draw_row(struct arena *a, const struct row *r, const struct image *photo, struct mask_file *ret)
{
    struct err err = { 0 };
    uint8_t *alpha = NULL;

    *ret = (struct mask_file){ .orientation = 1 };
    CHECK_OK(image_new(a, W, H, 3, &ret->stored, &err), err);
    if (r->figure_alpha || r->ground_alpha)
        CHECK_OK(arena_alloc(a, W * H, 1, &alpha, &err), err);
    for (int i = 0; i < W * H; i++) {
        int s = share_of_figure(i, r->edge);

        for (int c = 0; c < 3; c++)
            ret->stored.pixels[i * 3 + c] =
                (uint8_t)((ink_at(&r->figure, photo, i, c) * s + ink_at(&r->ground, photo, i, c) * (255 - s) + 127) / 255);
        if (alpha && r->figure.red != r->ground.red && r->figure.red != PHOTO) /* a brush has one colour up to its edge */
            for (int c = 0; c < 3 && s; c++)
                ret->stored.pixels[i * 3 + c] = (uint8_t)ink_at(&r->figure, photo, i, c);
        if (alpha)
            alpha[i] = (uint8_t)((r->figure_alpha * s + r->ground_alpha * (255 - s) + 127) / 255);
    }
    ret->alpha = alpha;
    if (r->quality)
        as_jpeg(a, r->quality, ret);
}

/* ---- checking ---- */

static double likeness(const struct image *mask)
{
    int both = 0, either = 0;

    for (int i = 0; i < W * H; i++) {
        both += mask->pixels[i] && in_figure(i);
        either += mask->pixels[i] || in_figure(i);
    }
    return (double)both / either;
}

/* Every sentence for people begins with what was seen, and fits. */
static void check_sentence(const char *name, const char *text)
{
    size_t n = strlen(text);

    if (n < 20 || n + sizeof "mask: " > ERR_MESSAGE_MAX || text[n - 1] == ' ' || strchr(text, '_'))
        test_fail(__FILE__, __LINE__, "%s: \"%s\" is no sentence that fits", name, text);
}

static void check_decision(struct arena *a, const char *name, const struct mask_file *f, const struct image *photo,
                           const struct mask_wishes *wishes, enum mask_kind kind, enum err_code refused)
{
    const struct mask_photo p = { photo, 1 };
    struct mask_decision got = { MASK_KIND_ANY };
    struct err err = { 0 };
    struct image mask;
    double share;
    enum err_code rc = mask_decide(a, f, &p, wishes, &mask, &got, &err);

    if (rc != refused || got.kind != kind)
        test_fail(__FILE__, __LINE__, "%s: %s, kind '%s' (%s); wanted %s, '%s'", name, err_name(rc),
                  mask_kind_word(got.kind), rc ? err.msg : got.reason, err_name(refused), mask_kind_word(kind));
    if (rc) {
        check_sentence(name, err.msg);
        return;
    }
    if (likeness(&mask) < 0.9)
        test_fail(__FILE__, __LINE__, "%s: intersection over union %.3f, %s", name, likeness(&mask), got.reason);
    share = (double)mask_extent(&mask).n_set / (double)image_bytes(&mask);
    CHECK(got.reason[0] && share > 0.02 && share < 0.08);
}

TEST(mask_kind__of_every_row_of_the_table)
{
    const struct mask_wishes none = { MASK_KIND_ANY, MASK_ORIENTATION_ANY };
    struct arena a;
    struct err err = { 0 };
    struct image photo;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    draw_photo(&a, &photo);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena_mark mark = arena_mark(&a);
        struct mask_file f;

        draw_row(&a, &rows[i], &photo, &f);
        check_decision(&a, rows[i].name, &f, &photo, &none, rows[i].want, rows[i].refused);
        arena_rewind(&a, mark);
    }
    arena_done(&a);
}

/* Of a photo with a black part, a part on black: what is black in both is the ground. */
TEST(mask_kind__of_a_part_on_the_colour_that_the_photo_has_too)
{
    const struct mask_wishes none = { MASK_KIND_ANY, MASK_ORIENTATION_ANY };
    struct arena a;
    struct err err = { 0 };
    struct image photo;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    for (int paper = 0; paper <= 255; paper += 255) {
        const struct row row = { "a part on paper", { PHOTO, 0, 0 }, GREY(paper), 0, 0, 0, 0, MASK_KIND_CUT_OUT, ERR_OK };
        struct mask_file f;

        draw_photo(&a, &photo);
        for (int i = 0; i < W * H; i++)
            if (i % W >= W * 5 / 6)
                memset(photo.pixels + i * 3, paper, 3);
        draw_row(&a, &row, &photo, &f);
        check_decision(&a, row.name, &f, &photo, &none, row.want, row.refused);
    }
    arena_done(&a);
}

/* Sizes cannot say that a mask was made for the stored rows of a photo that is upside down; the photo in it can. */
TEST(mask_kind__that_shows_the_photo_says_how_it_lies)
{
    static const struct row kinds[] = {
        { "paint", { 255, 0, 255 }, SHOWN, 0, 0, 0, 0, OK(PAINTED_OVER) },
        { "hole", SHOWN, SHOWN, 0, 255, 0, 0, OK(ALPHA_HOLE) },
    };
    const struct mask_wishes none = { MASK_KIND_ANY, MASK_ORIENTATION_ANY };
    struct arena a;
    struct err err = { 0 };
    struct image photo, mask;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    draw_photo(&a, &photo);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int turn = 1; turn <= 4; turn++)
            for (int is_stored = 0; is_stored < 2; is_stored++) {
                const struct mask_photo p = { &photo, turn };
                struct mask_decision got;
                struct mask_file f;

                draw_row(&a, &kinds[k], &photo, &f);
                if (is_stored) {
                    struct image alpha = { .width = W, .height = H, .channels = 1, .pixels = (uint8_t *)(uintptr_t)f.alpha };

                    CHECK_OK(image_orient(&a, &f.stored, turn, &f.stored, &err), err);
                    if (f.alpha)
                        CHECK_OK(image_orient(&a, &alpha, turn, &alpha, &err), err);
                    f.alpha = f.alpha ? alpha.pixels : NULL;
                }
                CHECK_OK(mask_decide(&a, &f, &p, &none, &mask, &got, &err), err);
                CHECK_INT(got.kind, kinds[k].want);
                CHECK_INT(got.orientation, is_stored && turn > 1 ? MASK_STORED : MASK_DISPLAYED);
                CHECK(likeness(&mask) > 0.9);
            }
    arena_done(&a);
}

/* ---- what a figure and a ground do not draw ---- */

/* A function of the pixel's number gives its grey, or its place in the palette. */
struct drawing {
    const char *name;
    int (*at)(int i);
    enum mask_kind want;
    enum err_code refused;
};

static uint32_t random_of(int i)
{
    uint32_t x = (uint32_t)i * 2654435761u + 12345;

    x ^= x >> 15;
    x *= 2246822519u;
    return x ^ x >> 13;
}

static bool on_frame(int i, int width)
{
    return i % W < width || i % W >= W - width || i / W < width || i / W >= H - width;
}

static bool in_band(int i)
{
    return depth_in_figure(i % W, i / W) >= -1 && !in_figure(i);
}

static int noise_at(int i) { return (int)(random_of(i) % 256); }
static int binary_noise_at(int i) { return random_of(i) % 2 ? 255 : 0; }
static int sparse_noise_at(int i) { return random_of(i) % 12 ? 0 : 255; }
static int salted_at(int i) { return in_figure(i) || random_of(i) % 400 == 0 ? 255 : 0; }
static int noisy_at(int i) { return in_figure(i) ? 255 - noise_at(i) / 32 : noise_at(i) / 64; }
static int noisy_black_at(int i) { return noise_at(i) / 64; }
static int depth_map_at(int i) { return 30 + i / W + (in_figure(i) ? 20 : 0); }
static int gradient_at(int i) { return i % W * 255 / W; }
static int framed_at(int i) { return in_figure(i) || on_frame(i, 3) ? 255 : 0; }
static int thin_frame_at(int i) { return in_figure(i) || on_frame(i, 1) ? 255 : 0; }
static int dark_frame_at(int i) { return in_figure(i) || on_frame(i, 3) ? 0 : 255; }
static int checker_at(int i) { return in_figure(i) ? 0 : (i % W / 8 + i / W / 8) % 2 ? 255 : 204; }
static int trimap_at(int i) { return in_figure(i) ? 255 : in_band(i) ? 128 : 0; }
static int trimap_127_at(int i) { return in_figure(i) ? 255 : in_band(i) ? 127 : 0; }
static int void_at(int i) { return in_figure(i) ? 1 : in_band(i) ? 255 : 0; }
static int many_labels_at(int i) { return in_figure(i) ? 1 + i % W / 6 % 40 + 40 * (i / W / 40 % 2) : 0; }
static int bottom_kept_at(int i) { return i / W < 150 ? 255 : 0; }
static int large_and_cut_off_at(int i) { return i % W >= W * 3 / 10 && i / W >= H / 5 ? 0 : 255; }
static int cross_at(int i) { return i % W % 150 < 60 || i / W % 120 < 40 ? 255 : 0; }
static int rounded_at(int i) { int x = i % W, y = i / W; x = x < W - 1 - x ? x : W - 1 - x; y = y < H - 1 - y ? y : H - 1 - y; return x + y < 12 ? 255 : 0; }

static const struct drawing drawings[] = {
    { "noise", noise_at, REFUSED(AMBIGUOUS) },
    { "noise of black and white", binary_noise_at, REFUSED(AMBIGUOUS) },
    { "sparse noise", sparse_noise_at, REFUSED(AMBIGUOUS) },
    { "a figure among specks", salted_at, OK(WHITE) },
    { "a figure in noise of a lossy file", noisy_at, OK(WHITE) },
    { "black with noise of a lossy file", noisy_black_at, REFUSED(EMPTY) },
    { "depth map", depth_map_at, REFUSED(AMBIGUOUS) },
    { "gradient", gradient_at, REFUSED(AMBIGUOUS) },
    { "white frame around it", framed_at, REFUSED(AMBIGUOUS) },
    { "white frame of a pixel", thin_frame_at, REFUSED(AMBIGUOUS) },
    { "inverted in a black frame", dark_frame_at, REFUSED(AMBIGUOUS) },
    { "drawn on the squares of transparency", checker_at, REFUSED(AMBIGUOUS) },
    { "trimap", trimap_at, OK(WHITE) },
    { "trimap with 127", trimap_127_at, OK(WHITE) },
    { "label 1 in a void of 255", void_at, OK(LABELS) },
    { "eighty labels", many_labels_at, OK(LABELS) },
    { "all but the bottom", bottom_kept_at, REFUSED(LARGE) },
    { "white nearly all over, in no order", cross_at, REFUSED(LARGE) },
    { "inverted, and the figure is large and goes out of the picture", large_and_cut_off_at, REFUSED(AMBIGUOUS) },
    { "rounded corners", rounded_at, REFUSED(AMBIGUOUS) },
};

static void draw_grey(struct arena *a, int (*at)(int), struct mask_file *ret)
{
    struct err err = { 0 };

    *ret = (struct mask_file){ .orientation = 1 };
    CHECK_OK(image_new(a, W, H, 1, &ret->stored, &err), err);
    for (int i = 0; i < W * H; i++)
        ret->stored.pixels[i] = (uint8_t)at(i);
}

TEST(mask_kind__of_drawings_that_are_no_figure_on_a_ground)
{
    const struct mask_wishes none = { MASK_KIND_ANY, MASK_ORIENTATION_ANY };
    struct arena a;
    struct err err = { 0 };
    struct image photo;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    draw_photo(&a, &photo);
    for (size_t i = 0; i < sizeof drawings / sizeof *drawings; i++) {
        struct arena_mark mark = arena_mark(&a);
        struct mask_file f;

        draw_grey(&a, drawings[i].at, &f);
        check_decision(&a, drawings[i].name, &f, &photo, &none, drawings[i].want, drawings[i].refused);
        arena_rewind(&a, mark);
    }
    arena_done(&a);
}

/* ---- palettes ---- */

struct palette_row {
    const char *name;
    uint8_t left, right, ground; /* places */
    uint8_t colours[3][3];       /* of places 0, 1, 2 */
    enum mask_kind want;
};

static const struct palette_row palettes[] = {
    { "black and white", 1, 1, 0, { BLACK, WHITE, BLACK }, MASK_KIND_LABELS },
    { "white and black", 0, 0, 1, { WHITE, BLACK, BLACK }, MASK_KIND_LABELS },
    { "white at place 0, black marks", 1, 1, 0, { WHITE, BLACK, BLACK }, MASK_KIND_LABELS },
    { "colours of VOC", 1, 2, 0, { BLACK, { 128, 0, 0 }, { 0, 128, 0 } }, MASK_KIND_LABELS },
    { "all places black", 1, 2, 0, { BLACK, BLACK, BLACK }, MASK_KIND_LABELS },
    { "all places white", 1, 1, 0, { WHITE, WHITE, WHITE }, MASK_KIND_LABELS },
    { "a label of the ground's colour", 1, 2, 0, { { 0, 255, 0 }, BLACK, { 0, 255, 0 } }, MASK_KIND_LABELS },
    { "colours one level apart", 1, 1, 0, { BLACK, { 1, 1, 1 }, BLACK }, MASK_KIND_LABELS },
};

static void draw_palette(struct arena *a, const struct palette_row *r, struct mask_file *ret)
{
    struct err err = { 0 };
    uint8_t *index = NULL;

    *ret = (struct mask_file){ .orientation = 1 };
    CHECK_OK(image_new(a, W, H, 3, &ret->stored, &err), err);
    CHECK_OK(arena_alloc(a, W * H, 1, &index, &err), err);
    for (int i = 0; i < W * H; i++) {
        index[i] = !in_figure(i) ? r->ground : i % W < 180 ? r->left : r->right;
        memcpy(ret->stored.pixels + 3 * i, r->colours[index[i]], 3);
    }
    ret->index = index;
}

TEST(mask_kind__of_palettes_is_told_by_places)
{
    const struct mask_wishes none = { MASK_KIND_ANY, MASK_ORIENTATION_ANY };
    struct arena a;
    struct err err = { 0 };
    struct image photo;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    draw_photo(&a, &photo);
    for (size_t i = 0; i < sizeof palettes / sizeof *palettes; i++) {
        struct mask_file f;

        draw_palette(&a, &palettes[i], &f);
        check_decision(&a, palettes[i].name, &f, &photo, &none, palettes[i].want, ERR_OK);
    }
    arena_done(&a);
}

/* ---- what the session says ---- */

/* The picture is one that is refused, or read otherwise, without the wish. */
static const struct { struct row row; enum mask_kind wish; enum err_code refused; } wished[] = {
    { { "dark and bright strokes, as painted", { SPLIT, 0, 255 }, BLACK, 255, 0, 0, 0, OK(ALPHA_PAINTED) }, MASK_KIND_ALPHA_PAINTED, ERR_OK },
    { { "white on black, as white", WHITE, BLACK, 0, 0, 0, 0, OK(WHITE) }, MASK_KIND_WHITE, ERR_OK },
    { { "blue on black, as white", BLUE, BLACK, 0, 0, 1, 0, OK(WHITE) }, MASK_KIND_WHITE, ERR_OK },
    { { "black on white, as inverted", BLACK, WHITE, 0, 0, 1, 0, OK(INVERTED) }, MASK_KIND_INVERTED, ERR_OK },
    { { "labels 1 and 2, as labels", { SPLIT, 1, 2 }, BLACK, 0, 0, 0, 0, OK(LABELS) }, MASK_KIND_LABELS, ERR_OK },
    { { "photo with a hole, as a hole", SHOWN, SHOWN, 0, 255, 0, 0, OK(ALPHA_HOLE) }, MASK_KIND_ALPHA_HOLE, ERR_OK },
    { { "part of the photo, as cut out", SHOWN, SHOWN, 255, 0, 0, 0, OK(CUT_OUT) }, MASK_KIND_CUT_OUT, ERR_OK },
    { { "part of the photo on black, as cut out", SHOWN, BLACK, 0, 0, 0, 0, OK(CUT_OUT) }, MASK_KIND_CUT_OUT, ERR_OK },
    { { "red paint, as painted over", RED, SHOWN, 0, 0, 0, 0, OK(PAINTED_OVER) }, MASK_KIND_PAINTED_OVER, ERR_OK },
    { { "no alpha, as painted in alpha", WHITE, BLACK, 0, 0, 0, 0, OK(ANY) }, MASK_KIND_ALPHA_PAINTED, ERR_MASK_AMBIGUOUS },
    { { "no alpha, as a hole", WHITE, BLACK, 0, 0, 0, 0, OK(ANY) }, MASK_KIND_ALPHA_HOLE, ERR_MASK_AMBIGUOUS },
    { { "the photo itself, as painted over", SHOWN, SHOWN, 0, 0, 0, 0, OK(ANY) }, MASK_KIND_PAINTED_OVER, ERR_MASK_AMBIGUOUS },
    { { "all black, as white", BLACK, BLACK, 0, 0, 0, 0, OK(ANY) }, MASK_KIND_WHITE, ERR_MASK_AMBIGUOUS },
    { { "a word that is no kind", WHITE, BLACK, 0, 0, 0, 0, OK(ANY) }, MASK_KIND_UNKNOWN, ERR_MASK_AMBIGUOUS },
};

TEST(mask_kind__of_the_session_wins)
{
    struct arena a;
    struct err err = { 0 };
    struct image photo;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    draw_photo(&a, &photo);
    for (size_t i = 0; i < sizeof wished / sizeof *wished; i++) {
        const struct mask_wishes wishes = { wished[i].wish, MASK_ORIENTATION_ANY };
        struct arena_mark mark = arena_mark(&a);
        struct mask_file f;

        draw_row(&a, &wished[i].row, &photo, &f);
        check_decision(&a, wished[i].row.name, &f, &photo, &wishes, wished[i].row.want, wished[i].refused);
        arena_rewind(&a, mark);
    }
    arena_done(&a);
}

TEST(mask_kind__has_the_words_of_the_session)
{
    static const char *const words[] = { "white", "alpha-painted", "alpha-hole", "inverted", "labels", "painted-over", "cut-out" };

    for (int i = 0; i < 7; i++) {
        CHECK_INT(mask_kind_of_word(words[i]), MASK_KIND_WHITE + i);
        CHECK_STR(mask_kind_word((enum mask_kind)(MASK_KIND_WHITE + i)), words[i]);
    }
    CHECK_INT(mask_kind_of_word(""), MASK_KIND_UNKNOWN);
    CHECK_INT(mask_kind_of_word("WHITE"), MASK_KIND_UNKNOWN);
}
