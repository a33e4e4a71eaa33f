/*
 * random_model - a tensor file that exists in memory only, with names and shapes from a list and random weights, for
 * measuring without a download. The result of a product with its matrices is about as large as the input.
 *
 *   matrices        the type asked for (F32 where a row is not a whole number of blocks), any of quant.h but F8
 *   convolutions    BF16, as in ae.safetensors
 *   vectors         F32, between 0.5 and 1.5
 * The bytes of all tensors are in the arena.
 */
#ifndef MODELS_BENCH_RANDOM_MODEL_H
#define MODELS_BENCH_RANDOM_MODEL_H

#include "kernels/base/arena.h"
#include "models/flux/flux.h"
#include "models/file/tensor_file.h"

enum { RANDOM_MODEL_MAX = 2048 };

/* OWN: every matrix has bytes of its own. SHARED: all matrices of a type use the same bytes, so that a model of any
 * size takes little memory; for backends that copy weights. */
enum random_weights { RANDOM_WEIGHTS_OWN, RANDOM_WEIGHTS_SHARED };

/* The sizes of the levels of FLUX.1's autoencoder; for a real model they are read from the tensors of its files. */
extern const int64_t random_model_vae_widths[4];

struct random_model {
    struct arena *arena;
    enum dtype type;
    enum random_weights weights;
    struct tensor_entry *entries;
    int n_entries;
    uint64_t state;
    struct {
        char *data;
        size_t bytes;
    } shared[DT_COUNT];
};

MUST_CHECK enum err_code random_model_init(struct random_model *m, struct arena *a, enum dtype type,
                                           enum random_weights weights, struct err *err);
/* ctx is the struct random_model, so the function can be given to flux_describe. Up to four dimensions. */
MUST_CHECK enum err_code random_model_add(void *ctx, const char *name, int n_dims, const int64_t *dims,
                                          struct err *err);
MUST_CHECK enum err_code random_model_finish(struct random_model *m, struct tensor_file *ret, struct err *err);

/* Adds the 244 tensors of FLUX.1's autoencoder under BFL's names, with the channels of its four levels. */
MUST_CHECK enum err_code random_model_add_vae(struct random_model *m, const int64_t widths[4], struct err *err);

#endif
