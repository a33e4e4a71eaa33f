#include "models/layout/network_prefixes.h"

#include <stddef.h>

#include "models/weights/weight_set.h"

enum { MAX_PREFIXES = 4 };

const char *const *network_prefixes(enum network_kind kind)
{
    static const char *const prefixes[NETWORK_KIND_COUNT][MAX_PREFIXES + 1] = {
        [NETWORK_TRANSFORMER] = { WEIGHT_SET_MERGED_PREFIX, "diffusion_model.", "transformer." },
        [NETWORK_VAE] = { "first_stage_model.", "vae." },
        [NETWORK_T5] = { "text_encoders.t5xxl.transformer.", "t5xxl.transformer." },
        [NETWORK_CLIP] = { "text_encoders.clip_l.transformer.text_model.", "cond_stage_model.transformer.text_model.",
                           "clip_l.transformer.text_model.", "text_model." },
    };

    return prefixes[kind];
}
