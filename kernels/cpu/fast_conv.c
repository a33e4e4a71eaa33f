/*
 * conv2d by oneDNN on pictures [H,W,C], in strips of rows.
 *
 * A task is one strip of the result, computed by one thread: which sums a convolution forms, and in which order, then
 * depends on its shape alone, and the bytes of a picture not on the number of threads. (With a team of threads, oneDNN
 * chooses its blocks by their number.) Weights are stored once, in the layout and type that a strip of stride 1 needs;
 * where another shape needs another layout, they are rearranged for that call.
 */
#include "kernels/cpu/fast.h"

enum {
    STRIP_PIXELS = 512, /* of the result, about: enough for oneDNN, and enough strips for many threads */
    STRIP_MIN_ROWS = 4  /* a strip reads kh - 1 rows more than it writes */
};

struct conv_op {
    struct fast *f;
    struct tensor in, out; /* in the type of products; of a type that oneDNN writes */
    const struct conv_weight *w;
    const struct conv_args *args;
    const float *bias;
    int64_t rows, n_strips;
    struct conv_strip {
        struct onednn_conv shape;
        const void *weights; /* in the layout of this shape */
    } kinds[FAST_STRIP_KINDS];
};

/* conv_weight.data points to the weights, conv_weight.handle to their layout. */
static struct onednn_conv conv_shape(const struct fast *f, const struct conv_weight *w)
{
    return (struct onednn_conv){ .c_in = w->c_in, .c_out = w->c_out, .kh = w->kh, .kw = w->kw, .in_type = f->products };
}

/* --- weights --- */

struct load_op {
    const float *oihw;
    struct fast *f;
    struct conv_weight *cw;
};

/* A shape to choose the layout with: oneDNN's choice depends on channels and stride, hardly ever on the size. */
static struct onednn_conv usual_shape(const struct fast *f, const struct conv_weight *w)
{
    struct onednn_conv s = conv_shape(f, w);
    int side = 64;

    s.w = s.w_out = side;
    s.h_out = STRIP_PIXELS / side;
    s.h = s.h_out + w->kh - 1;
    s.stride = 1;
    s.pad_left = (w->kw - 1) / 2;
    s.pad_right = w->kw - 1 - s.pad_left;
    s.out_type = f->products;
    return s;
}

static enum err_code load_task(const void *ctx, struct onednn *d, char *scratch, int64_t i, struct err *err)
{
    const struct load_op *op = ctx;
    struct onednn_conv s = usual_shape(op->f, op->cw);
    const struct onednn_layout *wanted = NULL;
    struct onednn_layout *kept = NULL;
    size_t bytes = 0;

    (void)scratch, (void)i;
    TRY(onednn_conv_layout(d, &s, &wanted, &bytes, err));
    TRY(cpu_keep(&op->f->cpu.base, bytes, &op->cw->data, err));
    TRY(onednn_layout_keep(d, wanted, &kept, err));
    op->cw->handle = kept;
    return onednn_reorder(d, &s, NULL, op->oihw, kept, op->cw->data, err);
}

enum err_code fast_conv_weight_load(struct backend *be, const float *oihw, struct conv_weight *cw, struct err *err)
{
    struct load_op op = { oihw, (struct fast *)be, cw };

    return fast_run(op.f, load_task, &op, 1, 0, err);
}

/* Sets the weights of one kind of strip to the layout that it needs. */
static enum err_code arrange_task(const void *ctx, struct onednn *d, char *scratch, int64_t i, struct err *err)
{
    struct conv_op *op = *(struct conv_op *const *)ctx;
    struct conv_strip *kind = &op->kinds[i];
    struct cpu_buffer *buffer = &op->f->arranged[i];
    const struct onednn_layout *wanted = NULL;
    size_t bytes = 0;

    (void)scratch;
    kind->weights = op->w->data;
    TRY(onednn_conv_layout(d, &kind->shape, &wanted, &bytes, err));
    if (onednn_layout_equal(wanted, op->w->handle))
        return ERR_OK;
    TRY(cpu_buffer_fit(buffer, 1, bytes, err));
    kind->weights = buffer->p;
    return onednn_reorder(d, &kind->shape, op->w->handle, op->w->data, wanted, buffer->p, err);
}

