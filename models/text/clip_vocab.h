/*
 * clip_vocab - the files of CLIP's tokenizer folder as tables.
 *
 *   merges.txt               a line "#version: ...", then one pair a line, best first; a blank between left and right
 *   vocab.json               { "piece": id, ... }; may be absent: ids then follow from the order of the merges
 *   tokenizer_config.json    whether a special token is looked for before or after normalising: added_tokens_decoder,
 *                            else bos_token and pad_token (the end token; the official library overrides eos_token)
 *   special_tokens_map.json  the same, for tokens that are not in the config. If both files are absent: before
 *
 * Pieces are written in 256 printable characters, one for each byte; the last piece of a word ends in `</w>`. Without
 * vocab.json the ids are numbered in this order: the characters of bytes 33..126, 161..172, 174..255, those of the
 * other bytes, the same 256 with `</w>`, the merges in their order, start, end.
 * Source: MODEL.md 7.3; OpenAI CLIP simple_tokenizer.py.
 */
#ifndef MODELS_TEXT_CLIP_VOCAB_H
#define MODELS_TEXT_CLIP_VOCAB_H

#include "kernels/base/span.h"
#include "models/text/bpe.h"

enum { CLIP_VOCAB_MAX_FILE_BYTES = 32 << 20, CLIP_VOCAB_MAX_PIECES = 1 << 19 };

enum clip_special { CLIP_START, CLIP_END, CLIP_SPECIALS };
extern const char *const clip_special_text[CLIP_SPECIALS]; /* "<|startoftext|>", "<|endoftext|>" */

struct clip_files {
    struct span merges, vocab, config, special_map; /* all but merges may be empty: the file is absent */
};

struct clip_vocab {
    struct bpe bpe;
    int32_t byte_id[256], last_byte_id[256]; /* ids of the one-byte pieces without and with `</w>` */
    int32_t special_id[CLIP_SPECIALS];
    bool special_normalised[CLIP_SPECIALS]; /* true: looked for in the normalised text; false: in the raw text */
};

/* Tables are from `a`; scratch is rewound. ERR_CORRUPT: a damaged file, or a merge of pieces that are not in the
 * vocabulary; ERR_UNSUPPORTED: the end token does not have the highest id; ERR_TOO_LARGE; ERR_NOMEM. */
MUST_CHECK enum err_code clip_vocab_read(struct clip_vocab *v, const struct clip_files *files, struct arena *a,
                                         struct arena *scratch, struct err *err);

#endif
