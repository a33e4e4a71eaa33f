/*
 * random_text - adds the tensors of T5-XXL's encoder and of CLIP-L to a random model, under the names of their files.
 */
#ifndef MODELS_BENCH_RANDOM_TEXT_H
#define MODELS_BENCH_RANDOM_TEXT_H

#include "models/bench/random_model.h"

enum { T5_VOCAB = 32128, T5_WIDTH = 4096, T5_FF = 10240, T5_HEADS = 64 };
enum { CLIP_VOCAB = 49408, CLIP_WIDTH = 768, CLIP_MLP = 3072 };

MUST_CHECK enum err_code random_model_add_t5(struct random_model *m, int n_layers, struct err *err);
MUST_CHECK enum err_code random_model_add_clip(struct random_model *m, int64_t vocab, int n_layers, struct err *err);

#endif
