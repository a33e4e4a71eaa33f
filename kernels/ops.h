/*
 * ops - the operations of backend.h behind one check of dtypes and shapes. backend.h describes what each computes.
 * All return ERR_INVALID for tensors that do not fit, else what the backend returns.
 */
#ifndef KERNELS_OPS_H
#define KERNELS_OPS_H

#include "kernels/backend.h"

MUST_CHECK enum err_code op_linear(struct backend *be, struct tensor *y, const struct tensor *x, const struct weight *w,
                                   const struct bias *bias, enum activation act, struct err *err);
MUST_CHECK enum err_code op_attention(struct backend *be, struct tensor *out, const struct tensor *q,
                                      const struct tensor *k, const struct tensor *v, const struct attention_args *args,
                                      struct err *err);
MUST_CHECK enum err_code op_layer_norm(struct backend *be, struct tensor *y, const struct tensor *x,
                                       const struct tensor *w, const struct tensor *b, float eps, struct err *err);
MUST_CHECK enum err_code op_modulate(struct backend *be, struct tensor *y, const struct tensor *x,
                                     const struct tensor *shift, const struct tensor *scale, float eps,
                                     struct err *err);
MUST_CHECK enum err_code op_rms_norm(struct backend *be, struct tensor *y, const struct tensor *x,
                                     const struct tensor *w, float eps, struct err *err);
MUST_CHECK enum err_code op_group_norm(struct backend *be, struct tensor *y, const struct tensor *x,
                                       const struct tensor *w, const struct tensor *b,
                                       const struct group_norm_args *args, struct err *err);
MUST_CHECK enum err_code op_qk_norm_rope(struct backend *be, struct tensor *x, const struct tensor *scale,
                                         const struct tensor *rope, int n_heads, float eps, struct err *err);
MUST_CHECK enum err_code op_gate_add(struct backend *be, struct tensor *x, const struct tensor *gate,
                                     const struct tensor *y, struct err *err);
MUST_CHECK enum err_code op_gate_add_modulate(struct backend *be, struct tensor *a, struct tensor *x,
                                              const struct tensor *y, const struct gate_modulate_args *args,
                                              struct err *err);
MUST_CHECK enum err_code op_mul(struct backend *be, struct tensor *y, const struct tensor *a, const struct tensor *b,
                                struct err *err);
MUST_CHECK enum err_code op_silu(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err);
MUST_CHECK enum err_code op_axpy(struct backend *be, struct tensor *x, float a, const struct tensor *v,
                                 struct err *err);
MUST_CHECK enum err_code op_copy(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err);
MUST_CHECK enum err_code op_embed_rows(struct backend *be, struct tensor *y, const struct weight *table,
                                       const int32_t *ids, struct err *err);
MUST_CHECK enum err_code op_conv2d(struct backend *be, struct tensor *y, const struct tensor *x,
                                   const struct conv_weight *w, const struct tensor *bias, const struct conv_args *args,
                                   struct err *err);
MUST_CHECK enum err_code op_upsample2x(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err);

/* Copies between a dense tensor and host memory of the same dtype; download waits for the stream. */
MUST_CHECK enum err_code op_upload(struct backend *be, struct tensor *dst, const void *src, struct err *err);
MUST_CHECK enum err_code op_download(struct backend *be, void *dst, const struct tensor *src, struct err *err);

#endif
