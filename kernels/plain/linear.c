/*
 * linear - y = act(x w^T + bias): each row of w is expanded once and used for all rows of x; sums in double.
 */
#include "kernels/plain/cpu.h"
#include "kernels/plain/plain.h"

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

enum err_code plain_linear(struct backend *be, struct tensor *y, const struct tensor *x, const struct weight *w,
                           const struct bias *bias, enum activation act, struct err *err)
{
    int64_t n_rows = tensor_rows(x), n = w->rows, k = w->cols;
    size_t stride;
    const float *b = bias ? bias->f32.data : NULL;
    char *scratch = NULL;
    enum err_code rc = cpu_scratch(be, cpu_n_threads(), 2 * (size_t)k * sizeof(float), &scratch, &stride, err);

    if (rc)
        return rc;
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < n; o++) {
        float *w_row = (float *)(scratch + (size_t)cpu_thread() * stride), *tmp = w_row + k;

        dequantise_weight_row(w, o, w_row);
        for (int64_t i = 0; i < n_rows; i++) {
            double sum = dot(cpu_row_load(x, i, tmp), w_row, k) + (b ? (double)b[o] : 0.0);

            cpu_store(y, i, o, cpu_activation(act, sum));
        }
    }
    return ERR_OK;
}
