#include "models/patch/noise_tile.h"

#include <math.h>
#include <string.h>

#include "test/support/check.h"

enum { COLUMNS = 4, ROWS = 512 };

struct field {
    struct arena arena;
    struct noise_tile tile;
    float (*rows)[COLUMNS * NOISE_STEP][3]; /* [ROWS] */
};

static void draw(struct field *f, const struct grain_spectrum *s, uint64_t seed)
{
    struct err err = { 0 };

    CHECK_OK(arena_init(&f->arena, 32 << 20, &err), err);
    CHECK_OK(noise_tile_new(&f->arena, s, seed, &f->tile, &err), err);
    CHECK_OK(arena_alloc(&f->arena, ROWS, sizeof *f->rows, &f->rows, &err), err);
    for (int y = 0; y < ROWS; y++)
        for (int k = 0; k < COLUMNS; k++)
            noise_tile_run(&f->tile, k, y, f->rows[y] + k * NOISE_STEP);
}

/* The mean product of two channels, dx and dy pixels apart. */
static double covariance(const struct field *f, int c, int d, int dx, int dy)
{
    double sum = 0;

    for (int y = 0; y + dy < ROWS; y++)
        for (int x = 0; x + dx < COLUMNS * NOISE_STEP; x++)
            sum += (double)f->rows[y][x][c] * (double)f->rows[y + dy][x + dx][d];
    return sum / ((ROWS - dy) * (COLUMNS * NOISE_STEP - dx));
}

static struct grain_spectrum flat_spectrum(const double pairs[GRAIN_PAIRS])
{
    struct grain_spectrum s;

    for (int bin = 0; bin < GRAIN_BINS; bin++)
        memcpy(s.power[bin], pairs, sizeof s.power[bin]);
    return s;
}

TEST(noise_tile__has_the_variances_and_correlations_it_was_asked_for)
{
    static const double pairs[GRAIN_PAIRS] = { 4, 9, 1, 3, 1, 2 };
    struct grain_spectrum s = flat_spectrum(pairs);

    for (uint64_t seed = 0; seed < 3; seed++) {
        struct field f;

        draw(&f, &s, seed);
        CHECK(fabs(covariance(&f, 0, 0, 0, 0) - 4) < 0.12);
        CHECK(fabs(covariance(&f, 1, 1, 0, 0) - 9) < 0.27);
        CHECK(fabs(covariance(&f, 2, 2, 0, 0) - 1) < 0.03);
        CHECK(fabs(covariance(&f, 0, 1, 0, 0) - 3) < 0.15);
        CHECK(fabs(covariance(&f, 0, 2, 0, 0) - 1) < 0.06);
        CHECK(fabs(covariance(&f, 1, 2, 0, 0) - 2) < 0.09);
        arena_done(&f.arena);
    }
}

TEST(noise_tile__has_the_spectrum_it_was_asked_for)
{
    static const double one[GRAIN_PAIRS] = { 1, 1, 1, 1, 1, 1 };
    struct grain_spectrum s = flat_spectrum(one);
    struct field f;

    for (int u = 0; u <= GRAIN_HALF; u++) /* the spectrum of the filter 1/4 1/2 1/4 along both axes */
        for (int v = 0; v <= u; v++)
            for (int k = 0; k < GRAIN_PAIRS; k++) {
                double a = 0.5 + 0.5 * cos(M_PI * u / GRAIN_HALF), b = 0.5 + 0.5 * cos(M_PI * v / GRAIN_HALF);

                s.power[grain_bin(u, v)][k] = a * a * b * b;
            }
    draw(&f, &s, 5);
    CHECK(fabs(covariance(&f, 0, 0, 0, 0) - 0.1406) < 0.01); /* (3/8)^2, (3/8)(1/4), (1/4)^2, (3/8)(1/16) */
    CHECK(fabs(covariance(&f, 0, 0, 1, 0) - 0.0938) < 0.008);
    CHECK(fabs(covariance(&f, 0, 0, 0, 1) - 0.0938) < 0.008);
    CHECK(fabs(covariance(&f, 0, 0, 1, 1) - 0.0625) < 0.006);
    CHECK(fabs(covariance(&f, 0, 0, 2, 0) - 0.0234) < 0.005);
    CHECK(fabs(covariance(&f, 0, 0, 8, 3)) < 0.003);
    arena_done(&f.arena);
}

TEST(noise_tile__shows_no_seam_and_no_repeat)
{
    static const double one[GRAIN_PAIRS] = { 1, 1, 1, 0, 0, 0 };
    struct grain_spectrum s = flat_spectrum(one);
    struct field f;

    draw(&f, &s, 9);
    for (int x = 0; x < COLUMNS * NOISE_STEP; x += NOISE_OVERLAP / 2) { /* also where squares overlap */
        double sum = 0;

        for (int y = 0; y < ROWS; y++)
            for (int i = 0; i < NOISE_OVERLAP / 2; i++)
                sum += (double)(f.rows[y][x + i][0] * f.rows[y][x + i][0]);
        CHECK(fabs(sum / (ROWS * NOISE_OVERLAP / 2) - 1) < 0.1);
    }
    for (int lag = NOISE_STEP; lag <= 2 * NOISE_TILE / 2; lag += NOISE_STEP) {
        CHECK(fabs(covariance(&f, 0, 0, lag, 0)) < 0.1);
        CHECK(fabs(covariance(&f, 0, 0, 0, lag)) < 0.1);
    }
    arena_done(&f.arena);
}

TEST(noise_tile__takes_powers_that_no_noise_can_have)
{
    static const double pairs[GRAIN_PAIRS] = { 1, 1, 1, 2, 2, 2 }, negative[GRAIN_PAIRS] = { -1, -2, -3, 0, 0, 0 };
    struct grain_spectrum s = flat_spectrum(pairs);
    struct field f;

    draw(&f, &s, 1); /* as close as noise comes: all channels alike, with the power of the largest eigenvalue */
    CHECK(fabs(covariance(&f, 0, 0, 0, 0) - 5.0 / 3) < 0.1);
    CHECK(fabs(covariance(&f, 0, 1, 0, 0) - 5.0 / 3) < 0.1);
    arena_done(&f.arena);
    s = flat_spectrum(negative);
    draw(&f, &s, 1);
    CHECK(covariance(&f, 0, 0, 0, 0) == 0.0);
    arena_done(&f.arena);
}
