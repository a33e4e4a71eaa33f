/*
 * flux_block - what double and single blocks share. Internal to the transformer; flux_run_block is the way in.
 *
 * A block finds the stream as modulated for it in s->a. It changes the joint stream in place, and each sum that goes
 * into it is modulated in the same pass over memory for whoever reads the stream next: the second half of the block, or
 * the block behind it. Scratch comes from `mem` and is given back.
 */
#ifndef MODELS_FLUX_FLUX_BLOCK_H
#define MODELS_FLUX_FLUX_BLOCK_H

#include "models/flux/flux.h"

struct flux_mod {
    struct tensor shift, scale, gate; /* F32 [hidden] */
};

#define FLUX_NORM_EPS 1e-6f

/* The modulations of both streams at one place of the network. */
struct flux_mods {
    struct flux_mod txt, img;
};

/* The modulations that `block` begins with, counted as by flux_run_block. In a single block and in the final layer both
 * streams have the same; the final layer has no gate, so that one must not be read. */
struct flux_mods flux_first_mods(const struct flux *f, const struct flux_prepared *job, int step, int block);
/* The modulations of the second half of a double block, the MLP. */
struct flux_mods flux_second_mods(const struct flux *f, const struct flux_prepared *job, int step, int block);

/* x += gate * y, and then a = x under the modulation `next`, whose gate is not used. a may be y. */
MUST_CHECK enum err_code flux_add_and_modulate(const struct flux *f, struct tensor *a, struct tensor *x,
                                               const struct tensor *y, const struct tensor *gate,
                                               const struct flux_mod *next, struct err *err);

/* In place on the rows of a stream in qkv: norm of q and k per head, then rotation (rope NULL: position 0). */
MUST_CHECK enum err_code flux_qk_norm_rope(const struct flux *f, struct tensor *qkv, const struct tensor *query_norm,
                                           const struct tensor *key_norm, const struct tensor *rope, struct err *err);
/* out [N, hidden] = attention of all rows of qkv [N, 3 * hidden]; may not overlap it. */
MUST_CHECK enum err_code flux_attention(const struct flux *f, const struct tensor *qkv, struct tensor *out,
                                        struct err *err);
MUST_CHECK enum err_code flux_linear_run(const struct flux *f, struct tensor *y, const struct tensor *x,
                                         const struct flux_linear *l, enum activation act, struct err *err);

MUST_CHECK enum err_code flux_double_block_run(const struct flux *f, const struct flux_prepared *job, int step,
                                               int block, struct flux_stream *s, struct devarena *mem, struct err *err);
MUST_CHECK enum err_code flux_single_block_run(const struct flux *f, const struct flux_prepared *job, int step,
                                               int block, struct flux_stream *s, struct devarena *mem, struct err *err);

#endif
