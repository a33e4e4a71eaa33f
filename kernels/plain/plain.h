/*
 * plain - the reference backend: an operation is a plain loop with sums in double, never clever. The fast backend
 * starts from this table and replaces the operations that are worth it.
 */
#ifndef KERNELS_PLAIN_PLAIN_H
#define KERNELS_PLAIN_PLAIN_H

#include "kernels/backend.h"

extern const struct backend_ops plain_ops;

/* The operations of backend.h. */
enum err_code plain_linear(struct backend *be, struct tensor *y, const struct tensor *x, const struct weight *w,
                           const struct bias *bias, enum activation act, struct err *err);
enum err_code plain_attention(struct backend *be, struct tensor *out, const struct tensor *q, const struct tensor *k,
                              const struct tensor *v, const struct attention_args *args, struct err *err);
enum err_code plain_layer_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                               const struct tensor *b, float eps, struct err *err);
enum err_code plain_modulate(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *shift,
                             const struct tensor *scale, float eps, struct err *err);
enum err_code plain_rms_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                             float eps, struct err *err);
enum err_code plain_group_norm(struct backend *be, struct tensor *y, const struct tensor *x, const struct tensor *w,
                               const struct tensor *b, const struct group_norm_args *args, struct err *err);
enum err_code plain_qk_norm_rope(struct backend *be, struct tensor *x, const struct tensor *scale,
                                 const struct tensor *rope, int n_heads, float eps, struct err *err);
enum err_code plain_gate_add(struct backend *be, struct tensor *x, const struct tensor *gate, const struct tensor *y,
                             struct err *err);
enum err_code plain_gate_add_modulate(struct backend *be, struct tensor *a, struct tensor *x, const struct tensor *y,
                                      const struct gate_modulate_args *args, struct err *err);
enum err_code plain_mul(struct backend *be, struct tensor *y, const struct tensor *a, const struct tensor *b,
                        struct err *err);
enum err_code plain_silu(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err);
enum err_code plain_axpy(struct backend *be, struct tensor *x, float a, const struct tensor *v, struct err *err);
enum err_code plain_copy(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err);
enum err_code plain_embed_rows(struct backend *be, struct tensor *y, const struct weight *table, const int32_t *ids,
                               struct err *err);
enum err_code plain_conv_weight_load(struct backend *be, const float *oihw, struct conv_weight *cw, struct err *err);
enum err_code plain_conv2d(struct backend *be, struct tensor *y, const struct tensor *x, const struct conv_weight *w,
                           const struct tensor *bias, const struct conv_args *args, struct err *err);
enum err_code plain_upsample2x(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err);

#endif