/* --- strips --- */

/* The shape of a strip of n rows of the result; the rows above and below are part of its input. */
static struct onednn_conv strip_shape(const struct conv_op *op, int64_t n)
{
    const struct conv_args *args = op->args;
    struct onednn_conv s = conv_shape(op->f, op->w);

    s.stride = args->stride;
    s.h = (n - 1) * args->stride + op->w->kh;
    s.w = op->in.dims[1];
    s.h_out = n;
    s.w_out = op->out.dims[1];
    s.pad_left = args->pad_left;
    s.pad_right = args->pad_right;
    s.out_type = op->out.dtype;
    s.accumulate = args->residual != NULL;
    return s;
}

static void cut_strips(struct conv_op *op)
{
    int64_t n = op->out.dims[0], last;

    op->rows = STRIP_PIXELS / op->out.dims[1];
    if (op->rows < STRIP_MIN_ROWS)
        op->rows = STRIP_MIN_ROWS;
    if (op->rows > n)
        op->rows = n;
    op->n_strips = (n + op->rows - 1) / op->rows;
    last = n - (op->n_strips - 1) * op->rows;
    op->kinds[0].shape = strip_shape(op, op->rows);
    op->kinds[1].shape = strip_shape(op, last);
}

/* The input of a strip that begins at row y, which may lie above the picture: the rows themselves, or, where some lie
 * outside, a copy with zeros in their place. */
static const void *strip_input(const struct conv_op *op, int64_t y, int64_t n, char *copy)
{
    size_t row = dtype_row_bytes(op->in.dtype, op->in.dims[1] * op->in.dims[2]);
    const char *in = op->in.data;

    if (y >= 0 && y + n <= op->in.dims[0])
        return in + (size_t)y * row;
    for (int64_t r = 0; r < n; r++)
        if (y + r < 0 || y + r >= op->in.dims[0])
            memset(copy + (size_t)r * row, 0, row);
        else
            memcpy(copy + (size_t)r * row, in + (size_t)(y + r) * row, row);
    return copy;
}

static enum err_code strip_task(const void *ctx, struct onednn *d, char *scratch, int64_t i, struct err *err)
{
    const struct conv_op *op = ctx;
    const struct conv_strip *kind = &op->kinds[i == op->n_strips - 1];
    int64_t first = i * op->rows;
    char *out =
        (char *)op->out.data + (size_t)first * dtype_row_bytes(op->out.dtype, op->out.dims[1] * op->out.dims[2]);
    const void *in = strip_input(op, first * op->args->stride - op->args->pad_top, kind->shape.h, scratch);

    return onednn_conv(d, &kind->shape, in, kind->weights, op->bias, out, err);
}

static enum err_code run_strips(struct conv_op *op, struct err *err)
{
    size_t input;

    cut_strips(op);
    input = dtype_row_bytes(op->in.dtype, op->kinds[0].shape.h * op->in.dims[1] * op->in.dims[2]);
    TRY(fast_run(op->f, arrange_task, &op, FAST_STRIP_KINDS, 0, err));
    return fast_run(op->f, strip_task, op, op->n_strips, input, err);
}

enum err_code fast_conv2d(struct backend *be, struct tensor *y, const struct tensor *x, const struct conv_weight *w,
                          const struct tensor *bias, const struct conv_args *args, struct err *err)
{
    struct fast *f = (struct fast *)be;
    struct conv_op op = { .f = f, .out = *y, .w = w, .args = args, .bias = bias->data };
    const struct tensor *residual = args->residual;
    bool direct = fast_writes(f, y->dtype);

    TRY(fast_operands(f, 1, &x, &op.in, err));
    if (!direct) {
        TRY(cpu_buffer_fit(&f->whole, (size_t)tensor_count(y), sizeof(float), err));
        op.out = tensor_make(DT_F32, y->n_dims, y->dims, f->whole.p);
    }
    if (residual && residual->data != op.out.data)
        TRY(fast_copy(be, &op.out, residual, err));
    TRY(run_strips(&op, err));
    return direct ? ERR_OK : fast_copy(be, y, &op.out, err);
}
