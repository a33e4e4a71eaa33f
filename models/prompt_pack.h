/*
 * prompt_pack - embeddings of prompts computed beforehand, so that the text encoders need not be there.
 *
 * A safetensors file, as the command `embed` writes it:
 *   1. prompt_embeds F32 [T, D], pooled_prompt_embeds F32 [P]
 *   2. metadata: prompt, the text, which is looked up byte for byte
 * Or of several prompts: the names and the key begin with "0.", "1.", ... Other tensors are passed over.
 */
#ifndef MODELS_PROMPT_PACK_H
#define MODELS_PROMPT_PACK_H

#include "models/tensor_file.h"

enum { PROMPT_PACK_MAX = 4096, PROMPT_PACK_MAX_TOKENS = 512 };

struct prompt_entry {
    const char *prompt;
    int64_t t5_len, context, pooled;           /* T, D, P */
    const void *prompt_embeds, *pooled_embeds; /* F32 of the mapping; any alignment */
};

struct prompt_pack {
    struct prompt_entry *entries;
    int n_entries; /* >= 1; all of one context and pooled */
};

/* Everything lives until the arena is rewound. Errors as tensor_file_open; ERR_NOT_FOUND without a prompt;
 * ERR_CORRUPT for shapes that cannot be or NaN. */
MUST_CHECK enum err_code prompt_pack_open(const char *path, struct arena *a, struct prompt_pack *ret, struct err *err);
const struct prompt_entry *prompt_pack_find(const struct prompt_pack *p, const char *prompt); /* NULL: absent */

#endif
