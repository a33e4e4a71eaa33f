/*
 * weight_make - the matrix of a source whose values are in no file: joined, scaled by rows, or changed by a patch.
 *
 * Its type is the pieces' where they are only put together. Otherwise the values are new, and have
 *   F32   where products are computed in f32
 *   BF16  where they are computed in bf16, which would round them to it in any case
 *   Q8_0  ... where a patch changed a quantised matrix or one of F8: as BF16 it would take twice the memory
 * Cost: one pass over the bytes of the file and over the new ones, on all threads; a patch costs what it says.
 */
#ifndef MODELS_WEIGHTS_WEIGHT_MAKE_H
#define MODELS_WEIGHTS_WEIGHT_MAKE_H

#include "kernels/base/arena.h"
#include "models/weights/weight_source.h"

enum dtype weight_make_type(const struct weight_source *s, enum dtype act);
/* Memory for the matrix, of its own, until `a` is rewound. ERR_NOMEM, with the sizes, where the machine has not as much
 * left. */
MUST_CHECK enum err_code weight_make_room(const struct weight_source *s, enum dtype type, struct arena *a, void **ret,
                                          struct err *err);
/* Writes rows of `type`, one after the other. ERR_CORRUPT for NaN and infinity where values are new, and for more than
 * PROOF_LARGEST where patches made them; `path` is for the message. */
MUST_CHECK enum err_code weight_make(const struct weight_source *s, enum dtype type, const char *path,
                                     struct arena *scratch, void *ret, struct err *err);

#endif
