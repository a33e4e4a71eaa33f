/*
 * self_check - tests a loaded model by painting a small picture: 64 x 64 pixels, one step, through all its networks.
 *
 * Every value must be finite. Where results of an earlier check are stored, the same must come out again: embeddings,
 * latents of the masked picture, latents after the step and pixels, each within a relative error (Euclidean norms).
 * This finds damaged weights, and a driver or a device that computes wrongly. Where no results are stored, the picture
 * is painted twice instead, and must come out the same.
 *
 * The results are stored next to the transformer, in a safetensors file for each backend and type of matrix products:
 * "FILE.cpu-F32.check" ("FILE+lora-DIGEST.cpu-F32.check" with LoRAs). Where a backend has none of its own, those of the
 * CPU in f32 stand in, within the limit of its own type: so one small file can be shipped beside a transformer for
 * every machine. Its metadata `model` says what it was made with: sizes, tensor directories and metadata of all files,
 * the prompt and its embeddings; `crc32c` is the checksum of all that. A file that is whole and was made with anything
 * else is ignored, with a note. A file that is damaged or cannot be read is an error: it would switch the check off.
 * Only self_check_record() writes, for weights that are known to be good (their digest was checked); the service only
 * reads, so a folder may be read-only.
 */
#ifndef MODELS_FILL_SELF_CHECK_H
#define MODELS_FILL_SELF_CHECK_H

#include "models/fill/fill_speed.h"

/* The relative errors that pass. In f32 two machines differ by rounding, 1e-5 over all blocks; in bf16 a result is
 * within 3e-2 of the f32 result, so two results are within twice that of each other. */
#define SELF_CHECK_LIMIT_F32  1e-3
#define SELF_CHECK_LIMIT_BF16 6e-2

struct self_check {
    bool stored;                /* compared with stored results, not with a second picture */
    double worst;               /* largest relative error */
    const char *what;           /* the result that has it */
    struct fill_timed timed;    /* the small picture, painted last */
    char note[ERR_MESSAGE_MAX]; /* stored results that are of another model, in words; "" */
};

/* ERR_CORRUPT where results are stored and cannot be used. ERR_NUMERIC for values that are not finite or over the
 * limit; and the errors of fill_run. `ret` may be NULL. */
MUST_CHECK enum err_code self_check_run(struct fill_model *m, struct self_check *ret, struct err *err);
/* Paints the picture and stores its results. ERR_IO where the folder cannot be written. */
MUST_CHECK enum err_code self_check_record(struct fill_model *m, struct err *err);

#endif
