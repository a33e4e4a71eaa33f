/*
 * text_limits - how long a prompt may be: in bytes before it is tokenized, in ids afterwards.
 */
#ifndef MODELS_TEXT_TEXT_LIMITS_H
#define MODELS_TEXT_TEXT_LIMITS_H

enum {
    TEXT_MAX_BYTES = 64 << 10,
    T5_MAX_TOKENS = 512, /* end and padding included; padding is attended, and FLUX.1 was trained with this length */
    CLIP_MAX_IDS = 77    /* start and end included: the positions of CLIP-L */
};

#endif
