/*
 * tokenizer_folder - the tokenizers of a model folder, whichever files they come in (model_folder.h).
 *
 * Tables go to `a`, which also keeps a T5 GGUF mapped where the vocabulary is inside one; scratch is rewound.
 * Errors as model_folder_find, t5_tokenizer_open, tensor_file_open and clip_tokenizer_open.
 */
#ifndef MODELS_FILL_TOKENIZER_FOLDER_H
#define MODELS_FILL_TOKENIZER_FOLDER_H

#include "models/fill/model_folder.h"
#include "models/text/clip_tokenizer.h"
#include "models/text/t5_tokenizer.h"

MUST_CHECK enum err_code t5_tokenizer_find(struct t5_tokenizer *t, const struct model_folder *folder, struct arena *a,
                                           struct arena *scratch, struct err *err);
MUST_CHECK enum err_code clip_tokenizer_find(struct clip_tokenizer *t, const struct model_folder *folder,
                                             struct arena *a, struct arena *scratch, struct err *err);

#endif
