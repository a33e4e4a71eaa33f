/*
 * self_check - proves a loaded model by painting a small picture: 64 x 64 pixels, one step, through all its networks.
 *
 * Every value must be finite. Where values of an earlier run are stored, these must come out again: embeddings,
 * latents of the masked picture, latents after the step and pixels, each by its relative error (Euclidean norms). So
 * damaged weights are found, a driver that computes wrongly, and a device that does. Where none are stored the picture
 * is painted twice instead, and must come out the same.
 *
 * They lie beside the transformer, "FILE.cpu-F32.check", a safetensors file: one for every backend and type of matrix
 * products. Its metadata `model` says what it was made with: sizes and tensor directories of all files, prompt and
 * embeddings. One that was made with something else counts for nothing. Only self_check_record() writes, for weights
 * that are known to be good (their digest was checked); the service only reads, so a folder may be read-only.
 */
#ifndef MODELS_FILL_SELF_CHECK_H
#define MODELS_FILL_SELF_CHECK_H

#include "models/fill/fill.h"

/* Relative errors that pass. In f32 two machines differ by rounding, 1e-5 over all blocks; in bf16 a network is within
 * 3e-2 of f32, so two of them are within twice that of each other. */
#define SELF_CHECK_LIMIT_F32  1e-3
#define SELF_CHECK_LIMIT_BF16 6e-2

struct self_check {
    bool stored;      /* compared with stored values, not with a second run */
    double worst;     /* largest relative error */
    const char *what; /* of this */
};

/* ERR_NUMERIC: not finite, or over the limit; and the errors of fill_run. `ret` may be NULL. */
MUST_CHECK enum err_code self_check_run(struct fill_model *m, struct self_check *ret, struct err *err);
/* Paints and stores. ERR_IO where the folder cannot be written. */
MUST_CHECK enum err_code self_check_record(struct fill_model *m, struct err *err);

#endif
