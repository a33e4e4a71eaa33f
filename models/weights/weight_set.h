/*
 * weight_set - the tensors of one network, from one file or several shards, by the network's names.
 *
 * A set joins files, hides the prefix that a tool has put in front of the names, and knows how the files name and cut
 * what the network asks for (weight_source.h). Of the prefixes given, the longest one that occurs is used. In a merged
 * checkpoint names without the prefix of the transformer are ignored.
 *
 * Scales of 8-bit floats: next to `X.weight` of type F8 may be one more tensor `X.*` whose name contains "scale" and
 * not "input": `scale_weight`, `weight_scale`, `weight_scale_inv`, `scale`, ... Values are multiplied with it; it holds
 * one value, one a row, or one a block of 128 x 128. A scale of the inputs ("input") says how a product in F8 would
 * round its inputs; ours do not round them, so it is known and has no effect.
 */
#ifndef MODELS_WEIGHTS_WEIGHT_SET_H
#define MODELS_WEIGHTS_WEIGHT_SET_H

#include <stdarg.h>

#include "models/file/shards.h"
#include "models/weights/weight_source.h"

/* Where any tensor of a file has this prefix, the file is a merged checkpoint: other names belong to other networks. */
#define WEIGHT_SET_MERGED_PREFIX "model.diffusion_model."

struct weight_set {
    const struct tensor_file *files[SHARDS_MAX_FILES];
    int n_files;
    char prefix[64];          /* in front of every name in the files */
    weight_rename_fn *rename; /* NULL: the files use the network's names */
    struct weight_patch patches[WEIGHT_MAX_PATCHES];
    int n_patches;
};

/* prefixes: NULL-terminated list of at most 15 candidates, tried longest first; "" is always tried last. The prefix
 * under which a tensor `probe` exists is taken. The files are borrowed. ERR_NOT_FOUND: no such tensor; ERR_CORRUPT: a
 * name is in two files. */
MUST_CHECK enum err_code weight_set_init(struct weight_set *ws, const struct tensor_file *files, int n_files,
                                         const char *const *prefixes, const char *probe, struct err *err);

/* Names are printf-style, the network's, without the prefix. */
bool weight_set_has(const struct weight_set *ws, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A tensor as it is in a file, and without the set's renaming; NULL: absent. */
const struct tensor_entry *weight_set_find(const struct weight_set *ws, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* `ret` borrows `name`, and the set's patches. ERR_NOT_FOUND names the tensor that is missing; ERR_CORRUPT for parts
 * that do not fit together, and for scales that no values can have; ERR_UNSUPPORTED for integers. */
MUST_CHECK enum err_code weight_set_source(const struct weight_set *ws, const char *name, struct weight_source *ret,
                                           struct err *err);

/* The file that holds an entry of the set. */
const struct tensor_file *weight_set_file_of(const struct weight_set *ws, const struct tensor_entry *e);

/* Notes that a network has taken a tensor, with its scales. */
void weight_set_take(const struct weight_set *ws, const struct weight_source *s);
/* After a network was loaded: ERR_UNSUPPORTED for a tensor that belongs to a layer of it and was not taken ("X.lora_A"
 * or "X.weight.absmax" where "X.weight" was taken): the layer's values are not what was loaded. Other tensors that were
 * not taken belong to other networks; *ret_others is their number. */
MUST_CHECK enum err_code weight_set_check_taken(const struct weight_set *ws, int *ret_others, struct err *err);

#endif
