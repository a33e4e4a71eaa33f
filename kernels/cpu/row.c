#include "kernels/cpu/row.h"

#include "kernels/base/processor.h"

enum { LANES = 32 };

INLINE_HOT float lanes_sum(const float *lanes)
{
    double sum = 0;

    for (int l = 0; l < LANES; l++)
        sum += lanes[l];
    return (float)sum;
}

EVERY_PROCESSOR float row_dot(const float *a, const float *b, int64_t n)
{
    float lanes[LANES] = { 0 };
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lanes[l] += a[i + l] * b[i + l];
    for (; i < n; i++)
        lanes[i % LANES] += a[i] * b[i];
    return lanes_sum(lanes);
}

EVERY_PROCESSOR float row_sum(const float *x, int64_t n)
{
    float lanes[LANES] = { 0 };
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lanes[l] += x[i + l];
    for (; i < n; i++)
        lanes[i % LANES] += x[i];
    return lanes_sum(lanes);
}

EVERY_PROCESSOR float row_square_sum(const float *x, float about, int64_t n)
{
    float lanes[LANES] = { 0 };
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float delta = x[i + l] - about;
            lanes[l] += delta * delta;
        }
    for (; i < n; i++)
        lanes[i % LANES] += (x[i] - about) * (x[i] - about);
    return lanes_sum(lanes);
}

EVERY_PROCESSOR void row_affine(float *y, const float *x, float mean, float factor, float plus, const float *w,
                                const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * factor * (w ? plus + w[i] : 1.0f) + (b ? b[i] : 0.0f);
}

EVERY_PROCESSOR void row_affine_channels(float *y, const float *x, const float *mean, const float *factor,
                                         const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean[i]) * factor[i] + b[i];
}

EVERY_PROCESSOR void row_mul(float *y, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] * b[i];
}

EVERY_PROCESSOR void row_add_scaled(float *x, float a, const float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] += a * v[i];
}

EVERY_PROCESSOR void row_add_gated(float *x, const float *gate, const float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] += gate[i] * v[i];
}

EVERY_PROCESSOR void row_scale(float *x, float a, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] *= a;
}

EVERY_PROCESSOR void row_turn_pairs(float *x, const float *rope, int64_t n)
{
    for (int64_t i = 0; i < n; i += 2) {
        float a = x[i], b = x[i + 1];

        x[i] = a * rope[i] - b * rope[i + 1];
        x[i + 1] = b * rope[i] + a * rope[i + 1];
    }
}

/*
 * exp(x) = 2^n exp(r), n the integer nearest to x / ln 2 and |r| <= ln 2 / 2. Adding and taking away 1.5 * 2^23 rounds
 * to an integer and leaves it in the low bits. The polynomial is that of Cephes' expf; the error is below 2 ulp.
 * 0 below -87, at most exp(88) above; NaN stays NaN.
 */
INLINE_HOT float exp_value(float x)
{
    const float round = 12582912.0f;
    union word {
        float f;
        uint32_t u;
    } shifted, power;
    float clamped = x > 88.0f ? 88.0f : x < -87.0f ? -87.0f : x, n, r, p;

    shifted.f = clamped * 1.44269504088896341f + round;
    n = shifted.f - round;
    r = clamped - n * 0.693359375f + n * 2.12194440e-4f;
    p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    power.u = (shifted.u - 0x4b400000u + 127u) << 23;
    return x < -87.0f ? 0.0f : p * power.f;
}

float row_exp(float x)
{
    return exp_value(x);
}

EVERY_PROCESSOR void row_silu(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] / (1.0f + exp_value(-x[i]));
}

EVERY_PROCESSOR float row_exp_piece(float *l, int64_t n, float scale, const float *bias, float *max)
{
    float lanes[LANES], largest = *max, sums[LANES] = { 0 };
    int64_t i = 0;

    for (int j = 0; j < LANES; j++)
        lanes[j] = largest;
    for (i = 0; i < n; i++)
        l[i] = l[i] * scale + (bias ? bias[i] : 0.0f);
    for (i = 0; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] = l[i + j] > lanes[j] ? l[i + j] : lanes[j];
    for (; i < n; i++)
        lanes[0] = l[i] > lanes[0] ? l[i] : lanes[0];
    for (int j = 0; j < LANES; j++)
        largest = lanes[j] > largest ? lanes[j] : largest;
    for (i = 0; i < n; i++)
        l[i] = exp_value(l[i] - largest);
    for (i = 0; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            sums[j] += l[i + j];
    for (; i < n; i++)
        sums[i % LANES] += l[i];
    *max = largest;
    return lanes_sum(sums);
}

EVERY_PROCESSOR void row_moments(const float *const *x, int n_rows, double count, double *mean, double *square_sum,
                                 int64_t n)
{
    for (int64_t c0 = 0; c0 < n; c0 += LANES) {
        int64_t width = n - c0 < LANES ? n - c0 : LANES;
        float sum[LANES] = { 0 }, here[LANES], squares[LANES] = { 0 };

        for (int r = 0; r < n_rows; r++)
            for (int64_t c = 0; c < width; c++)
                sum[c] += x[r][c0 + c];
        for (int64_t c = 0; c < width; c++)
            here[c] = sum[c] / (float)n_rows;
        for (int r = 0; r < n_rows; r++)
            for (int64_t c = 0; c < width; c++) {
                float delta = x[r][c0 + c] - here[c];
                squares[c] += delta * delta;
            }
        for (int64_t c = 0; c < width; c++) {
            double delta = here[c] - mean[c0 + c], total = count + n_rows;

            mean[c0 + c] += delta * n_rows / total;
            square_sum[c0 + c] += squares[c] + delta * delta * count * n_rows / total;
        }
    }
}
