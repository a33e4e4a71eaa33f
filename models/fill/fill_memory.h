/*
 * fill_memory - the choice of a folder's transformer, and of the place of its modulation's weights, so that a model
 * fits into the memory of a backend.
 */
#ifndef MODELS_FILL_FILL_MEMORY_H
#define MODELS_FILL_FILL_MEMORY_H

#include "kernels/base/arena.h"
#include "models/fill/fill.h"

/* Sets what `options` leave open: transformer (text from the arena) and modulation_in_file. Changes nothing where the
 * backend's memory is unknown. ERR_NOMEM with the numbers where nothing fits on a device. */
MUST_CHECK enum err_code fill_memory_choose(const char *dir, struct fill_options *options, struct backend *be,
                                            struct arena *a, struct err *err);

#endif
