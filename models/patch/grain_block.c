#include "models/patch/grain_block.h"

#include <math.h>
#include <string.h>

enum { N = GRAIN_BLOCK };

/* What is left of noise of variance 1 at frequencies fx, fy once its plane is gone: the windowed wave's power without
 * its parts along a constant and along two slopes, which are at right angles to each other. */
static double power_of_noise(const struct grain_transform *t, int fx, int fy)
{
    const double middle = (N - 1) * 0.5, moment = N * (N * N - 1) / 12.0;
    double x[2][2] = { { 0 } }, y[2][2] = { { 0 } }, power = 0, taken = 0;

    for (int i = 0; i < N; i++) { /* along one axis: the wave itself, and its part along the slope */
        double w = (double)t->window[i], slope = (i - middle) / sqrt(moment), flat = 1 / sqrt(N);

        power += w * w;
        for (int k = 0; k < 2; k++) {
            const float *wave = k ? t->sine : t->cosine;

            x[0][k] += flat * w * (double)wave[(i * fx) & (N - 1)];
            x[1][k] += slope * w * (double)wave[(i * fx) & (N - 1)];
            y[0][k] += flat * w * (double)wave[(i * fy) & (N - 1)];
            y[1][k] += slope * w * (double)wave[(i * fy) & (N - 1)];
        }
    }
    for (int k = 0; k < 3; k++) { /* the constant, the slope across, the slope down */
        const double *a = x[k == 1], *b = y[k == 2];

        taken += (a[0] * a[0] + a[1] * a[1]) * (b[0] * b[0] + b[1] * b[1]);
    }
    return power * power - taken;
}

void grain_transform_init(struct grain_transform *t)
{
    double power[GRAIN_BINS] = { 0 };

    for (int i = 0; i < N; i++) {
        double phase = 2 * M_PI * i / N;

        t->window[i] = (float)(0.5 - 0.5 * cos(phase));
        t->cosine[i] = (float)cos(phase);
        t->sine[i] = (float)sin(phase);
    }
    for (int i = 0; i < N * N; i++) {
        int fx = i % N <= N / 2 ? i % N : N - i % N, fy = i / N <= N / 2 ? i / N : N - i / N;

        t->bin[i] = (unsigned char)grain_bin(fx, fy);
        power[t->bin[i]] += power_of_noise(t, fx, fy);
    }
    power[0] = HUGE_VAL; /* the mean says nothing of grain */
    for (int k = 0; k < GRAIN_BINS; k++)
        t->share[k] = (float)(1 / power[k]);
}

static void flatten(float *v)
{
    float sum = 0, across = 0, down = 0;
    const float middle = (N - 1) * 0.5F, moment = N * (N * N - 1) * N / 12.0F; /* of the squared distances */

    for (int i = 0; i < N * N; i++) {
        sum += v[i];
        across += v[i] * ((float)(i % N) - middle);
        down += v[i] * ((float)(i / N) - middle);
    }
    sum /= N * N;
    across /= moment;
    down /= moment;
    for (int i = 0; i < N * N; i++)
        v[i] -= sum + across * ((float)(i % N) - middle) + down * ((float)(i / N) - middle);
}

void grain_block_flatten(struct grain_block *b)
{
    for (int c = 0; c < 3; c++)
        flatten(b->channel[c]);
}

struct waves {
    float re[N * N], im[N * N];
};

/* Radix 2 on 16 values that are `stride` apart. */
static void transform_16(const struct grain_transform *t, float *re, float *im, int stride)
{
    static const unsigned char reversed[N] = { 0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15 };
    float a[N], b[N];

    for (int i = 0; i < N; i++) {
        a[i] = re[reversed[i] * stride];
        b[i] = im[reversed[i] * stride];
    }
    for (int half = 1; half < N; half *= 2)
        for (int i = 0; i < N; i += 2 * half)
            for (int k = 0; k < half; k++) {
                float c = t->cosine[k * (N / 2 / half)], s = -t->sine[k * (N / 2 / half)];
                float x = a[i + k + half] * c - b[i + k + half] * s, y = a[i + k + half] * s + b[i + k + half] * c;

                a[i + k + half] = a[i + k] - x;
                b[i + k + half] = b[i + k] - y;
                a[i + k] += x;
                b[i + k] += y;
            }
    for (int i = 0; i < N; i++) {
        re[i * stride] = a[i];
        im[i * stride] = b[i];
    }
}

static void transform(const struct grain_transform *t, const float *v, struct waves *w)
{
    for (int i = 0; i < N * N; i++)
        w->re[i] = v[i] * t->window[i % N] * t->window[i / N];
    memset(w->im, 0, sizeof w->im);
    for (int y = 0; y < N; y++)
        transform_16(t, w->re + y * N, w->im + y * N, 1);
    for (int x = 0; x < N; x++)
        transform_16(t, w->re + x, w->im + x, N);
}

void grain_block_spectrum(const struct grain_transform *t, const struct grain_block *b,
                          float ret[GRAIN_BINS][GRAIN_PAIRS])
{
    static const unsigned char first[GRAIN_PAIRS] = { 0, 1, 2, 0, 0, 1 }, second[GRAIN_PAIRS] = { 0, 1, 2, 1, 2, 2 };
    struct waves w[3];

    memset(ret, 0, sizeof(float[GRAIN_BINS][GRAIN_PAIRS]));
    for (int c = 0; c < 3; c++)
        transform(t, b->channel[c], &w[c]);
    for (int p = 0; p < GRAIN_PAIRS; p++) {
        const struct waves *f = &w[first[p]], *g = &w[second[p]];

        for (int i = 0; i < N * N; i++)
            ret[t->bin[i]][p] += f->re[i] * g->re[i] + f->im[i] * g->im[i];
        for (int k = 0; k < GRAIN_BINS; k++)
            ret[k][p] *= t->share[k];
    }
}
