/*
 * prompt_pack - what the text encoders and the modulation layers compute from prompts, made beforehand, so that a
 * device need not hold them: embeddings replace T5 and CLIP, modulation tables a quarter of the transformer.
 *
 * A safetensors file, as the command `embed` writes it:
 *   1. prompt_embeds F32 [T, D], pooled_prompt_embeds F32 [P]
 *   2. metadata `prompt`: the text, which is looked up byte for byte
 *   3. where there are several prompts, the names and the key begin with "0.", "1.", ...
 *   4. optional schedules K = 0, 1, ...: schedule.K.sigmas F32 [n_steps], schedule.K.guidance F32 [1]; and for every
 *      prompt I and schedule K the table that flux_modulate computes, I.modulation.K F32 [n_steps, C]
 *   5. with schedules, metadata `transformer`: the weight_digest, vectors included, of the one that computed the tables
 *
 * Other tensors are ignored. Embeddings with a hole, and files that end in zeros as unfinished downloads do, are
 * refused (models/file/proof.h).
 *
 * A table is valid for its exact sigmas only, and these follow from the number of steps and, through mu, from the
 * number of image tokens: 1024 x 768 has another table than 1024 x 1024. A table of 28 steps is 118 MB (the real model
 * has 4.2 MB a step).
 */
#ifndef MODELS_FILL_PROMPT_PACK_H
#define MODELS_FILL_PROMPT_PACK_H

#include "models/file/tensor_file.h"

enum { PROMPT_PACK_MAX = 4096, PROMPT_PACK_MAX_SCHEDULES = 256 };

struct prompt_entry {
    const char *prompt;
    int64_t t5_len, context, pooled;           /* T, D, P */
    const void *prompt_embeds, *pooled_embeds; /* F32 in the file's mapping; any alignment */
    const void **modulation;                   /* [n_schedules] tables; their values are not checked */
};

struct prompt_schedule {
    int n_steps;
    const void *sigmas; /* F32 [n_steps] */
    float guidance;
};

struct prompt_pack {
    struct prompt_entry *entries;
    int n_entries; /* >= 1; all have the same context and pooled */
    struct prompt_schedule *schedules;
    int n_schedules;
    const char *transformer;    /* its digest; NULL where there are no schedules */
    int64_t modulation_columns; /* C */
};

/* Everything lives until the arena is rewound. Errors as tensor_file_open; ERR_NOT_FOUND for a file without a prompt or
 * a schedule without a table; ERR_CORRUPT for shapes that do not fit, or NaN in embeddings. */
MUST_CHECK enum err_code prompt_pack_open(const char *path, struct arena *a, struct prompt_pack *ret, struct err *err);
const struct prompt_entry *prompt_pack_find(const struct prompt_pack *p, const char *prompt); /* NULL: absent */

/* The table F32 [n_steps, C] of exactly these sigmas, any alignment; NULL: absent. */
const void *prompt_pack_modulation(const struct prompt_pack *p, const struct prompt_entry *e, const float *sigmas,
                                   int n_steps, float guidance);

#endif
