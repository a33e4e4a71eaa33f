#include "models/patch/noise_tile.h"

#include <math.h>
#include <string.h>

#include "kernels/base/processor.h"

enum {
    N = NOISE_TILE,
    HALF = NOISE_TILE / 2,
    PER_BIN = NOISE_TILE / GRAIN_BLOCK, /* frequencies of the tile to a step of the bins */
    SWEEPS = 6                          /* of Jacobi's method; three dimensions need no more than five */
};

struct matrix {
    double at[3][3];
};

struct phases {
    float cosine[N], sine[N];
};

/* [N, N] complex numbers. */
struct plane {
    float (*at)[N][2];
};

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

static struct matrix matrix_of(const double p[GRAIN_PAIRS])
{
    return (struct matrix){ { { p[0], p[3], p[4] }, { p[3], p[1], p[5] }, { p[4], p[5], p[2] } } };
}

/* Rotates rows and columns i and j of m so that m[i][j] becomes 0, and the same columns of v. */
static void rotate(struct matrix *m, struct matrix *v, int i, int j)
{
    double theta, t, c, s;

    if (m->at[i][j] == 0.0)
        return;
    theta = (m->at[j][j] - m->at[i][i]) / (2 * m->at[i][j]);
    t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
    c = 1 / sqrt(t * t + 1);
    s = t * c;
    for (int k = 0; k < 3; k++) {
        double a = m->at[k][i], b = m->at[k][j], e = v->at[k][i], f = v->at[k][j];

        m->at[k][i] = c * a - s * b;
        m->at[k][j] = s * a + c * b;
        v->at[k][i] = c * e - s * f;
        v->at[k][j] = s * e + c * f;
    }
    for (int k = 0; k < 3; k++) {
        double a = m->at[i][k], b = m->at[j][k];

        m->at[i][k] = c * a - s * b;
        m->at[j][k] = s * a + c * b;
    }
}

/* The symmetric square root. Negative eigenvalues, which sums over samples may give, count as 0. */
static struct matrix square_root(struct matrix m)
{
    struct matrix v = { { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } } }, ret = { { { 0 } } };

    for (int k = 0; k < SWEEPS; k++) {
        rotate(&m, &v, 0, 1);
        rotate(&m, &v, 0, 2);
        rotate(&m, &v, 1, 2);
    }
    for (int k = 0; k < 3; k++) {
        double root = m.at[k][k] > 0 ? sqrt(m.at[k][k]) : 0;

        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                ret.at[i][j] += root * v.at[i][k] * v.at[j][k];
    }
    return ret;
}

/* How independent noise is mixed at frequencies (u, v) of the tile, u >= v: at u * (u + 1) / 2 + v. */
struct mix {
    struct matrix *at;
};

/* Between the bins the power is a plane through the four next to it. Waves slower than all bins fade to nothing. */
static struct matrix mix_of(const struct grain_spectrum *s, int u, int v)
{
    int i = u / PER_BIN < GRAIN_HALF ? u / PER_BIN : GRAIN_HALF - 1;
    int j = v / PER_BIN < GRAIN_HALF ? v / PER_BIN : GRAIN_HALF - 1;
    double x = (double)u / PER_BIN - i, y = (double)v / PER_BIN - j, p[GRAIN_PAIRS];

    for (int k = 0; k < GRAIN_PAIRS; k++)
        p[k] = (1 - x) * ((1 - y) * s->power[grain_bin(i, j)][k] + y * s->power[grain_bin(i, j + 1)][k]) +
               x * ((1 - y) * s->power[grain_bin(i + 1, j)][k] + y * s->power[grain_bin(i + 1, j + 1)][k]);
    return square_root(matrix_of(p));
}

static void fill_mix(const struct grain_spectrum *s, const struct mix *m)
{
#pragma omp parallel for schedule(dynamic)
    for (int u = 0; u <= HALF; u++)
        for (int v = 0; v <= u; v++)
            m->at[u * (u + 1) / 2 + v] = mix_of(s, u, v);
}

