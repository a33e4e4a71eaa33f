/*
 * fill_memory - which transformer of a folder is opened, and how, so that everything fits.
 */
#ifndef MODELS_FILL_FILL_MEMORY_H
#define MODELS_FILL_FILL_MEMORY_H

#include "models/fill/fill.h"
#include "models/fill/model_folder.h"

/* Sets what `options` leave open, for a backend that tells its memory: folder->transformer (text from the arena) or
 * its limit, and options->modulation_in_file. ERR_NOMEM with the numbers where nothing fits on a device. */
MUST_CHECK enum err_code fill_memory_choose(struct model_folder *folder, struct fill_options *options,
                                            struct backend *be, struct arena *a, struct err *err);

#endif
