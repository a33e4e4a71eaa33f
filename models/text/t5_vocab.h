/*
 * t5_vocab - the vocabulary in a T5 file. There are three kinds of files and one struct, from which
 * t5_tokenizer_init() makes a tokenizer.
 *
 * Everything in the struct is borrowed from the file and from the arena, and is not needed once the tokenizer is made.
 * Source: MODEL.md 6.5; sentencepiece_model.proto; tokenizers' tokenizer.json.
 */
#ifndef MODELS_TEXT_T5_VOCAB_H
#define MODELS_TEXT_T5_VOCAB_H

#include "models/file/gguf.h"
#include "models/text/piece_set.h"

enum {
    T5_VOCAB_MAX_FILE_BYTES = 64 << 20,
    T5_VOCAB_MAX_PIECES = 1 << 18,
    T5_VOCAB_MAX_ADDED = 4096,
    T5_SENTINELS = 100, /* <extra_id_99> ... <extra_id_0>, numbered after the pieces */
};

/* Which segments between special tokens get a word mark in front. */
enum t5_prepend { T5_PREPEND_FIRST, T5_PREPEND_ALWAYS, T5_PREPEND_NEVER };

struct t5_vocab {
    struct piece *pieces; /* into which text is segmented */
    int n_pieces;
    struct piece *added; /* special tokens, cut out of the raw text first */
    int n_added;
    struct span charsmap; /* charsmap.h; empty: none */
    enum t5_prepend prepend;
    int32_t unk_id, eos_id, pad_id;
};

/*
 * Errors of all three functions: ERR_CORRUPT: damaged, or the unknown or the end piece is missing; ERR_UNSUPPORTED: a
 * model other than Unigram, or with byte fallback; ERR_TOO_LARGE; ERR_NOMEM.
 *
 * spiece.model, protobuf on the wire:
 *   1. field 1, repeated: piece { 1 text, 2 score f32, 3 type: 1 normal (default), 2 unknown, 3 control, ... }
 *   2. field 2: trainer { 3 model type: 1 Unigram, 35 byte fallback, 42 end id, 43 padding id }
 *   3. field 3: normaliser { 2 charsmap }
 */
MUST_CHECK enum err_code t5_vocab_from_spiece(struct span file, struct arena *a, struct t5_vocab *ret, struct err *err);

/* tokenizer.json: added_tokens, normalizer, pre_tokenizer.prepend_scheme, model { type, unk_id, vocab }. */
MUST_CHECK enum err_code t5_vocab_from_json(struct span file, struct arena *a, struct t5_vocab *ret, struct err *err);

/* The tokenizer.ggml.* pairs of a T5 GGUF. ERR_UNSUPPORTED also without the charsmap, which the other two may lack:
 * there it is known that the model has none. */
MUST_CHECK enum err_code t5_vocab_from_gguf(const struct gguf_meta *m, struct arena *a, struct t5_vocab *ret,
                                            struct err *err);

#endif
