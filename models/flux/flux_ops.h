/*
 * flux_ops - the operations that the transformer's layers are made of, on its linear layers and its joint qkv rows.
 */
#ifndef MODELS_FLUX_FLUX_OPS_H
#define MODELS_FLUX_FLUX_OPS_H

#include "models/flux/flux.h"

#define FLUX_NORM_EPS 1e-6f

/* The three vectors that modulate a stream, F32 [hidden] each. */
struct flux_mod {
    struct tensor shift, scale, gate;
};

/* y = act(x w^T + b) */
MUST_CHECK enum err_code flux_linear_run(const struct flux *f, struct tensor *y, const struct tensor *x,
                                         const struct flux_linear *l, enum activation act, struct err *err);
/* A dense copy of x from `mem`, as rows of the type that matrix products take; a vector becomes one row. */
MUST_CHECK enum err_code flux_as_act(const struct flux *f, const struct tensor *x, struct devarena *mem,
                                     struct tensor *ret, struct err *err);
/* In place on the rows of a stream in qkv: norm of q and k per head, then rotation (rope NULL: position 0). */
MUST_CHECK enum err_code flux_qk_norm_rope(const struct flux *f, struct tensor *qkv, const struct tensor *query_norm,
                                           const struct tensor *key_norm, const struct tensor *rope, struct err *err);
/* out [N, hidden] = attention of all rows of qkv [N, 3 * hidden]; may not overlap it. */
MUST_CHECK enum err_code flux_attention(const struct flux *f, const struct tensor *qkv, struct tensor *out,
                                        struct err *err);
/* x += gate * y, and then a = x under the modulation `next`, whose gate is not used. a may be y. */
MUST_CHECK enum err_code flux_add_and_modulate(const struct flux *f, struct tensor *a, struct tensor *x,
                                               const struct tensor *y, const struct tensor *gate,
                                               const struct flux_mod *next, struct err *err);

#endif