/* Adds wave (x, y) with amplitude w, and its mirror image, so that the sum is real. Red and green share a plane, as its
 * real and imaginary parts; blue has the real part of the other. */
static void put_wave(struct plane *rg, struct plane *b, int x, int y, const float w[3][2])
{
    int mx = (N - x) % N, my = (N - y) % N;
    bool alone = mx == x && my == y;

    rg->at[y][x][0] = w[0][0] - (alone ? 0 : w[1][1]);
    rg->at[y][x][1] = (alone ? 0 : w[0][1]) + w[1][0];
    b->at[y][x][0] = w[2][0];
    b->at[y][x][1] = alone ? 0 : w[2][1];
    if (alone)
        return;
    rg->at[my][mx][0] = w[0][0] + w[1][1];
    rg->at[my][mx][1] = -w[0][1] + w[1][0];
    b->at[my][mx][0] = w[2][0];
    b->at[my][mx][1] = -w[2][1];
}

static void fill_waves(const struct mix *mix, const struct phases *p, uint64_t seed, struct plane *rg, struct plane *b)
{
    for (int y = 0; y <= HALF; y++)
        for (int x = 0; x < ((y == 0 || y == HALF) ? HALF + 1 : N); x++) {
            int fx = x < HALF ? x : N - x, u = fx > y ? fx : y, v = fx > y ? y : fx;
            const struct matrix *m = &mix->at[u * (u + 1) / 2 + v];
            uint64_t bits = next_random(&seed);
            bool alone = x % HALF == 0 && y % HALF == 0;
            float w[3][2] = { { 0 } };

            for (int k = 0; k < 3; k++, bits >>= 16) {
                int phase = alone ? (bits & 1 ? HALF : 0) : (int)(bits % N);

                for (int c = 0; c < 3; c++) {
                    w[c][0] += (float)m->at[c][k] * p->cosine[phase];
                    w[c][1] += (float)m->at[c][k] * p->sine[phase];
                }
            }
            put_wave(rg, b, x, y, (const float(*)[2])w);
        }
}

static int reversed_bits(int v)
{
    int ret = 0;

    for (int bit = 1; bit < N; bit *= 2, v /= 2)
        ret = 2 * ret + (v & 1);
    return ret;
}

/* Radix 2, in place, with the sign of the inverse transform and without its division. */
static void transform_row(const struct phases *p, float (*v)[2])
{
    for (int i = 0; i < N; i++) {
        int j = reversed_bits(i);

        for (int k = 0; k < 2 && i < j; k++) {
            float t = v[i][k];
            v[i][k] = v[j][k];
            v[j][k] = t;
        }
    }
    for (int half = 1; half < N; half *= 2)
        for (int i = 0; i < N; i += 2 * half)
            for (int k = 0; k < half; k++) {
                float c = p->cosine[k * (HALF / half)], s = p->sine[k * (HALF / half)];
                float *a = v[i + k], *b = v[i + k + half], x = b[0] * c - b[1] * s, y = b[0] * s + b[1] * c;

                b[0] = a[0] - x;
                b[1] = a[1] - y;
                a[0] += x;
                a[1] += y;
            }
}

static void transpose(struct plane *m)
{
    for (int y = 0; y < N; y++)
        for (int x = 0; x < y; x++)
            for (int k = 0; k < 2; k++) {
                float t = m->at[y][x][k];
                m->at[y][x][k] = m->at[x][y][k];
                m->at[x][y][k] = t;
            }
}

/* The result is transposed, which does not matter to noise of equal power in all directions. */
static void transform(const struct phases *p, struct plane *m)
{
#pragma omp parallel for schedule(static)
    for (int y = 0; y < N; y++)
        transform_row(p, m->at[y]);
    transpose(m);
#pragma omp parallel for schedule(static)
    for (int y = 0; y < N; y++)
        transform_row(p, m->at[y]);
}

