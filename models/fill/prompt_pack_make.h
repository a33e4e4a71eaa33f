/*
 * prompt_pack_make - writes a prompt pack: every prompt through the text encoders of a model folder and, for every
 * schedule, through the modulation layers of its transformer.
 *
 * On the backend and in the precision that made the pack, a request gives the same bytes with the pack as without it.
 * Everything is kept in host memory until the file is written.
 */
#ifndef MODELS_FILL_PROMPT_PACK_MAKE_H
#define MODELS_FILL_PROMPT_PACK_MAKE_H

#include "kernels/backend.h"
#include "models/fill/prompt_pack.h"

struct pack_size {
    int width, height; /* pixels, floored to whole tokens; sizes with the same number of tokens share a schedule */
};

struct pack_options {
    const char *dir, *transformer; /* as fill_model_open takes them */
    const char *const *prompts;
    int n_prompts; /* 1 .. PROMPT_PACK_MAX */
    int t5_len;
    const struct pack_size *sizes;
    int n_sizes; /* 0: only embeddings, for which no transformer is needed */
    int steps;
    float guidance;
    /* Optional: so many prompts have been through "text", or through "modulation". */
    void (*progress)(void *ctx, const char *what, int done, int total);
    void *ctx;
};

/* ERR_INVALID for options outside the limits; errors of the readers, of the encoders and of the backend. */
MUST_CHECK enum err_code prompt_pack_make(const struct pack_options *options, struct backend *be, const char *path,
                                          struct err *err);

#endif
