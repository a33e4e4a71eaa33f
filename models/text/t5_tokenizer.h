/*
 * t5_tokenizer - text to T5 ids, exactly as the fast tokenizer that diffusers uses.
 *
 *   1. literal special tokens (`</s>`, `<extra_id_7>`, ...) are cut out of the raw text and become their ids
 *   2. the charsmap is applied to each segment between them                                (models/text/charsmap.h)
 *   3. white space at the end of the segment is dropped
 *   4. each run of two or more blanks becomes one word mark, U+2581
 *   5. each remaining blank becomes a word mark; another one is put in front, if the vocabulary's scheme says so
 *   6. every word, which begins at its mark, is segmented separately                       (models/text/unigram.h)
 *   7. the end id, 1 in the real vocabulary, comes last
 *
 * Time is linear in the length of the text, times that of the longest piece. A tokenizer is not changed after it is
 * made, so threads may share it.
 * Source: MODEL.md 6.2.
 */
#ifndef MODELS_TEXT_T5_TOKENIZER_H
#define MODELS_TEXT_T5_TOKENIZER_H

#include "models/text/charsmap.h"
#include "models/text/t5_vocab.h"
#include "models/text/text_limits.h"
#include "models/text/unigram.h"

enum {
    T5_SCRATCH_BYTES = 64 << 20, /* enough for real vocabularies, and for the longest text */
};

struct t5_tokenizer {
    struct unigram unigram;
    struct piece_set added;
    struct charsmap charsmap;
    enum t5_prepend prepend;
    int32_t eos_id, pad_id;
    int32_t max_id; /* the highest id: the embedding must have more rows than that */
};

/* Builds the tables in `a`, with copies of all that is kept of v. ERR_CORRUPT; ERR_TOO_LARGE; ERR_NOMEM. */
MUST_CHECK enum err_code t5_tokenizer_init(struct t5_tokenizer *t, const struct t5_vocab *v, struct arena *a,
                                           struct err *err);

/* Opens a path that ends in ".json" as a tokenizer.json, any other as a spiece.model. Scratch is rewound. Errors also
 * as file_read. */
MUST_CHECK enum err_code t5_tokenizer_open(struct t5_tokenizer *t, const char *path, struct arena *a,
                                           struct arena *scratch, struct err *err);

/* Takes the vocabulary from a GGUF with tokenizer.ggml.* pairs; ERR_NOT_FOUND: it has none. */
MUST_CHECK enum err_code t5_tokenizer_open_gguf(struct t5_tokenizer *t, const struct gguf_meta *m, struct arena *a,
                                                struct arena *scratch, struct err *err);

/*
 * Writes at most max_ids ids (>= 1), of which the last is the end id: the text is cut off after max_ids - 1. No
 * padding. ERR_INVALID: not UTF-8; ERR_TOO_LARGE: over TEXT_MAX_BYTES; ERR_NOMEM: scratch, which is rewound.
 */
MUST_CHECK enum err_code t5_tokenize(const struct t5_tokenizer *t, struct span text, int max_ids, int32_t *ids,
                                     int *ret_n, struct arena *scratch, struct err *err);

/* Fills ids[n .. len) with the padding id. */
void t5_pad(const struct t5_tokenizer *t, int32_t *ids, int n, int len);

#endif
