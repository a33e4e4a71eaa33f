#include "kernels/cuda/cudnn/dnn_attention.h"

static bool is_operand(const struct tensor *t)
{
    return t->dtype == DT_BF16 && (uintptr_t)t->data % 16 == 0 && t->row_stride % 8 == 0;
}

bool dnn_attention_shape(const struct tensor *out, const struct tensor *q, const struct tensor *k,
                         const struct tensor *v, const struct attention_args *args, struct dnn_shape *ret)
{
    if ((args->head_dim != 64 && args->head_dim != 128) || args->causal || args->rel_bias || !is_operand(out) ||
        !is_operand(q) || !is_operand(k) || !is_operand(v))
        return false;
    *ret = (struct dnn_shape){ .n_q = tensor_rows(q),
                               .n_k = tensor_rows(k),
                               .n_heads = args->n_heads,
                               .head_dim = args->head_dim,
                               .q_stride = q->row_stride,
                               .k_stride = k->row_stride,
                               .v_stride = v->row_stride,
                               .out_stride = out->row_stride };
    return true;
}

/* [1, heads, tokens, head_dim] over rows that hold the heads side by side. */
static void *heads(struct dnn_graph *g, const struct dnn_shape *s, int64_t uid, int64_t tokens, int64_t stride)
{
    int64_t dim = s->head_dim;
    const struct dnn_tensor t = { .uid = uid,
                                  .dtype = DT_BF16,
                                  .n_dims = 4,
                                  .dims = { 1, s->n_heads, tokens, dim },
                                  .strides = { tokens * stride, dim, stride, 1 } };

    return dnn_describe(g, &t);
}

static void describe_attention(struct dnn_graph *g, const struct dnn_shape *s)
{
    const struct dnn_tensor scale = {
        .uid = DNN_SCALE, .dtype = DT_F32, .by_value = true, .n_dims = 1, .dims = { 1 }, .strides = { 1 }
    };
    void *q = heads(g, s, DNN_Q, s->n_q, s->q_stride);
    void *k = heads(g, s, DNN_K, s->n_k, s->k_stride);
    void *v = heads(g, s, DNN_V, s->n_k, s->v_stride);
    void *out = heads(g, s, DNN_OUT, s->n_q, s->out_stride);
    void *factor = dnn_describe(g, &scale);
    void *op = dnn_part(g, DNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR, "attention");

    dnn_set_part(g, op, DNN_ATTR_OPERATION_SDPA_FWD_QDESC, q);
    dnn_set_part(g, op, DNN_ATTR_OPERATION_SDPA_FWD_KDESC, k);
    dnn_set_part(g, op, DNN_ATTR_OPERATION_SDPA_FWD_VDESC, v);
    dnn_set_part(g, op, DNN_ATTR_OPERATION_SDPA_FWD_ODESC, out);
    dnn_set_part(g, op, DNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, factor);
    dnn_finish_op(g, op);
}

enum err_code dnn_attention_plan(const struct cudnn *dnn, const struct dnn_shape *s, size_t workspace_bytes,
                                 struct dnn_plan *ret, struct err *err)
{
    struct dnn_graph g = { .dnn = dnn };

    describe_attention(&g, s);
    return dnn_plan_make(&g, workspace_bytes, ret, err);
}
