/*
 * clip_tokenizer - text to CLIP ids, exactly as the fast tokenizer of transformers.
 *
 *   1. literal `<|startoftext|>` and `<|endoftext|>` are cut out: of the raw text, or, if their entry says
 *      "normalized", of the text after step 2
 *   2. the text between: NFC; each run of white space becomes a blank; lower case, code point by code point
 *   3. split into 's 't 're 've 'm 'll 'd, runs of letters, single numbers, runs of anything else; blanks are dropped
 *   4. each piece is split into bytes, which are merged by rank                                 (models/text/bpe.h)
 *   5. start + at most 75 ids + end; the end id is also used for padding
 *
 * Time is O(n log n) in the text. A tokenizer is not changed after it is opened, so threads may share it.
 * Source: MODEL.md 7.3.
 */
#ifndef MODELS_TEXT_CLIP_TOKENIZER_H
#define MODELS_TEXT_CLIP_TOKENIZER_H

#include "models/text/clip_vocab.h"
#include "models/text/text_limits.h"

enum {
    CLIP_SCRATCH_BYTES = 64 << 20, /* enough for real vocabularies, and for the longest text */
};

struct clip_tokenizer {
    struct clip_vocab vocab;
};

/* Reads merges.txt and, if they exist, the other files of clip_vocab.h from `folder`. Tables are from `a`; scratch is
 * rewound. Errors: as clip_vocab_read and file_read. */
MUST_CHECK enum err_code clip_tokenizer_open(struct clip_tokenizer *t, const char *folder, struct arena *a,
                                             struct arena *scratch, struct err *err);

/* ERR_INVALID: not UTF-8; ERR_TOO_LARGE: over TEXT_MAX_BYTES; ERR_NOMEM: scratch, which is rewound. */
MUST_CHECK enum err_code clip_tokenize(const struct clip_tokenizer *t, struct span text, int32_t ids[CLIP_MAX_IDS],
                                       int *ret_n, struct arena *scratch, struct err *err);

/* Fills ids[n .. CLIP_MAX_IDS) with the end id. */
void clip_pad(const struct clip_tokenizer *t, int32_t ids[CLIP_MAX_IDS], int n);

#endif
