/*
 * dnn_attention - attention as a graph of cuDNN: softmax(scale q k') v in f32, its weights rounded to bf16 as our flash
 * kernel rounds them. A shape is everything that a plan depends on. Nothing here needs a card.
 */
#ifndef KERNELS_CUDA_CUDNN_DNN_ATTENTION_H
#define KERNELS_CUDA_CUDNN_DNN_ATTENTION_H

#include "kernels/backend.h"
#include "kernels/cuda/cudnn/dnn_graph.h"

/* Without padding: shapes are compared as bytes. */
struct dnn_shape {
    int64_t n_q, n_k, n_heads, head_dim, q_stride, k_stride, v_stride, out_stride;
};

/* The tensors of the graph, as dnn_plan_run() is to name them. */
enum dnn_uid { DNN_Q = 1, DNN_K, DNN_V, DNN_OUT, DNN_SCALE /* one f32 of the host */ };

/* False where it is not what the graph describes: bf16, heads of 64 or 128, no bias, not causal, rows and data of
 * 16-byte alignment. */
bool dnn_attention_shape(const struct tensor *out, const struct tensor *q, const struct tensor *k,
                         const struct tensor *v, const struct attention_args *args, struct dnn_shape *ret);

/* ERR_UNSUPPORTED where there is no plan for it. */
MUST_CHECK enum err_code dnn_attention_plan(const struct cudnn *dnn, const struct dnn_shape *s, size_t workspace_bytes,
                                            struct dnn_plan *ret, struct err *err);

#endif
