#include "test/support/scenes/painted.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = PAINTED_SIDE, HOLE = 84, PASTE = 74, RAMP = 4 };

static float radius(int i)
{
    float x = (float)(i % SIDE) - SIDE / 2.0F, y = (float)(i / SIDE) - SIDE / 2.0F;

    return sqrtf(x * x + y * y);
}

struct painted *painted_new(float left, float right)
{
    struct painted *p = calloc(1, sizeof *p);

    CHECK(p);
    for (int i = 0; i < PAINTED_PIXELS; i++) {
        float r = radius(i), share = (PASTE - r) / RAMP, at = (float)(i % SIDE) / SIDE;

        for (int c = 0; c < 3; c++)
            p->truth[i][c] = p->noisy[i][c] = p->patch[i][c] = left + (right - left) * at + (float)c;
        p->hole[i] = r < HOLE ? 255 : 0;
        p->paste[i] = (uint8_t)lroundf(255 * (share < 0 ? 0 : share > 1 ? 1 : share));
    }
    p->area = (struct patch_area){ SIDE, SIDE, p->photo[0], p->patch[0], p->hole, p->paste };
    painted_expose(p);
    return p;
}

void painted_free(struct painted *p)
{
    free(p);
}

/* Twelve uniform numbers, less their mean: close to normal, variance 1. */
static float normal(uint64_t *state)
{
    float sum = -6;

    for (int k = 0; k < 12; k++) {
        *state = *state * 6364136223846793005U + 1442695040888963407U;
        sum += (float)(*state >> 40) / (float)(1 << 24);
    }
    return sum;
}

static int clamp(int v)
{
    return v < 0 ? 0 : v >= SIDE ? SIDE - 1 : v;
}

/* Means over n x n pixels, with the picture's edge repeated. */
static void blur(float (*v)[3], int n)
{
    float(*across)[3] = malloc(sizeof(float[PAINTED_PIXELS][3]));

    CHECK(across);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < PAINTED_PIXELS; i++)
            for (int c = 0; c < 3; c++) {
                float sum = 0;

                for (int k = -(n / 2); k < n - n / 2; k++)
                    sum += pass ? v[clamp(i / SIDE + k) * SIDE + i % SIDE][c]
                                : v[i / SIDE * SIDE + clamp(i % SIDE + k)][c];
                across[i][c] = sum / (float)n;
            }
        memcpy(v, across, sizeof(float[PAINTED_PIXELS][3]));
    }
    free(across);
}

void painted_add_noise(struct painted *p, float sigma, int n, bool grey, unsigned seed)
{
    float(*noise)[3] = malloc(sizeof(float[PAINTED_PIXELS][3]));
    uint64_t state = seed;

    CHECK(noise);
    for (int i = 0; i < PAINTED_PIXELS; i++)
        for (int c = 0; c < 3; c++)
            noise[i][c] = grey && c ? noise[i][0] : sigma * (float)n * normal(&state);
    if (n > 1)
        blur(noise, n);
    for (int i = 0; i < PAINTED_PIXELS; i++)
        for (int c = 0; c < 3; c++)
            p->noisy[i][c] += noise[i][c];
    free(noise);
    painted_expose(p);
}

void painted_add_shot_noise(struct painted *p, float base, float slope, unsigned seed)
{
    uint64_t state = seed;

    for (int i = 0; i < PAINTED_PIXELS; i++)
        for (int c = 0; c < 3; c++)
            p->noisy[i][c] += (base + slope * p->truth[i][c]) * normal(&state);
    painted_expose(p);
}

static float cosine(int frequency, int at)
{
    return (frequency ? 0.5F : 0.35355339F) * cosf((float)M_PI * (float)(frequency * (2 * at + 1)) / 16);
}

/* One way or the other along rows, then along columns, of 8 x 8 values. */
static void turn(float v[8][8], bool back)
{
    float t[8][8];

    for (int pass = 0; pass < 2; pass++) {
        for (int y = 0; y < 8; y++)
            for (int x = 0; x < 8; x++) {
                t[x][y] = 0; /* transposed, and back with the second pass */
                for (int k = 0; k < 8; k++)
                    t[x][y] += v[y][k] * (back ? cosine(k, x) : cosine(x, k));
            }
        memcpy(v, t, sizeof t);
    }
}

