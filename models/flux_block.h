/*
 * flux_block - what double and single blocks share. Internal to the transformer; flux_run_block is the way in.
 *
 * A block changes the joint stream in place and takes its scratch from `mem`, which it gives back. `mod_col` is the
 * block's first column in the job's modulation table.
 */
#ifndef MODELS_FLUX_BLOCK_H
#define MODELS_FLUX_BLOCK_H

#include "models/flux.h"

struct flux_mod {
    struct tensor shift, scale, gate; /* F32 [hidden] */
};

#define FLUX_NORM_EPS 1e-6f

/* The three vectors from column `col` on, of one step. */
struct flux_mod flux_mod_at(const struct flux *f, const struct flux_job *job, int step, int64_t col);

/* In place on the rows of a stream in qkv: norm of q and k per head, then rotation (rope NULL: position 0). */
MUST_CHECK enum err_code flux_qk_norm_rope(const struct flux *f, struct tensor *qkv, const struct tensor *query_norm,
                                           const struct tensor *key_norm, const struct tensor *rope, struct err *err);
/* out [N, hidden] = attention of all rows of qkv [N, 3 * hidden]; may not overlap it. */
MUST_CHECK enum err_code flux_attention(const struct flux *f, const struct tensor *qkv, struct tensor *out,
                                        struct err *err);
MUST_CHECK enum err_code flux_linear_run(const struct flux *f, struct tensor *y, const struct tensor *x,
                                         const struct flux_linear *l, enum activation act, struct err *err);

MUST_CHECK enum err_code flux_double_block_run(const struct flux *f, const struct flux_job *job, int step,
                                               const struct flux_double_block *b, int64_t mod_col,
                                               struct flux_stream *s, struct devarena *mem, struct err *err);
MUST_CHECK enum err_code flux_single_block_run(const struct flux *f, const struct flux_job *job, int step,
                                               const struct flux_single_block *b, int64_t mod_col,
                                               struct flux_stream *s, struct devarena *mem, struct err *err);

#endif
