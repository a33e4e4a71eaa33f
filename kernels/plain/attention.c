/*
 * attention - softmax(scale * q k^T + bias) v, one query of one head at a time, all in double.
 *
 * The largest logit is subtracted before exp, so that logits of any size are fine. A NaN among them reaches every
 * value of the row.
 */
#include "kernels/plain/cpu.h"
#include "kernels/plain/plain.h"

#include <math.h>

/* l[0..n) becomes exp(l - max), a softmax before its division; returns the sum. */
static double exponentiate(double *l, int64_t n)
{
    double max = -INFINITY, sum = 0;

    for (int64_t j = 0; j < n; j++)
        max = l[j] > max ? l[j] : max;
    for (int64_t j = 0; j < n; j++) {
        l[j] = exp(l[j] - max);
        sum += l[j];
    }
    return sum;
}

enum err_code plain_attention(struct backend *be, struct tensor *out, const struct tensor *q, const struct tensor *k,
                              const struct tensor *v, const struct attention_args *args, struct err *err)
{
    int64_t n_q = tensor_rows(q), n_k = tensor_rows(k), d = args->head_dim;
    int64_t bias_cols = args->rel_bias ? tensor_cols(args->rel_bias) : 0, bias_zero = (bias_cols - 1) / 2;
    const float *bias = args->rel_bias ? args->rel_bias->data : NULL;
    char *scratch = NULL;
    size_t stride;
    enum err_code rc = cpu_scratch(be, cpu_n_threads(), (size_t)n_k * sizeof(double), &scratch, &stride, err);

    if (rc)
        return rc;
#pragma omp parallel for schedule(static)
    for (int64_t hi = 0; hi < args->n_heads * n_q; hi++) {
        int64_t h = hi / n_q, i = hi % n_q, n = args->causal && i + 1 < n_k ? i + 1 : n_k;
        double *l = (double *)(scratch + (size_t)cpu_thread() * stride), sum;

        for (int64_t j = 0; j < n; j++) {
            l[j] = 0;
            for (int64_t c = h * d; c < (h + 1) * d; c++)
                l[j] += cpu_load(q, i, c) * cpu_load(k, j, c);
            l[j] = l[j] * args->scale + (bias ? (double)bias[h * bias_cols + j - i + bias_zero] : 0.0);
        }
        sum = exponentiate(l, n);
        for (int64_t c = h * d; c < (h + 1) * d; c++) {
            double value = 0;

            for (int64_t j = 0; j < n; j++)
                value += l[j] * cpu_load(v, j, c);
            cpu_store(out, i, c, value / sum);
        }
    }
    return ERR_OK;
}
