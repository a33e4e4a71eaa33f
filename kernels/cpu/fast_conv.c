/*
 * conv2d by oneDNN on pictures [H,W,C]. Weights are stored once, in the layout and type that a convolution of stride 1
 * needs; where another shape needs another layout, they are rearranged for that call.
 */
#include "kernels/cpu/fast.h"

/* conv_weight.data points to the weights, conv_weight.handle to their layout. */
static struct onednn_conv conv_shape(const struct fast *f, const struct conv_weight *w)
{
    return (struct onednn_conv){ .c_in = w->c_in, .c_out = w->c_out, .kh = w->kh, .kw = w->kw, .in_type = f->products };
}

/* A shape to choose the layout with: oneDNN's choice depends on channels and stride, hardly ever on the size. */
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

    TRY(onednn_conv_layout(f->team, &s, &wanted, &bytes, err));
    TRY(cpu_keep(be, bytes, &cw->data, err));
    TRY(onednn_layout_keep(f->team, wanted, &kept, err));
    cw->handle = kept;
    return onednn_reorder(f->team, &s, NULL, oihw, kept, cw->data, err);
}

/* Sets *weights to the weights in the layout that s needs. */
static enum err_code arrange(struct fast *f, const struct onednn_conv *s, const struct conv_weight *w,
                             const void **weights, struct err *err)
{
    const struct onednn_layout *wanted = NULL;
    size_t bytes = 0, stride;
    char *scratch;

    *weights = w->data;
    TRY(onednn_conv_layout(f->team, s, &wanted, &bytes, err));
    if (onednn_layout_equal(wanted, w->handle))
        return ERR_OK;
    TRY(cpu_scratch(&f->cpu.base, 1, bytes, &scratch, &stride, err));
    *weights = scratch;
    return onednn_reorder(f->team, s, w->handle, w->data, wanted, scratch, err);
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

    TRY(fast_operands(f, 1, &x, &in, err));
    if (!direct) {
        TRY(cpu_buffer_fit(&f->whole, (size_t)tensor_count(y), sizeof(float), err));
        out = tensor_make(DT_F32, y->n_dims, y->dims, f->whole.p);
    }
    s.h = x->dims[0], s.w = x->dims[1], s.h_out = y->dims[0], s.w_out = y->dims[1];
    s.stride = args->stride;
    s.pad_top = args->pad_top, s.pad_left = args->pad_left;
    s.pad_bottom = args->pad_bottom, s.pad_right = args->pad_right;
    s.out_type = out.dtype;
    s.accumulate = residual != NULL;
    if (residual && residual->data != out.data)
        TRY(fast_copy(be, &out, residual, err));
    TRY(arrange(f, &s, w, &weights, err));
    TRY(onednn_conv(f->team, &s, in.data, weights, bias->data, out.data, err));
    return direct ? ERR_OK : fast_copy(be, y, &out, err);
}
