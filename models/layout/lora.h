/*
 * lora - low-rank changes of a transformer's matrices: W' = W + scale * (alpha / r) * B A, from a safetensors file with
 * the names of diffusers and PEFT, of kohya's scripts, of BFL or of XLabs (lora_key.h).
 *
 *   A      [r, inputs], r at most 4096
 *   B      [outputs, r]; its rows go to where the layer's rows are in BFL's matrix
 *   alpha  a number beside them, or in the settings of PEFT (lora_alpha.h), where use_rslora makes it alpha / sqrt(r);
 *          r where there is none
 *
 * Biases (lora_B.bias, .diff_b) and whole changes (.diff) are added, too. Nothing of a file is left out: one that
 * changes something else as well is refused, unless that change is all zeros, as text encoders of some trainers' files
 * are. The same values come out on every processor and however rows are divided.
 */
#ifndef MODELS_LAYOUT_LORA_H
#define MODELS_LAYOUT_LORA_H

#include "models/weights/weight_source.h"

struct lora;

/* Opens a file and finds out what each of its tensors changes. It lives until the arena is rewound. Its
 * matrices stay in the mapped file: they are read when rows are added, and take no memory of their own. ERR_UNSUPPORTED
 * for other adapters (DoRA, LoKr, LoHa, control LoRAs), for layers of text encoders and of other models, ERR_CORRUPT
 * for tensors that do not fit each other, NaN and infinity, and as tensor_file_open. */
MUST_CHECK enum err_code lora_open(const char *path, double scale, struct arena *a, const struct lora **ret,
                                   struct err *err);
/* The same for a file whose bytes are in memory already; `path` is for messages and records only. */
MUST_CHECK enum err_code lora_parse(const char *path, struct span map, double scale, struct arena *a,
                                    const struct lora **ret, struct err *err);

/* The shape of a network's tensor, cols 1 of a vector; false: there is none of this name. */
typedef bool lora_shape_fn(const void *ctx, const char *name, int64_t *ret_rows, int64_t *ret_cols);
/* Whether all of it fits a network. ERR_UNSUPPORTED with counts where nothing fits, or not all of it does. A layer
 * img_in of 64 inputs, as dev has it, fits one with more: the others are not changed. */
MUST_CHECK enum err_code lora_check(const struct lora *l, lora_shape_fn *shape, const void *ctx, struct err *err);

/* Borrows l. After the rows were read, file_map_check() says whether the file was there all the time. */
struct weight_patch lora_patch(const struct lora *l);

/* Takes the pages of the file out of the process, which reads them from the system's cache or the disk when it needs
 * them again. No thread may be adding meanwhile. */
void lora_release(const struct lora *l);

/* For records: the path as it was given, and "BYTES-CRC", the file's size and the CRC-32C in hex of
 * all of it, and of adapter_config.json where that counts. */
const char *lora_path(const struct lora *l);
const char *lora_digest(const struct lora *l);
int lora_layers(const struct lora *l); /* how many layers it changes */

/* Whether it changes a tensor of which this holds; names are the network's, as "img_in.weight". */
bool lora_touches(const struct lora *l, bool (*holds)(const char *name));

#endif
