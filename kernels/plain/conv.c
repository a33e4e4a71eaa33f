/*
 * conv - cross-correlation and nearest-neighbour doubling of pictures [H,W,C], sums in double.
 * Weights are stored as [c_out][kh][kw][c_in], so that the innermost loop reads both operands in order.
 */
#include "kernels/plain/cpu.h"
#include "kernels/plain/plain.h"

#include <string.h>

enum err_code plain_conv_weight_load(struct backend *be, const float *oihw, struct conv_weight *cw, struct err *err)
{
    int64_t n_taps = (int64_t)cw->kh * cw->kw, c_in = cw->c_in;
    size_t bytes = (size_t)cw->c_out * (size_t)n_taps * (size_t)c_in * sizeof(float);
    enum err_code rc = cpu_keep(be, bytes, &cw->data, err);
    float *to = cw->data;

    if (rc)
        return rc;
    for (int64_t o = 0; o < cw->c_out; o++)
        for (int64_t t = 0; t < n_taps; t++)
            for (int64_t i = 0; i < c_in; i++)
                *to++ = oihw[(o * c_in + i) * n_taps + t];
    return ERR_OK;
}

/* The product of channel o's weights with the window whose top left corner is (y0, x0), which may be in the padding. */
static double window(const struct tensor *x, const struct conv_weight *w, int64_t y0, int64_t x0, int64_t o)
{
    int64_t height = x->dims[0], width = x->dims[1];
    double sum = 0;

    for (int64_t dy = 0; dy < w->kh; dy++)
        for (int64_t dx = 0; dx < w->kw; dx++) {
            const float *tap = (const float *)w->data + ((o * w->kh + dy) * w->kw + dx) * w->c_in;

            if (y0 + dy < 0 || y0 + dy >= height || x0 + dx < 0 || x0 + dx >= width)
                continue;
            for (int64_t i = 0; i < w->c_in; i++)
                sum += cpu_load(x, (y0 + dy) * width + x0 + dx, i) * tap[i];
        }
    return sum;
}

enum err_code plain_conv2d(struct backend *be, struct tensor *y, const struct tensor *x, const struct conv_weight *w,
                           const struct tensor *bias, const struct conv_args *args, struct err *err)
{
    const struct tensor *residual = args->residual;
    const float *b = bias->data;
    int64_t width = y->dims[1], n_pixels = tensor_rows(y);

    (void)be, (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < n_pixels; p++) {
        int64_t y0 = p / width * args->stride - args->pad_top, x0 = p % width * args->stride - args->pad_left;

        for (int64_t o = 0; o < w->c_out; o++)
            cpu_store(y, p, o, window(x, w, y0, x0, o) + b[o] + (residual ? cpu_load(residual, p, o) : 0.0));
    }
    return ERR_OK;
}

enum err_code plain_upsample2x(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err)
{
    int64_t width = x->dims[1], c = tensor_cols(x), n_pixels = tensor_rows(y);

    (void)be, (void)err;
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < n_pixels; p++) {
        int64_t from = p / (2 * width) / 2 * width + p % (2 * width) / 2;

        if (x->dtype == y->dtype)
            memcpy(cpu_row(y, p), cpu_row(x, from), dtype_row_bytes(x->dtype, c));
        else
            for (int64_t i = 0; i < c; i++)
                cpu_store(y, p, i, cpu_load(x, from, i));
    }
    return ERR_OK;
}
