/*
 * flux_block - one double or single block of the transformer. Internal; flux_run_block is the way in.
 *
 * A block finds the stream already modulated for it in s->a. It changes the joint stream in place, and each sum that it
 * adds to the stream is modulated in the same pass over memory for the next reader: the second half of the block, or
 * the next block. Scratch comes from `mem` and is given back.
 */
#ifndef MODELS_FLUX_FLUX_BLOCK_H
#define MODELS_FLUX_FLUX_BLOCK_H

#include "models/flux/flux.h"

/* `block` is numbered as in flux_run_block. */
MUST_CHECK enum err_code flux_double_block_run(const struct flux_prepared *p, int step, int block,
                                               struct flux_stream *s, struct devarena *mem, struct err *err);
MUST_CHECK enum err_code flux_single_block_run(const struct flux_prepared *p, int step, int block,
                                               struct flux_stream *s, struct devarena *mem, struct err *err);

#endif
