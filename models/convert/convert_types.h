/*
 * convert_types - which type every tensor of a converted transformer gets, as the published files have it:
 *
 *   vectors (biases, norm scales)                                   F32
 *   img_in, time_in, vector_in, guidance_in: in_layer; final_layer.linear   F32
 *   txt_in, time_in, vector_in, guidance_in: out_layer; final_layer.adaLN_modulation.1   BF16
 *   matrices of the blocks, 99 % of the values                      the chosen type, or what is kept for their names
 *
 * Where F32 is chosen, everything is F32. A matrix whose rows are not whole blocks of its type becomes F16.
 * Source: MODEL.md 2.11 (family A), whose sizes come out to the byte (3.5); ggml's llama_ftype for the file type.
 */
#ifndef MODELS_CONVERT_CONVERT_TYPES_H
#define MODELS_CONVERT_CONVERT_TYPES_H

#include "kernels/tensor.h"

/* Matrices of blocks in whose names `part` occurs get a type of their own; the first that fits counts. */
struct convert_keep {
    const char *part; /* "_mod.lin", "single_blocks.37." */
    enum dtype type;
};

struct convert_types {
    enum dtype type;
    const struct convert_keep *keeps; /* [n_keeps] */
    int n_keeps;
};

bool convert_can_write(enum dtype t);     /* floats, and the blocks that we can quantise to */
uint32_t convert_file_type(enum dtype t); /* the value of general.file_type, for a type that can be written */
bool convert_keeps(const struct convert_keep *k, const char *name); /* whether it is for the tensor */

/* The type of a tensor by its BFL name and its shape, row-major. */
enum dtype convert_type_of(const struct convert_types *t, const char *name, int n_dims, const int64_t *dims);

#endif
