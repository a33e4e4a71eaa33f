/*
 * fill_model - what fill.c and fill_model.c share: the networks of the pipeline and the memory of its requests.
 */
#ifndef MODELS_FILL_FILL_MODEL_H
#define MODELS_FILL_FILL_MODEL_H

#include "kernels/devarena.h"
#include "models/fill/fill.h"
#include "models/flux/flux.h"
#include "models/fill/prompt_pack.h"
#include "models/fill/text_encode.h"
#include "models/vae/vae.h"
#include "models/file/weight_digest.h"

enum { FILL_MODEL_PARTS = 4 };

struct fill_model {
    struct backend *be;
    struct arena arena, scratch;  /* host: directories and tables; loading and rehearsal */
    struct devarena weights, mem; /* vectors; requests */
    bool has_encoders, has_pack;  /* where the pack knows a prompt, it is asked first */
    struct prompt_pack pack;
    const struct prompt_entry *longest_prompt; /* of the pack, where there are no encoders */
    struct text_encoder text;
    struct flux flux;
    struct vae vae;
    const char *transformer;                            /* path */
    char digests[FILL_MODEL_PARTS][WEIGHT_DIGEST_SIZE]; /* of transformer, VAE, T5, CLIP; "" where it is not there */
    struct fill_options limits;
    size_t flux_job_bytes, flux_step_bytes; /* of the largest request: carved out of `mem` */
};

#endif