static void copy_tile(const struct noise_tile *t, const struct plane *rg, const struct plane *b)
{
    for (int y = 0; y < N; y++)
        for (int x = 0; x < N + NOISE_STEP + NOISE_OVERLAP; x++) {
            t->rows[y][x][0] = rg->at[y][x % N][0] / N;
            t->rows[y][x][1] = rg->at[y][x % N][1] / N;
            t->rows[y][x][2] = b->at[y][x % N][0] / N;
        }
}

enum err_code noise_tile_new(struct arena *a, const struct grain_spectrum *power, uint64_t seed, struct noise_tile *ret,
                             struct err *err)
{
    struct noise_tile t = { .seed = seed };
    struct mix mix;
    struct plane rg, b;
    struct phases p;

    TRY(arena_alloc(a, N, sizeof *t.rows, &t.rows, err));
    ARENA_SCRATCH(a);
    TRY(arena_alloc(a, (HALF + 1) * (HALF + 2) / 2, sizeof *mix.at, &mix.at, err));
    TRY(arena_alloc(a, N, sizeof *rg.at, &rg.at, err));
    TRY(arena_alloc(a, N, sizeof *b.at, &b.at, err));
    for (int i = 0; i < N; i++) {
        p.cosine[i] = (float)cos(2 * M_PI * i / N);
        p.sine[i] = (float)sin(2 * M_PI * i / N);
    }
    fill_mix(power, &mix);
    fill_waves(&mix, &p, seed, &rg, &b);
    transform(&p, &rg);
    transform(&p, &b);
    copy_tile(&t, &rg, &b);
    *ret = t;
    return ERR_OK;
}

/* A row of the square (column, row) of the plane, from its pixel (x, y) on. */
static const float *row_of_square(const struct noise_tile *t, int column, int row, int x, int y)
{
    uint64_t state = t->seed ^ ((uint64_t)(unsigned)(row + 1) << 32 | (unsigned)(column + 1));
    uint64_t place = next_random(&state);

    return t->rows[(place / N + (unsigned)y) % N][place % N + (unsigned)x];
}

EVERY_PROCESSOR static void add_run(float *restrict dst, const float *restrict src, int n, float weight)
{
    for (int i = 0; i < 3 * n; i++)
        dst[i] += weight * src[i];
}

/* The root of the share that a square has i pixels into its overlap. */
static float overlap_weight(int i)
{
    return sqrtf(((float)i + 0.5F) / NOISE_OVERLAP);
}

/* A run from the squares of one row of squares: the last one's end over this one's beginning. */
static void add_squares(const struct noise_tile *t, int column, int row, int y, float weight, float ret[NOISE_STEP][3])
{
    const float *old = row_of_square(t, column - 1, row, NOISE_STEP, y), *new = row_of_square(t, column, row, 0, y);

    for (int i = 0; i < NOISE_OVERLAP; i++)
        for (int c = 0; c < 3; c++)
            ret[i][c] +=
                weight * (overlap_weight(i) * new[3 * i + c] + overlap_weight(NOISE_OVERLAP - 1 - i) * old[3 * i + c]);
    add_run(ret[NOISE_OVERLAP], new + 3 * NOISE_OVERLAP, NOISE_STEP - NOISE_OVERLAP, weight);
}

void noise_tile_run(const struct noise_tile *t, int column, int y, float ret[NOISE_STEP][3])
{
    int row = y / NOISE_STEP, in = y % NOISE_STEP;

    memset(ret, 0, sizeof(float[NOISE_STEP][3]));
    if (in >= NOISE_OVERLAP) {
        add_squares(t, column, row, in, 1, ret);
        return;
    }
    add_squares(t, column, row, in, overlap_weight(in), ret);
    add_squares(t, column, row - 1, in + NOISE_STEP, overlap_weight(NOISE_OVERLAP - 1 - in), ret);
}
