/*
 * text_encode - a prompt through both tokenizers and both encoders, to the embeddings that the transformer takes.
 *
 * The same prompt feeds T5 (t5_len positions, padded and not masked) and CLIP (77).
 * Source: diffusers FluxFillPipeline.encode_prompt; MODEL.md 1.1, 5.5, 7.3.
 */
#ifndef MODELS_FILL_TEXT_ENCODE_H
#define MODELS_FILL_TEXT_ENCODE_H

#include "models/fill/model_folder.h"
#include "models/text/clip_text.h"
#include "models/text/clip_tokenizer.h"
#include "models/text/t5_encoder.h"
#include "models/text/t5_tokenizer.h"

struct text_encoder {
    struct t5_tokenizer t5_tokenizer;
    struct clip_tokenizer clip_tokenizer;
    struct t5_encoder t5;
    struct clip_text clip;
};

struct text_ids {
    int32_t t5[T5_MAX_TOKENS], clip[CLIP_MAX_IDS]; /* special tokens and padding included */
    int n_t5;
};

/* Loads tokenizers and encoders of a folder. The loader's set is not used. Directories and tables go to `model`.
 * ERR_CORRUPT also when a tokenizer does not belong to its encoder. */
MUST_CHECK enum err_code text_encoder_load(struct text_encoder *ret, const struct model_folder *folder,
                                           const struct weight_loader *loader, struct arena *model, struct err *err);

/* t5_len: positions of T5, 1 .. T5_MAX_TOKENS; a longer prompt is cut. ERR_INVALID for another t5_len or a prompt that
 * is not UTF-8; ERR_TOO_LARGE. */
MUST_CHECK enum err_code text_tokenize(const struct text_encoder *e, struct span prompt, int t5_len,
                                       struct text_ids *ret, struct arena *scratch, struct err *err);

/* prompt_embeds F32 [ids->n_t5, t5.d_model], pooled F32 [clip.width]; the caller's. */
MUST_CHECK enum err_code text_encode(const struct text_encoder *e, const struct text_ids *ids,
                                     struct tensor *prompt_embeds, struct tensor *pooled, struct devarena *step_mem,
                                     struct err *err);

/* Bytes that text_encode takes from step_mem: measured by running it on the measuring backend. */
MUST_CHECK enum err_code text_measure(const struct text_encoder *e, int t5_len, size_t *ret_step_bytes,
                                      struct err *err);

#endif
