/*
 * flux_names - the two families of names of a FLUX.1 transformer's tensors, by one table.
 *
 * BFL's names are those of the networks here ("double_blocks.3.img_attn.qkv.weight"); diffusers' are those of its
 * folders and of most LoRAs ("transformer_blocks.3.attn.to_q.weight"). Where BFL has one matrix, diffusers may have
 * several whose rows follow one another: q, k, v, and in a single block the MLP's first matrix. Its norm_out has scale
 * before shift, BFL's final_layer.adaLN_modulation.1 the other way round.
 *
 * Source: the conversion of checkpoints in diffusers (scripts/convert_flux_to_diffusers.py), MODEL.md 2.7 and 2.10.
 */
#ifndef MODELS_LAYOUT_FLUX_NAMES_H
#define MODELS_LAYOUT_FLUX_NAMES_H

#include "models/weights/weight_source.h"

enum { FLUX_MODULE_MAX = 63 }; /* the longest name of a module here */

/* A weight_rename_fn: diffusers' names of a tensor that BFL calls `name`. Of a name that ends in a point, a module
 * whose parts are tensors, it gives the one that begins the names there: "double_blocks.", "double_blocks.3.",
 * "guidance_in.". Both BFL's "query_norm.scale" and the "query_norm.weight" of some converters are known. False: there
 * is no such tensor. */
bool flux_names_diffusers(const char *name, struct weight_names *ret);

/* What a module of another spelling is here. */
struct flux_module {
    char name[FLUX_MODULE_MAX + 1]; /* "double_blocks.3.img_attn.qkv", without ".weight" */
    int piece, n_pieces;            /* of the parts whose rows follow one another in it; 0 of 1: all of it */
    bool halves_swapped;
    bool norm; /* the scale of a QK norm, which is no matrix */
};
/* How a module's name is written. Underscores stand for the points in it where a tool uses it as one word:
 * "transformer_blocks_3_attn_to_q". Then it is compared with the table's names in that spelling. */
enum flux_naming { FLUX_NAMING_BFL, FLUX_NAMING_DIFFUSERS, FLUX_NAMING_COUNT };
/* False: no module of this network is called that. Blocks have the numbers 0 to 999. */
bool flux_names_module(struct span module, enum flux_naming naming, bool underscores, struct flux_module *ret);

#endif
