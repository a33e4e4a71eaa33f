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

EVERY_PROCESSOR void row_affine(float *y, const float *x, float mean, float factor, const float *w, const float *b,
                                int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * factor * (w ? w[i] : 1.0f) + (b ? b[i] : 0.0f);
}

EVERY_PROCESSOR void row_modulate(float *y, const float *x, float mean, float factor, const float *scale,
                                  const float *shift, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * factor * (1.0f + scale[i]) + shift[i];
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

EVERY_PROCESSOR void row_rotate_pairs(float *x, const float *rope, int64_t n)
{
    for (int64_t i = 0; i < n; i += 2) {
        float a = x[i], b = x[i + 1];

        x[i] = a * rope[i] - b * rope[i + 1];
        x[i + 1] = b * rope[i] + a * rope[i + 1];
    }
}

/*
 * exp(x) = 2^n exp(r), n the integer nearest to x / ln 2 and |r| <= ln 2 / 2. Adding and subtracting 1.5 * 2^23 rounds
 * to an integer and leaves it in the low bits. The polynomial is that of Cephes' expf; the error is below 2 ulp.
 * x is clamped to -87 .. 88; NaN stays NaN.
 */
INLINE_HOT float exp_value(float x)
{
    const float round = 12582912.0f;
    union word {
        float f;
        uint32_t u;
    } shifted, power;
    float n, r, p;

    x = 88.0f < x ? 88.0f : x;
    x = -87.0f > x ? -87.0f : x;
    shifted.f = x * 1.44269504088896341f + round;
    n = shifted.f - round;
    r = x - n * 0.693359375f + n * 2.12194440e-4f;
    p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    power.u = (shifted.u - 0x4b400000u + 127u) << 23;
    return p * power.f;
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

/* The two passes of row_exp_piece over `width` values from i on, at most LANES; width is a constant where it counts. */
INLINE_HOT void raise_max(float *l, int64_t i, int width, float scale, const float *bias, float *lanes)
{
    for (int j = 0; j < width; j++) {
        float value = l[i + j] * scale + (bias ? bias[i + j] : 0.0f);

        l[i + j] = value;
        lanes[j] = value > lanes[j] ? value : lanes[j];
    }
}

INLINE_HOT void add_exp(float *l, int64_t i, int width, float max, float *lanes)
{
    for (int j = 0; j < width; j++) {
        l[i + j] = exp_value(l[i + j] - max);
        lanes[j] += l[i + j];
    }
}

EVERY_PROCESSOR float row_exp_piece(float *l, int64_t n, float scale, const float *bias, float *max)
{
    int64_t whole = n - n % LANES;
    float lanes[LANES];

    for (int j = 0; j < LANES; j++)
        lanes[j] = *max;
    for (int64_t i = 0; i < whole; i += LANES)
        raise_max(l, i, LANES, scale, bias, lanes);
    raise_max(l, whole, (int)(n - whole), scale, bias, lanes);
    for (int j = 0; j < LANES; j++) {
        *max = lanes[j] > *max ? lanes[j] : *max;
        lanes[j] = 0;
    }
    for (int64_t i = 0; i < whole; i += LANES)
        add_exp(l, i, LANES, *max, lanes);
    add_exp(l, whole, (int)(n - whole), *max, lanes);
    return lanes_sum(lanes);
}

EVERY_PROCESSOR void row_add_squares(float *sum, const float *x, const float *about, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float delta = x[i] - about[i];

        sum[i] += delta * delta;
    }
}

EVERY_PROCESSOR void row_join_moments(double *mean, double *square_sum, double count, const float *more_mean,
                                      const float *more_square_sum, double more_count, int64_t n)
{
    double share = more_count / (count + more_count);

    for (int64_t i = 0; i < n; i++) {
        double delta = more_mean[i] - mean[i];

        mean[i] += delta * share;
        square_sum[i] += more_square_sum[i] + delta * delta * count * share;
    }
}
