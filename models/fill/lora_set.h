/*
 * lora_set - the LoRAs of a model: found in its folder, checked against the transformer, merged while it loads.
 *
 * A name with a slash is a path; where there is no such file, and for any other name, the model folder and its folder
 * `loras` are looked at. ".safetensors" may be left out. They are merged in the order given; the order does not matter
 * but for the last bit of a sum.
 */
#ifndef MODELS_FILL_LORA_SET_H
#define MODELS_FILL_LORA_SET_H

#include "models/weights/weight_set.h"
#include "models/fill/fill.h"
#include "models/layout/lora.h"

enum { LORA_SET_DIGEST_SIZE = 16, LORA_SCALE_TEXT_SIZE = 32 };

struct lora_set {
    const struct lora *loras[FILL_MAX_LORAS];
    int n;
    const char *text;                  /* "FILE:SCALE (digest), ...", for a recipe; NULL: none */
    const char *list;                  /* "FILE:SCALE,...", as fill_loras_add() reads it; NULL: none */
    char digest[LORA_SET_DIGEST_SIZE]; /* "+lora-XXXXXXXX" of files and scales; "": none */
};

/* The path of the file that a name means. ERR_NOT_FOUND says where was looked. */
MUST_CHECK enum err_code lora_set_find(const char *dir, const char *name, struct arena *a, const char **ret,
                                       struct err *err);
/* What is opened lives until the arena is rewound. ERR_NOT_FOUND says where was looked; lora_open()'s. */
MUST_CHECK enum err_code lora_set_open(const char *dir, const struct fill_lora *loras, int n, struct arena *a,
                                       struct lora_set *ret, struct err *err);
/* Has them merged when the set's tensors are loaded; `s` outlives the loading. lora_check()'s errors. */
MUST_CHECK enum err_code lora_set_apply(const struct lora_set *s, struct weight_set *ws, struct err *err);
/* As few digits as it takes to read the same scale back: what is run again from a record comes to the same bytes. */
void lora_scale_text(double scale, char ret[LORA_SCALE_TEXT_SIZE]);
/* After the loading: what was read of the files is the system's again. No thread may be loading. */
void lora_set_release(const struct lora_set *s);
/* Whether one of them changes a tensor of which this holds. */
bool lora_set_touches(const struct lora_set *s, bool (*holds)(const char *name));

#endif
