#include "kernels/ops.h"

/* Each operation lists its conditions; the error names the first that does not hold. */
#define REQUIRE(cond)                                                          \
    do {                                                                       \
        if (!(cond))                                                           \
            return err_set(err, ERR_INVALID, "%s: needs %s", __func__, #cond); \
    } while (0)

/* The largest number of values in a tensor; it keeps products of dimensions, strides and sizes far from overflow. */
static const int64_t COUNT_MAX = (int64_t)1 << 40;

static bool is_tensor(const struct tensor *t)
{
    int64_t count = 1;

    if (!t || !t->data || (unsigned)t->dtype >= DT_COUNT || t->n_dims < 1 || t->n_dims > TENSOR_MAX_DIMS)
        return false;
    for (int i = 0; i < t->n_dims; i++) {
        if (t->dims[i] < 1 || t->dims[i] > COUNT_MAX / count)
            return false;
        count *= t->dims[i];
    }
    if (t->n_dims != 2)
        return tensor_is_dense(t);
    return t->row_stride >= t->dims[1] && t->row_stride <= COUNT_MAX / t->dims[0];
}

/* Activations, seen as rows and columns. */
static bool is_act(const struct tensor *t)
{
    return is_tensor(t) && dtype_is_activation(t->dtype);
}

static bool is_picture(const struct tensor *t)
{
    return is_act(t) && t->n_dims == 3;
}

static bool is_vector(const struct tensor *t, int64_t n)
{
    return is_tensor(t) && t->dtype == DT_F32 && t->n_dims == 1 && t->dims[0] == n;
}

static bool is_vector_or_null(const struct tensor *t, int64_t n)
{
    return !t || is_vector(t, n);
}

static bool is_bias_or_null(const struct bias *b, int64_t n)
{
    if (!b)
        return true;
    return is_vector(&b->f32, n) && (!b->bf16.data || (is_act(&b->bf16) && b->bf16.dtype == DT_BF16 &&
                                                       b->bf16.n_dims == 1 && b->bf16.dims[0] == n));
}

static bool is_weight(const struct weight *w)
{
    return w && (unsigned)w->dtype < DT_COUNT && w->rows > 0 && w->cols > 0 && w->rows <= COUNT_MAX / w->cols &&
           !dtype_is_integer(w->dtype) && dtype_row_bytes(w->dtype, w->cols) > 0;
}

enum err_code op_linear(struct backend *be, struct tensor *y, const struct tensor *x, const struct weight *w,
                        const struct bias *bias, enum activation act, struct err *err)
{
    REQUIRE(is_act(x));
    REQUIRE(is_act(y));
    REQUIRE(is_weight(w));
    REQUIRE(tensor_cols(x) == w->cols);
    REQUIRE(tensor_cols(y) == w->rows);
    REQUIRE(tensor_rows(x) == tensor_rows(y));
    REQUIRE(is_bias_or_null(bias, w->rows));
    REQUIRE((unsigned)act <= ACT_SILU);
    REQUIRE(x->data != y->data);
    return be->ops->linear(be, y, x, w, bias, act, err);
}

static bool is_bias_table(const struct tensor *t, int n_heads, int64_t n_tokens)
{
    return is_tensor(t) && t->dtype == DT_F32 && t->n_dims == 2 && tensor_is_dense(t) && t->dims[0] == n_heads &&
           t->dims[1] % 2 == 1 && (t->dims[1] + 1) / 2 >= n_tokens;
}

enum err_code op_attention(struct backend *be, struct tensor *out, const struct tensor *q, const struct tensor *k,
                           const struct tensor *v, const struct attention_args *args, struct err *err)
{
    REQUIRE(is_act(q));
    REQUIRE(is_act(k));
    REQUIRE(is_act(v));
    REQUIRE(is_act(out));
    REQUIRE(args->n_heads > 0 && args->head_dim > 0);
    REQUIRE(tensor_cols(q) == (int64_t)args->n_heads * args->head_dim);
    REQUIRE(tensor_cols(k) == tensor_cols(q));
    REQUIRE(tensor_same_shape(k, v));
    REQUIRE(tensor_same_shape(out, q));
    REQUIRE(q->dtype == k->dtype && k->dtype == v->dtype);
    REQUIRE(!args->rel_bias || is_bias_table(args->rel_bias, args->n_heads, tensor_rows(q)));
    REQUIRE(!args->rel_bias || is_bias_table(args->rel_bias, args->n_heads, tensor_rows(k)));
    REQUIRE(out->data != q->data && out->data != k->data && out->data != v->data);
    return be->ops->attention(be, out, q, k, v, args, err);
}

enum err_code op_layer_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                            const struct tensor *b, float eps, struct err *err)
{
    REQUIRE(is_act(x));
    REQUIRE(is_act(y));
    REQUIRE(tensor_same_shape(x, y));
    REQUIRE(is_vector_or_null(w, tensor_cols(x)));
    REQUIRE(is_vector_or_null(b, tensor_cols(x)));
    return be->ops->layer_norm(be, y, x, w, b, eps, err);
}

