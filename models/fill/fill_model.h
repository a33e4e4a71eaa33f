/*
 * fill_model - an opened model: the networks of the pipeline and the memory of its requests. Internal to models/fill.
 */
#ifndef MODELS_FILL_FILL_MODEL_H
#define MODELS_FILL_FILL_MODEL_H

#include "kernels/devarena.h"
#include "models/weights/weight_digest.h"
#include "models/fill/fill.h"
#include "models/fill/lora_set.h"
#include "models/fill/prompt_pack.h"
#include "models/fill/text_encode.h"
#include "models/flux/flux.h"
#include "models/vae/vae.h"

enum { FILL_MODEL_PARTS = 4 };

struct fill_model {
    struct backend *be;
    struct arena arena, scratch;  /* host: directories and tables; memory for loading and rehearsal */
    struct devarena weights, mem; /* vectors; everything of a request */
    bool has_encoders, has_pack;  /* prompts of the pack are not encoded */
    struct prompt_pack pack;
    const struct prompt_entry *longest_prompt; /* of the pack, where there are no encoders */
    struct text_encoder text;
    struct flux flux;
    struct vae vae;
    const char *transformer;                            /* path */
    char digests[FILL_MODEL_PARTS][WEIGHT_DIGEST_SIZE]; /* of transformer, VAE, T5, CLIP; "" where a part is absent */
    struct lora_set loras;
    int not_taken;    /* tensors of these files that no network took */
    uint32_t headers; /* weight_digest_of_headers() of all these files */
    struct fill_options limits;
    struct flux_memory flux_memory; /* of the largest request: carved out of `mem` */
};

/* ERR_INVALID for options outside the limits of fill.h. */
MUST_CHECK enum err_code fill_model_check(const struct fill_options *o, struct err *err);

/* Opens a folder as fill_model_open, but with the transformer and the place of the modulation's weights that the
 * options name: the memory of the backend is not asked for. The options have been checked. */
MUST_CHECK enum err_code fill_model_load(const char *dir, const struct fill_options *options, struct backend *be,
                                         struct fill_model **ret, struct err *err);

#endif
