#include "models/mask/mask_clean.h"

#include <string.h>

#include "test/support/check.h"
#include "test/support/pictures.h"

/* A mask drawn as text: '#' is marked, anything else is not. */
static void draw(struct arena *a, int width, int height, const char *text, struct image *ret)
{
    struct err err = { 0 };

    CHECK_INT(strlen(text), width * height);
    CHECK_OK(image_new(a, width, height, 1, ret, &err), err);
    for (int i = 0; i < width * height; i++)
        ret->pixels[i] = text[i] == '#' ? 255 : 0;
}

struct drawn {
    const char *before, *after;
    int least, specks, holes;
};

static void check_drawn(const struct drawn *d, int width, int height)
{
    struct mask_cleaning got;
    struct err err = { 0 };
    struct image mask, want;
    struct arena a;
    size_t used;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    draw(&a, width, height, d->before, &mask);
    draw(&a, width, height, d->after, &want);
    used = a.used;
    CHECK_OK(mask_clean(&a, &mask, d->least, &got, &err), err);
    CHECK_INT(a.used, used);
    CHECK_SAME_PICTURE(&mask, &want);
    CHECK_INT(got.specks_removed, d->specks);
    CHECK_INT(got.holes_filled, d->holes);
    arena_done(&a);
}

TEST(mask_clean__joins_marks_at_corners_and_holes_at_sides)
{
    static const struct drawn cases[] = {
        { "#..##." "......" "#....#", "...##." "......" "......", 2, 3, 0 },
        { "#....." ".#...." "....##", "#....." ".#...." "....##", 2, 0, 0 }, /* touching at a corner is one set */
        { "######" "##.###" "###.##", "######" "######" "######", 2, 0, 2 }, /* but two holes */
        { "######" "##..##" "######", "######" "##..##" "######", 2, 0, 0 },
        { "######" "##..##" "######", "######" "######" "######", 3, 0, 1 },
        { "#.####" "######" "######", "######" "######" "######", 2, 0, 1 }, /* at the edge, too */
        { "######" "#.#..#" "######", "######" "######" "######", 3, 0, 2 },
        { ".#####" "#.....", "######" "######", 6, 0, 2 },
        { "......" "......", "......" "......", 4, 0, 0 },
        { "######" "######", "######" "######", 4, 0, 0 },
        { "#", "#", 1, 0, 0 },
        { "#", "#", 2, 0, 0 }, /* neither is the whole picture */
        { ".", ".", 1, 0, 0 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int n = (int)strlen(cases[i].before);

        check_drawn(&cases[i], n < 6 ? n : 6, n < 6 ? 1 : n / 6);
    }
}

/* A speck in a hole goes first; the hole that it leaves is judged whole. */
TEST(mask_clean__judges_holes_in_what_the_specks_leave)
{
    static const struct drawn kept = { "#########" "#########" "##.....##" "##.....##" "##..#..##" "##.....##" "##.....##" "#########" "#########",
                                       "#########" "#########" "##.....##" "##.....##" "##.....##" "##.....##" "##.....##" "#########" "#########", 25, 1, 0 };
    static const struct drawn filled = { "#####" "#...#" "#.#.#" "#...#" "#####", "#####" "#####" "#####" "#####" "#####", 10, 1, 1 };

    check_drawn(&kept, 9, 9);
    check_drawn(&filled, 5, 5);
}

/* ---- against a flood that visits one pixel after the other ---- */

struct flood {
    uint8_t *pixels;
    bool *seen;
    int *queue, n, width, height;
};

static void visit(struct flood *f, int x, int y, uint8_t value)
{
    int at = y * f->width + x;

    if (x < 0 || y < 0 || x >= f->width || y >= f->height || f->seen[at] || f->pixels[at] != value)
        return;
    f->seen[at] = true;
    f->queue[f->n++] = at;
}

static void visit_neighbours(struct flood *f, int at, uint8_t value)
{
    int x = at % f->width, y = at / f->width;

    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++)
            if (value == 255 || dx == 0 || dy == 0)
                visit(f, x + dx, y + dy, value);
}

static int flood_small(struct flood *f, uint8_t value, int64_t least)
{
    int sets = 0;

    memset(f->seen, 0, (size_t)(f->width * f->height) * sizeof *f->seen);
    least = least < f->width * f->height ? least : f->width * f->height;
    for (int start = 0; start < f->width * f->height; start++) {
        f->n = 0;
        visit(f, start % f->width, start / f->width, value);
        for (int i = 0; i < f->n; i++)
            visit_neighbours(f, f->queue[i], value);
        if (f->n == 0 || f->n >= least)
            continue;
        sets++;
        for (int i = 0; i < f->n; i++)
            f->pixels[f->queue[i]] = value ^ 255;
    }
    return sets;
}