enum err_code op_modulate(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *shift,
                          const struct tensor *scale, float eps, struct err *err)
{
    REQUIRE(is_act(x));
    REQUIRE(is_act(y));
    REQUIRE(tensor_same_shape(x, y));
    REQUIRE(is_vector(shift, tensor_cols(x)));
    REQUIRE(is_vector(scale, tensor_cols(x)));
    return be->ops->modulate(be, y, x, shift, scale, eps, err);
}

enum err_code op_rms_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                          float eps, struct err *err)
{
    REQUIRE(is_act(x));
    REQUIRE(is_act(y));
    REQUIRE(tensor_same_shape(x, y));
    REQUIRE(is_vector(w, tensor_cols(x)));
    return be->ops->rms_norm(be, y, x, w, eps, err);
}

enum err_code op_group_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                            const struct tensor *b, const struct group_norm_args *args, struct err *err)
{
    REQUIRE(is_picture(x));
    REQUIRE(is_picture(y));
    REQUIRE(tensor_same_shape(x, y));
    REQUIRE(args->n_groups > 0 && tensor_cols(x) % args->n_groups == 0);
    REQUIRE(is_vector(w, tensor_cols(x)));
    REQUIRE(is_vector(b, tensor_cols(x)));
    REQUIRE(args->act == ACT_NONE || args->act == ACT_SILU);
    return be->ops->group_norm(be, y, x, w, b, args, err);
}

static bool is_rope_table(const struct tensor *t, int64_t rows, int64_t head_dim)
{
    return is_tensor(t) && t->dtype == DT_F32 && t->n_dims == 2 && t->dims[0] == rows && t->dims[1] == head_dim &&
           head_dim % 2 == 0;
}

enum err_code op_qk_norm_rope(struct backend *be, struct tensor *x, const struct tensor *scale,
                              const struct tensor *rope, int n_heads, float eps, struct err *err)
{
    REQUIRE(is_act(x));
    REQUIRE(n_heads > 0 && tensor_cols(x) % n_heads == 0);
    REQUIRE(is_vector(scale, tensor_cols(x) / n_heads));
    REQUIRE(!rope || is_rope_table(rope, tensor_rows(x), tensor_cols(x) / n_heads));
    return be->ops->qk_norm_rope(be, x, scale, rope, n_heads, eps, err);
}

enum err_code op_gate_add(struct backend *be, struct tensor *x, const struct tensor *gate, const struct tensor *y,
                          struct err *err)
{
    REQUIRE(is_act(x));
    REQUIRE(is_act(y));
    REQUIRE(tensor_same_shape(x, y));
    REQUIRE(is_vector_or_null(gate, tensor_cols(x)));
    return be->ops->gate_add(be, x, gate, y, err);
}

enum err_code op_gate_add_modulate(struct backend *be, struct tensor *a, struct tensor *x, const struct tensor *y,
                                   const struct gate_modulate_args *args, struct err *err)
{
    REQUIRE(is_act(a));
    REQUIRE(is_act(x));
    REQUIRE(is_act(y));
    REQUIRE(tensor_same_shape(x, y));
    REQUIRE(tensor_same_shape(x, a));
    REQUIRE(is_vector(args->gate, tensor_cols(x)));
    REQUIRE(is_vector(args->shift, tensor_cols(x)));
    REQUIRE(is_vector(args->scale, tensor_cols(x)));
    REQUIRE(x->data != a->data && x->data != y->data);
    REQUIRE(a->data != y->data || (a->dtype == y->dtype && a->row_stride == y->row_stride));
    return be->ops->gate_add_modulate(be, a, x, y, args, err);
}

enum err_code op_mul(struct backend *be, struct tensor *y, const struct tensor *a, const struct tensor *b,
                     struct err *err)
{
    REQUIRE(is_act(a));
    REQUIRE(is_act(b));
    REQUIRE(is_act(y));
    REQUIRE(tensor_same_shape(a, y));
    REQUIRE(tensor_same_shape(b, y));
    return be->ops->mul(be, y, a, b, err);
}

