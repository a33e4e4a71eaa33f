/*
 * cudnn_attention - attention as a graph for cuDNN: softmax(scale q k') v in f32, with the softmax rounded to bf16 as
 * in our flash kernel. A shape is everything that a plan depends on. Nothing here needs a card.
 */
#ifndef KERNELS_CUDA_CUDNN_CUDNN_ATTENTION_H
#define KERNELS_CUDA_CUDNN_CUDNN_ATTENTION_H

#include "kernels/backend.h"
#include "kernels/cuda/cudnn/cudnn_graph.h"

/* Without padding: shapes are compared as bytes. */
struct cudnn_shape {
    int64_t n_q, n_k, n_heads, head_dim, q_stride, k_stride, v_stride, out_stride;
};

/* The uids of the graph's tensors, for cudnn_plan_run(). */
enum cudnn_uid { CUDNN_Q = 1, CUDNN_K, CUDNN_V, CUDNN_OUT, CUDNN_SCALE /* one f32 of the host */ };

/* False where the graph does not describe the call: it takes bf16, heads of 64 or 128, no bias, no causal mask, and
 * rows and data of 16-byte alignment. */
bool cudnn_attention_shape(const struct tensor *out, const struct tensor *q, const struct tensor *k,
                           const struct tensor *v, const struct attention_args *args, struct cudnn_shape *ret);

/* ERR_UNSUPPORTED where cuDNN has no plan for the shape. */
MUST_CHECK enum err_code cudnn_attention_plan(const struct cudnn *lib, const struct cudnn_shape *s,
                                              size_t workspace_bytes, struct cudnn_plan *ret, struct err *err);

#endif
