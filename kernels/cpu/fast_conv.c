/*
 * conv2d by oneDNN on [H,W,C] as it lies. Weights are kept once, in the layout and type that a convolution of stride 1
 * wants; where another shape wants another layout they are rearranged for that call.
 */
#include "kernels/cpu/fast.h"

/* conv_weight.data holds the weights, conv_weight.handle the layout they have. */
static struct onednn_conv conv_shape(const struct fast *f, const struct conv_weight *w)
{
    return (struct onednn_conv){ .c_in = w->c_in, .c_out = w->c_out, .kh = w->kh, .kw = w->kw, .in_type = f->products };
}

/* A picture to choose the layout with; what is chosen depends on channels and stride, hardly ever on the size. */
static struct onednn_conv usual_shape(const struct fast *f, const struct conv_weight *w)
{
    struct onednn_conv s = conv_shape(f, w);
    int side = 64;

    s.h = s.w = side;
    s.h_out = s.w_out = side;
    s.stride = 1;
    s.pad_top = (w->kh - 1) / 2;
    s.pad_left = (w->kw - 1) / 2;
    s.pad_bottom = w->kh - 1 - s.pad_top;
    s.pad_right = w->kw - 1 - s.pad_left;
    s.out_type = f->products;
    return s;
}

enum err_code fast_conv_weight_load(struct backend *be, const float *oihw, struct conv_weight *cw, struct err *err)
{
    struct fast *f = (struct fast *)be;
    struct onednn_conv s = usual_shape(f, cw);
    const struct onednn_layout *wanted = NULL;
    struct onednn_layout *kept = NULL;
    size_t bytes = 0;
    enum err_code rc = onednn_conv_layout(f->team, &s, &wanted, &bytes, err);

    if (!rc)
        rc = cpu_keep(be, bytes, &cw->data, err);
    if (!rc)
        rc = onednn_layout_keep(f->team, wanted, &kept, err);
    if (rc)
        return rc;
    cw->handle = kept;
    return onednn_reorder(f->team, &s, NULL, oihw, kept, cw->data, err);
}

/* *weights in the layout that s wants. */
static enum err_code arrange(struct fast *f, const struct onednn_conv *s, const struct conv_weight *w,
                             const void **weights, struct err *err)
{
    const struct onednn_layout *wanted = NULL;
    size_t bytes = 0, stride;
    char *scratch;
    enum err_code rc = onednn_conv_layout(f->team, s, &wanted, &bytes, err);

    *weights = w->data;
    if (rc || onednn_layout_equal(wanted, w->handle))
        return rc;
    rc = cpu_scratch(&f->cpu.base, 1, bytes, &scratch, &stride, err);
    *weights = scratch;
    return rc ? rc : onednn_reorder(f->team, s, w->handle, w->data, wanted, scratch, err);
}

enum err_code fast_conv2d(struct backend *be, struct tensor *y, const struct tensor *x, const struct conv_weight *w,
                          const struct tensor *bias, const struct conv_args *args, struct err *err)
{
    struct fast *f = (struct fast *)be;
    struct onednn_conv s = conv_shape(f, w);
    const struct tensor *residual = args->residual;
    bool direct = fast_writes(f, y->dtype);
    struct tensor in, out = *y;
    const void *weights = NULL;
    enum err_code rc = fast_operands(f, 1, &x, &in, err);

    if (!rc && !direct)
        rc = cpu_buffer_fit(&f->whole, (size_t)tensor_count(y), sizeof(float), err);
    if (rc)
        return rc;
    if (!direct)
        out = tensor_make(DT_F32, y->n_dims, y->dims, f->whole.p);
    s.h = x->dims[0], s.w = x->dims[1], s.h_out = y->dims[0], s.w_out = y->dims[1];
    s.stride = args->stride;
    s.pad_top = args->pad_top, s.pad_left = args->pad_left;
    s.pad_bottom = args->pad_bottom, s.pad_right = args->pad_right;
    s.out_type = out.dtype;
    s.accumulate = residual != NULL;
    if (residual && residual->data != out.data)
        rc = fast_copy(be, &out, residual, err);
    if (!rc)
        rc = arrange(f, &s, w, &weights, err);
    if (!rc)
        rc = onednn_conv(f->team, &s, in.data, weights, bias->data, out.data, err);
    return rc || direct ? rc : fast_copy(be, y, &out, err);
}