enum err_code op_silu(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err)
{
    REQUIRE(is_act(x));
    REQUIRE(is_act(y));
    REQUIRE(tensor_same_shape(x, y));
    return be->ops->silu(be, y, x, err);
}

enum err_code op_axpy(struct backend *be, struct tensor *x, float a, const struct tensor *v, struct err *err)
{
    REQUIRE(is_act(x) && x->dtype == DT_F32);
    REQUIRE(is_act(v) && v->dtype == DT_F32);
    REQUIRE(tensor_same_shape(x, v));
    return be->ops->axpy(be, x, a, v, err);
}

enum err_code op_copy(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err)
{
    REQUIRE(is_act(x));
    REQUIRE(is_act(y));
    REQUIRE(tensor_same_shape(x, y));
    return be->ops->copy(be, y, x, err);
}

enum err_code op_embed_rows(struct backend *be, struct tensor *y, const struct weight *table, const int32_t *ids,
                            struct err *err)
{
    REQUIRE(is_act(y));
    REQUIRE(is_weight(table));
    REQUIRE(tensor_cols(y) == table->cols);
    REQUIRE(ids != NULL);
    for (int64_t i = 0; i < tensor_rows(y); i++)
        REQUIRE(ids[i] >= 0 && ids[i] < table->rows);
    return be->ops->embed_rows(be, y, table, ids, err);
}

/* Windows of `kernel` pixels that fit into `size` padded pixels, one every `stride`; 0 when none does. */
static int64_t n_windows(int64_t size, int kernel, int stride)
{
    return size < kernel ? 0 : (size - kernel) / stride + 1;
}

enum err_code op_conv2d(struct backend *be, struct tensor *y, const struct tensor *x, const struct conv_weight *w,
                        const struct tensor *bias, const struct conv_args *args, struct err *err)
{
    REQUIRE(is_picture(x));
    REQUIRE(is_picture(y));
    REQUIRE(w && w->c_in > 0 && w->c_out > 0 && w->kh > 0 && w->kw > 0);
    REQUIRE(args->stride == 1 || args->stride == 2);
    REQUIRE(args->pad_top >= 0 && args->pad_top < w->kh && args->pad_left >= 0 && args->pad_left < w->kw);
    REQUIRE(args->pad_bottom >= 0 && args->pad_bottom < w->kh && args->pad_right >= 0 && args->pad_right < w->kw);
    REQUIRE(tensor_cols(x) == w->c_in);
    REQUIRE(tensor_cols(y) == w->c_out);
    REQUIRE(y->dims[0] == n_windows(x->dims[0] + args->pad_top + args->pad_bottom, w->kh, args->stride));
    REQUIRE(y->dims[1] == n_windows(x->dims[1] + args->pad_left + args->pad_right, w->kw, args->stride));
    REQUIRE(is_vector(bias, w->c_out));
    REQUIRE(!args->residual || (is_picture(args->residual) && tensor_same_shape(args->residual, y)));
    REQUIRE(x->data != y->data);
    return be->ops->conv2d(be, y, x, w, bias, args, err);
}

enum err_code op_upsample2x(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err)
{
    REQUIRE(is_picture(x));
    REQUIRE(is_picture(y));
    REQUIRE(y->dims[0] == 2 * x->dims[0]);
    REQUIRE(y->dims[1] == 2 * x->dims[1]);
    REQUIRE(y->dims[2] == x->dims[2]);
    REQUIRE(x->data != y->data);
    return be->ops->upsample2x(be, y, x, err);
}

static size_t tensor_bytes(const struct tensor *t)
{
    return dtype_row_bytes(t->dtype, tensor_cols(t)) * (size_t)tensor_rows(t);
}

enum err_code op_upload(struct backend *be, struct tensor *dst, const void *src, struct err *err)
{
    REQUIRE(is_tensor(dst));
    REQUIRE(tensor_is_dense(dst));
    REQUIRE(src != NULL);
    return be->ops->upload(be, dst->data, src, tensor_bytes(dst), err);
}

enum err_code op_download(struct backend *be, void *dst, const struct tensor *src, struct err *err)
{
    REQUIRE(is_tensor(src));
    REQUIRE(tensor_is_dense(src));
    REQUIRE(dst != NULL);
    return be->ops->download(be, dst, src->data, tensor_bytes(src), err);
}
