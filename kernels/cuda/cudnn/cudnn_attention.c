#include "kernels/cuda/cudnn/cudnn_attention.h"

static bool is_operand(const struct tensor *t)
{
    return t->dtype == DT_BF16 && (uintptr_t)t->data % 16 == 0 && t->row_stride % 8 == 0;
}

bool cudnn_attention_shape(const struct tensor *out, const struct tensor *q, const struct tensor *k,
                           const struct tensor *v, const struct attention_args *args, struct cudnn_shape *ret)
{
    if ((args->head_dim != 64 && args->head_dim != 128) || args->causal || args->rel_bias || !is_operand(out) ||
        !is_operand(q) || !is_operand(k) || !is_operand(v))
        return false;
    *ret = (struct cudnn_shape){ .n_q = tensor_rows(q),
                                 .n_k = tensor_rows(k),
                                 .n_heads = args->n_heads,
                                 .head_dim = args->head_dim,
                                 .q_stride = q->row_stride,
                                 .k_stride = k->row_stride,
                                 .v_stride = v->row_stride,
                                 .out_stride = out->row_stride };
    return true;
}

/* Describes rows that hold the heads next to each other as [1, heads, tokens, head_dim]. */
static void *heads(struct cudnn_graph *g, const struct cudnn_shape *s, int64_t uid, int64_t tokens, int64_t stride)
{
    int64_t dim = s->head_dim;
    const struct cudnn_tensor t = { .uid = uid,
                                    .dtype = DT_BF16,
                                    .n_dims = 4,
                                    .dims = { 1, s->n_heads, tokens, dim },
                                    .strides = { tokens * stride, dim, stride, 1 } };

    return cudnn_describe(g, &t);
}

static void describe_attention(struct cudnn_graph *g, const struct cudnn_shape *s)
{
    const struct cudnn_tensor scale = {
        .uid = CUDNN_SCALE, .dtype = DT_F32, .by_value = true, .n_dims = 1, .dims = { 1 }, .strides = { 1 }
    };
    void *q = heads(g, s, CUDNN_Q, s->n_q, s->q_stride);
    void *k = heads(g, s, CUDNN_K, s->n_k, s->k_stride);
    void *v = heads(g, s, CUDNN_V, s->n_k, s->v_stride);
    void *out = heads(g, s, CUDNN_OUT, s->n_q, s->out_stride);
    void *factor = cudnn_describe(g, &scale);
    void *op = cudnn_part(g, CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR, "attention");

    cudnn_set_part(g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, q);
    cudnn_set_part(g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, k);
    cudnn_set_part(g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, v);
    cudnn_set_part(g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, out);
    cudnn_set_part(g, op, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, factor);
    cudnn_finish_op(g, op);
}

enum err_code cudnn_attention_plan(const struct cudnn *lib, const struct cudnn_shape *s, size_t workspace_bytes,
                                   struct cudnn_plan *ret, struct err *err)
{
    struct cudnn_graph g = { .lib = lib };

    describe_attention(&g, s);
    return cudnn_plan_make(&g, workspace_bytes, ret, err);
}