void painted_quantise(struct painted *p, float step)
{
    for (int y = 0; y + 8 <= SIDE; y += 8)
        for (int x = 0; x + 8 <= SIDE; x += 8)
            for (int c = 0; c < 3; c++) {
                float v[8][8];

                for (int i = 0; i < 64; i++)
                    v[i / 8][i % 8] = p->noisy[(y + i / 8) * SIDE + x + i % 8][c];
                turn(v, false);
                for (int i = 0; i < 64; i++) {
                    float s = step * (1 + 0.3F * (float)(i / 8 + i % 8));
                    v[i / 8][i % 8] = s * roundf(v[i / 8][i % 8] / s);
                }
                turn(v, true);
                for (int i = 0; i < 64; i++)
                    p->noisy[(y + i / 8) * SIDE + x + i % 8][c] = v[i / 8][i % 8];
            }
    painted_expose(p);
}

static uint8_t level(float v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : lroundf(v));
}

void painted_expose(struct painted *p)
{
    for (int i = 0; i < PAINTED_PIXELS; i++)
        for (int c = 0; c < 3; c++)
            p->photo[i][c] = level(p->noisy[i][c]);
}

void painted_repeat(struct painted *p)
{
    for (int i = 0; i < PAINTED_PIXELS; i++)
        for (int c = 0; c < 3; c++)
            p->patch[i][c] = p->photo[i][c];
}

void painted_soften(struct painted *p)
{
    painted_repeat(p);
    blur(p->patch, 5);
}

uint8_t (*painted_compose(const struct painted *p))[3]
{
    uint8_t(*out)[3] = malloc(sizeof(uint8_t[PAINTED_PIXELS][3]));

    CHECK(out);
    for (int i = 0; i < PAINTED_PIXELS; i++)
        for (int c = 0; c < 3; c++) {
            float a = (float)p->paste[i] / 255;

            out[i][c] = a > 0 ? level((1 - a) * p->photo[i][c] + a * p->patch[i][c]) : p->photo[i][c];
        }
    return out;
}

static double luma(uint8_t (*v)[3], int x, int y)
{
    const uint8_t *p = v[y * SIDE + x];

    return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
}

/* The mean over (2 n + 1)^2 pixels. */
static double mean(uint8_t (*v)[3], int x, int y, int n)
{
    double sum = 0;

    for (int j = -n; j <= n; j++)
        for (int i = -n; i <= n; i++)
            sum += luma(v, x + i, y + j);
    return sum / ((2 * n + 1) * (2 * n + 1));
}

/* Fine: the second difference along both axes (Immerkaer 1996). Middle and broad: differences of means. */
static double filter(uint8_t (*v)[3], int x, int y, enum painted_structure s)
{
    if (s == PAINTED_MIDDLE)
        return luma(v, x, y) - mean(v, x, y, 1);
    if (s == PAINTED_BROAD)
        return mean(v, x, y, 1) - mean(v, x, y, 4);
    return 4 * luma(v, x, y) - 2 * (luma(v, x - 1, y) + luma(v, x + 1, y) + luma(v, x, y - 1) + luma(v, x, y + 1)) +
           luma(v, x - 1, y - 1) + luma(v, x + 1, y - 1) + luma(v, x - 1, y + 1) + luma(v, x + 1, y + 1);
}

double painted_ratio(const struct painted *p, uint8_t (*picture)[3], enum painted_structure s, int least)
{
    double in = 0, out = 0;
    int n_in = 0, n_out = 0;

    for (int i = 0; i < PAINTED_PIXELS; i++) {
        int x = i % SIDE, y = i / SIDE;
        float r = radius(i);
        double f;

        if (x < 6 || y < 6 || x >= SIDE - 6 || y >= SIDE - 6 || r > HOLE + 50 || (x + y) % 3)
            continue; /* a third of the pixels is enough */
        f = filter(picture, x, y, s);
        if (p->paste[i] >= least && (least == 255 || p->paste[i] < 255)) {
            in += f * f;
            n_in++;
        } else if (r > HOLE + 4) {
            out += f * f;
            n_out++;
        }
    }
    return sqrt(in / n_in) / sqrt(out / n_out);
}

double painted_change(const struct painted *p, uint8_t (*picture)[3])
{
    double most = 0;

    for (int i = 0; i < 3 * PAINTED_PIXELS; i++) {
        double d = fabs((double)picture[i / 3][i % 3] - (double)p->photo[i / 3][i % 3]);

        most = d > most ? d : most;
    }
    return most;
}