/* Noise of this density, in blocks of 1 to 4 pixels. */
static void speckle(struct arena *a, int width, int height, unsigned seed, struct image *ret)
{
    int block = 1 + (int)(seed % 4), density = 20 + (int)(seed * 37 % 220);
    struct image noise;
    struct err err = { 0 };

    picture_of_noise(a, width / block + 1, height / block + 1, 1, seed, &noise);
    CHECK_OK(image_new(a, width, height, 1, ret, &err), err);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            ret->pixels[y * width + x] = noise.pixels[y / block * noise.width + x / block] < density ? 255 : 0;
}

static void check_against_flood(unsigned seed)
{
    int width = 1 + (int)(seed * 7 % 61), height = 1 + (int)(seed * 13 % 47);
    int64_t least = 1 + seed % 23;
    struct flood f = { .width = width, .height = height };
    struct mask_cleaning got;
    struct err err = { 0 };
    struct image mask, want;
    struct arena a;

    CHECK_OK(arena_init(&a, 4 << 20, &err), err);
    speckle(&a, width, height, seed, &mask);
    speckle(&a, width, height, seed, &want);
    f.pixels = want.pixels;
    CHECK_OK(arena_alloc(&a, image_bytes(&want), sizeof *f.seen, &f.seen, &err), err);
    CHECK_OK(arena_alloc(&a, image_bytes(&want), sizeof *f.queue, &f.queue, &err), err);
    CHECK_OK(mask_clean(&a, &mask, least, &got, &err), err);
    CHECK_INT(got.specks_removed, flood_small(&f, 255, least));
    CHECK_INT(got.holes_filled, flood_small(&f, 0, least));
    CHECK_SAME_PICTURE(&mask, &want);
    arena_done(&a);
}

TEST(mask_clean__finds_what_a_flood_finds)
{
    for (unsigned seed = 0; seed < 600; seed++)
        check_against_flood(seed);
}

TEST(mask_clean__takes_a_comb_as_one_and_its_gaps_as_holes)
{
    enum { W = 300, H = 200 };
    struct mask_cleaning got;
    struct err err = { 0 };
    struct image comb;
    struct arena a;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    CHECK_OK(image_new(&a, W, H, 1, &comb, &err), err);
    for (int i = 0; i < W * H; i++)
        comb.pixels[i] = i % W % 2 == 0 || i / W == H - 1 ? 255 : 0;
    CHECK_OK(mask_clean(&a, &comb, 100 * H, &got, &err), err); /* one comb; each gap is a hole */
    CHECK_INT(got.specks_removed, 0);
    CHECK_INT(got.holes_filled, W / 2);
    arena_done(&a);
}

TEST(mask_clean__knows_the_smallest_mask_that_counts)
{
    CHECK_INT(mask_least_pixels(600, 400), 16);
    CHECK_INT(mask_least_pixels(1000, 1000), 20);
    CHECK_INT(mask_least_pixels(4000, 3000), 240);
    CHECK_INT(mask_least_pixels(16384, 12000), 3932);
}

TEST(mask_clean__refuses_masks_of_next_to_nothing_and_of_too_much)
{
    static const struct { int marked; double max_share; enum err_code want; const char *words; } cases[] = {
        { 0, 0.6, ERR_MASK_EMPTY, "the mask marks nothing, so there is nothing to repaint" },
        { 15, 0.6, ERR_MASK_EMPTY, "the mask marks only 15 pixels of the photo, which is less than a speck; at least 16 are needed" },
        { 16, 0.6, ERR_OK, "" },
        { 600, 0.6, ERR_OK, "" },
        { 601, 0.6, ERR_MASK_LARGE, "the mask marks 60.1 % of the photo; at most 60 % can be repainted" },
        { 999, 0.6, ERR_MASK_LARGE, "the mask marks 99.9 % of the photo; at most 60 % can be repainted" },
        { 999, 0, ERR_OK, "" },
        { 1000, 0.6, ERR_MASK_FULL, "the mask marks the whole photo, so nothing of it would be kept" },
        { 1000, 0, ERR_MASK_FULL, "the mask marks the whole photo, so nothing of it would be kept" },
    };
    struct err err = { 0 };
    struct image mask;
    struct arena a;

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err got = { 0 };
        double share = -1;

        CHECK_OK(image_new(&a, 40, 25, 1, &mask, &err), err);
        memset(mask.pixels, 255, (size_t)cases[i].marked);
        CHECK_INT(mask_check_share(&mask, cases[i].max_share, &share, &got), cases[i].want);
        CHECK_STR(got.msg, cases[i].words);
        CHECK(share == cases[i].marked / 1000.0);
    }
    arena_done(&a);
}
