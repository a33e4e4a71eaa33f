/*
 * t5_tokenizer - text to T5 ids, exactly as the fast tokenizer that diffusers uses.
 *
 *   1. literal special tokens (`</s>`, `<extra_id_7>`, ...) are cut out of the raw text and become their ids
 *   2. each segment between them goes through the charsmap                                 (models/text/charsmap.h)
 *   3. white space at its end is dropped
 *   4. a run of two or more blanks becomes one word mark, U+2581
 *   5. other blanks become word marks too; one goes in front, as the vocabulary's scheme says
 *   6. every word, from its mark on, is segmented by itself                                (models/text/unigram.h)
 *   7. the end id, 1 in the real vocabulary, comes last
 *
 * Time is linear in the text but for the longest piece. A tokenizer does not change once made, so threads may share it.
 * Source: MODEL.md 6.2.
 */
#ifndef MODELS_TEXT_T5_TOKENIZER_H
#define MODELS_TEXT_T5_TOKENIZER_H

#include "models/text/charsmap.h"
#include "models/text/t5_vocab.h"
#include "models/text/unigram.h"

enum {
    T5_MAX_TEXT_BYTES = 64 << 10,
    T5_SCRATCH_BYTES = 64 << 20, /* an arena this large opens real vocabularies and takes the longest text */
};

struct t5_tokenizer {
    struct unigram unigram;
    struct piece_set added;
    struct charsmap charsmap;
    enum t5_prepend prepend;
    int32_t eos_id, pad_id;
    int32_t max_id; /* the embedding must have a row for it */
};

/* Builds the tables in `a`, copying what it keeps. ERR_CORRUPT; ERR_TOO_LARGE; ERR_NOMEM. */
MUST_CHECK enum err_code t5_tokenizer_init(struct t5_tokenizer *t, const struct t5_vocab *v, struct arena *a,
                                           struct err *err);

/* From a tokenizer.json, or a spiece.model (any other name). Scratch is rewound. Errors also as file_read. */
MUST_CHECK enum err_code t5_tokenizer_open(struct t5_tokenizer *t, const char *path, struct arena *a,
                                           struct arena *scratch, struct err *err);

/* From a GGUF with tokenizer.ggml.* pairs; ERR_NOT_FOUND when it has none. */
MUST_CHECK enum err_code t5_tokenizer_open_gguf(struct t5_tokenizer *t, const struct gguf_meta *m, struct arena *a,
                                                struct arena *scratch, struct err *err);

/*
 * Writes at most max_ids ids (>= 1), the end id included: text is cut off after max_ids - 1. No padding.
 * ERR_INVALID: not UTF-8; ERR_TOO_LARGE: over T5_MAX_TEXT_BYTES; ERR_NOMEM: scratch, which is rewound.
 */
MUST_CHECK enum err_code t5_tokenize(const struct t5_tokenizer *t, struct span text, int max_ids, int32_t *ids,
                                     int *ret_n, struct arena *scratch, struct err *err);

/* Fills ids[n .. len) with the padding id. */
void t5_pad(const struct t5_tokenizer *t, int32_t *ids, int n, int len);

#endif
