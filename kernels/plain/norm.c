/*
 * norm - LayerNorm, modulation, RMSNorm, GroupNorm, and RMSNorm of heads with rotation. Statistics in double, the
 * variance in a second pass over the row. All may run in place; gate_add_modulate may write over y.
 */
#include "kernels/plain/cpu.h"
#include "kernels/plain/plain.h"

#include <math.h>

struct moments {
    double mean, inv_std;
};

/* The moments of columns [c0, c0 + n_cols) of rows [r0, r0 + n_rows). */
static struct moments moments(const struct tensor *x, int64_t r0, int64_t n_rows, int64_t c0, int64_t n_cols,
                              double eps)
{
    double sum = 0, squares = 0, count = (double)n_rows * (double)n_cols, mean;

    for (int64_t r = r0; r < r0 + n_rows; r++)
        for (int64_t c = c0; c < c0 + n_cols; c++)
            sum += cpu_load(x, r, c);
    mean = sum / count;
    for (int64_t r = r0; r < r0 + n_rows; r++)
        for (int64_t c = c0; c < c0 + n_cols; c++) {
            double delta = cpu_load(x, r, c) - mean;
            squares += delta * delta;
        }
    return (struct moments){ mean, 1.0 / sqrt(squares / count + eps) };
}

/* 1 / sqrt(mean(x^2) + eps) over columns [c0, c0 + n). */
static double inverse_rms(const struct tensor *x, int64_t row, int64_t c0, int64_t n, double eps)
{
    double squares = 0;

    for (int64_t c = c0; c < c0 + n; c++)
        squares += cpu_load(x, row, c) * cpu_load(x, row, c);
    return 1.0 / sqrt(squares / (double)n + eps);
}

enum err_code plain_layer_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                               const struct tensor *b, float eps, struct err *err)
{
    const float *scale = w ? w->data : NULL, *shift = b ? b->data : NULL;
    int64_t n_rows = tensor_rows(x), n_cols = tensor_cols(x);

    (void)be, (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < n_rows; r++) {
        struct moments m = moments(x, r, 1, 0, n_cols, eps);

        for (int64_t c = 0; c < n_cols; c++)
            cpu_store(y, r, c,
                      (cpu_load(x, r, c) - m.mean) * m.inv_std * (scale ? (double)scale[c] : 1.0) +
                          (shift ? (double)shift[c] : 0.0));
    }
    return ERR_OK;
}

enum err_code plain_modulate(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *shift,
                             const struct tensor *scale, float eps, struct err *err)
{
    const float *sh = shift->data, *sc = scale->data;
    int64_t n_rows = tensor_rows(x), n_cols = tensor_cols(x);

    (void)be, (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < n_rows; r++) {
        struct moments m = moments(x, r, 1, 0, n_cols, eps);

        for (int64_t c = 0; c < n_cols; c++)
            cpu_store(y, r, c, (cpu_load(x, r, c) - m.mean) * m.inv_std * (1.0 + sc[c]) + sh[c]);
    }
    return ERR_OK;
}

enum err_code plain_gate_add_modulate(struct backend *be, struct tensor *a, struct tensor *x, const struct tensor *y,
                                      const struct gate_modulate_args *args, struct err *err)
{
    enum err_code rc = plain_gate_add(be, x, args->gate, y, err);

    return rc ? rc : plain_modulate(be, a, x, args->shift, args->scale, args->eps, err);
}

enum err_code plain_rms_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                             float eps, struct err *err)
{
    const float *scale = w->data;
    int64_t n_rows = tensor_rows(x), n_cols = tensor_cols(x);

    (void)be, (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < n_rows; r++) {
        double inverse = inverse_rms(x, r, 0, n_cols, eps);

        for (int64_t c = 0; c < n_cols; c++)
            cpu_store(y, r, c, cpu_load(x, r, c) * inverse * scale[c]);
    }
    return ERR_OK;
}

enum err_code plain_group_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                               const struct tensor *b, const struct group_norm_args *args, struct err *err)
{
    const float *scale = w->data, *shift = b->data;
    int64_t n_pixels = tensor_rows(x), group = tensor_cols(x) / args->n_groups;

    (void)be, (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t g = 0; g < args->n_groups; g++) {
        struct moments m = moments(x, 0, n_pixels, g * group, group, args->eps);

        for (int64_t r = 0; r < n_pixels; r++)
            for (int64_t c = g * group; c < (g + 1) * group; c++) {
                double value = (cpu_load(x, r, c) - m.mean) * m.inv_std * scale[c] + shift[c];

                cpu_store(y, r, c, args->act == ACT_NONE ? value : cpu_activation(args->act, value));
            }
    }
    return ERR_OK;
}

/* One head in place: norm, then each adjacent pair rotated by its (cos, sin). */
static void norm_and_rotate(struct tensor *x, int64_t row, int64_t c0, int64_t d, const float *scale, const float *rope,
                            double eps)
{
    double inverse = inverse_rms(x, row, c0, d, eps);

    for (int64_t i = 0; i < d; i++)
        if (!rope) {
            cpu_store(x, row, c0 + i, cpu_load(x, row, c0 + i) * inverse * scale[i]);
        } else if (i % 2 == 0) {
            double a = cpu_load(x, row, c0 + i) * inverse * scale[i];
            double b = cpu_load(x, row, c0 + i + 1) * inverse * scale[i + 1];

            cpu_store(x, row, c0 + i, a * rope[i] - b * rope[i + 1]);
            cpu_store(x, row, c0 + i + 1, b * rope[i] + a * rope[i + 1]);
        }
}

enum err_code plain_qk_norm_rope(struct backend *be, struct tensor *x, const struct tensor *scale,
                                 const struct tensor *rope, int n_heads, float eps, struct err *err)
{
    int64_t n_rows = tensor_rows(x), d = tensor_cols(x) / n_heads;

    (void)be, (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t h = 0; h < n_heads; h++)
            norm_and_rotate(x, r, h * d, d, scale->data, rope ? (const float *)cpu_row(rope, r) : NULL, eps);
    return ERR_OK;
}
