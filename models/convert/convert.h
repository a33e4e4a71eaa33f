/*
 * convert - a transformer of any layout that is read, as one GGUF file of a chosen type.
 *
 * The values are those that a network would be given (models/weights/weight_source.h): parts joined, scales applied,
 * LoRAs merged. They are rounded once, as ggml's reference does (kernels/quantise.h). Rows that are stored in the
 * wanted type and that nothing changes are copied byte for byte. The file is made as a stream: it takes two pieces of
 * the file and a few rows for each thread in memory, whatever the size of the model, and the pages of the input are
 * given back tensor by tensor. All threads compute, while one of them writes the piece before. The same inputs give the
 * same bytes, with any number of threads.
 */
#ifndef MODELS_CONVERT_CONVERT_H
#define MODELS_CONVERT_CONVERT_H

#include "models/convert/convert_types.h"
#include "models/convert/gguf_write.h"
#include "models/flux/flux.h"

struct convert_options {
    struct convert_types types;
    const struct gguf_write_pair *notes; /* [n_notes]: metadata after those that every file has; borrowed */
    int n_notes;
};

/* What a file will be. Everything is from the arena, or borrowed. */
struct convert_plan {
    const struct weight_set *set;
    struct gguf_outline outline;
    const struct weight_source *sources; /* [outline.n_tensors] */
    int64_t file_bytes;
    int n_patched; /* tensors that LoRAs change */
    int n_others;  /* tensors of the input that belong to other networks, and are left out */
};

/* Looks for every tensor of the transformer, with the patches of the set. ERR_INVALID: a name that is kept fits no
 * matrix of the blocks; ERR_NOT_FOUND, ERR_CORRUPT, ERR_UNSUPPORTED: the input; ERR_NOMEM. */
MUST_CHECK enum err_code convert_plan_make(const struct weight_set *set, const struct convert_options *o,
                                           struct arena *a, struct convert_plan *ret, struct err *err);

/* The size of the file that FLUX.1-Fill itself would be, without notes. */
MUST_CHECK enum err_code convert_fill_bytes(const struct convert_types *t, struct arena *scratch, int64_t *ret,
                                            struct err *err);

/* All optional. `progress` is called with bytes of the file, between two chunks, when no thread reads. */
struct convert_watch {
    void (*progress)(void *ctx, int64_t done, int64_t total);
    bool (*cancelled)(void *ctx);
    void *ctx;
    struct gguf_listener listener; /* is called in any thread, but never in two at a time */
    int64_t chunk_bytes;           /* of the file, computed and written at once; 0: 32 MiB. Tests take less */
};

/* Writes the file, whole or not at all. The files of the set must be mapped, not copied into memory: their pages are
 * given back. ERR_CORRUPT: NaN, infinity, or a value that the type cannot hold, with the tensor's name; ERR_IO;
 * ERR_CANCELLED; ERR_NOMEM. What is taken from `scratch` is given back. */
MUST_CHECK enum err_code convert_write(const struct convert_plan *p, const char *path,
                                       const struct convert_watch *watch, struct arena *scratch, struct err *err);

#endif
