/*
 * file_kind - what a file of tensors is, by the names, shapes and types in its directory and by its metadata.
 *
 * No value of a tensor is read, and no file name is believed. Whatever people keep beside a model gets a kind, and each
 * kind a sentence: what it is, why it cannot be used here, and what to take instead. A file in an encoding that we do
 * not read (NF4, say) has the encoding as its kind, and the network that is encoded as `network`.
 *
 * FLUX.1-dev, Kontext and Krea have the same tensors, as have the autoencoders of FLUX.1 and Stable Diffusion 3: only
 * metadata tells them apart, where a file has any.
 *
 * Source: MODEL.md 2.1, 2.10, 5.4, 7.2, 8.5; the names that diffusers, ComfyUI, bitsandbytes, nunchaku, optimum
 * and kohya's scripts write.
 */
#ifndef MODELS_LAYOUT_FILE_KIND_H
#define MODELS_LAYOUT_FILE_KIND_H

#include "models/file/tensor_file.h"

/* The order counts: file_kind_is_...() go by it. */
enum file_kind {
    FILE_UNKNOWN,
    /* what a model folder is made of */
    FILE_FLUX_FILL,
    FILE_VAE_FLUX, /* 16 latent channels, encoder and decoder */
    FILE_T5,
    FILE_T5_FULL, /* with its decoder, which is ignored */
    FILE_CLIP_L,
    FILE_MERGED, /* several networks in one file: file_seen_serves() says for which parts it can be used */
    FILE_PROMPT_PACK,
    FILE_SELF_CHECK,
    FILE_LORA,
    /* other networks */
    FILE_FLUX_DEV, /* or Kontext, or Krea */
    FILE_FLUX_KONTEXT,
    FILE_FLUX_SCHNELL,
    FILE_FLUX_CANNY_DEPTH,
    FILE_FLEX_2,
    FILE_FLUX_OTHER,
    FILE_FLUX_2,
    FILE_CHROMA,
    FILE_OTHER_DIFFUSION,
    FILE_UMT5,
    FILE_T5_OTHER,
    FILE_LANGUAGE_MODEL,
    FILE_CLIP_OTHER,
    FILE_VAE_OTHER,
    FILE_LORA_OTHER, /* LoKr, LoHa, DoRA and others: lora_key_other_kind() */
    FILE_CONTROLNET,
    FILE_IMAGE_ADAPTER, /* IP-Adapter, Redux, PuLID */
    /* encodings that are not read */
    FILE_NF4,
    FILE_SVDQUANT,
    FILE_FP4,
    FILE_INT8,
    FILE_GPTQ,
    FILE_UNREAD_TYPE,
    /* what the directory alone does not say: set by whoever looks at files */
    FILE_SPLIT_PART, /* one of several files of a model, without the others or not the first */
    FILE_UNFINISHED, /* a download that has not ended */
    FILE_FOREIGN,    /* read to its beginning, and no file of tensors: a web page, a pickle, a folder */
    FILE_UNREADABLE, /* reading failed, so nothing is known */
    FILE_KIND_COUNT
};

bool file_kind_is_encoding(enum file_kind kind);         /* one that is not read */
bool file_kind_is_relative_of_fill(enum file_kind kind); /* a FLUX.1 with other inputs */
/* Whether people may take it for a part of a model: a network of the same purpose. */
bool file_kind_is_like(enum file_kind kind, enum file_kind part);

enum { FILE_DETAIL_SIZE = 64 };

struct file_seen {
    enum file_kind kind;
    enum file_kind
        network; /* what is encoded, or unusable for its names; of a merged file its transformer; else kind */
    char detail[FILE_DETAIL_SIZE];     /* which one of a kind ("Qwen-Image", a type's name); "": nothing to add */
    unsigned long long merged;         /* FILE_MERGED: a bit for each kind inside */
    int64_t weight_bytes;              /* of the network alone; where several: of the transformer */
    int64_t missing_bytes;             /* the file is so much shorter than its directory says */
    bool unfinished;                   /* missing_bytes, or known otherwise not to be whole */
    int64_t parts;                     /* GGUF: how many files gguf-split has made of it; else 1 */
    bool has_vocabulary, has_charsmap; /* GGUF: tokenizer.ggml.tokens, and the normaliser that belongs to it */
};

/* Directories of tensor_file_survey(), all of one model. `scratch` is rewound. Never fails: what is not recognised is
 * FILE_UNKNOWN. Nothing of the files is kept. */
void file_kind_see(const struct tensor_file *files, int n_files, struct arena *scratch, struct file_seen *ret);

/* Whether it is `part`, in types and under names that are read, or a merged file with it; whole or not. */
bool file_seen_is(const struct file_seen *s, enum file_kind part);
bool file_seen_serves(const struct file_seen *s, enum file_kind part); /* the same, and it is whole */

/* Text for messages, after "FILE is ": "FLUX.1-dev, Kontext or Krea"; "an unfinished FLUX.1-Fill, 12 bytes are
 * missing". All three return `ret`. */
enum { FILE_TEXT_SIZE = 240 };
const char *file_seen_name(const struct file_seen *s, char ret[FILE_TEXT_SIZE]);
/* Why it is of no use as a part of the model: a clause without a point; "" where it is of use. */
const char *file_seen_reason(const struct file_seen *s, char ret[FILE_TEXT_SIZE]);
const char *file_seen_remedy(const struct file_seen *s, char ret[FILE_TEXT_SIZE]); /* a clause, or "" */

#endif
