/*
 * flux_flop - the arithmetic of a step, for measurements and estimates. FLOP: two for each multiplication in matrix
 * products and attention; nothing else is counted. n is the number of tokens of text and picture together.
 * Source: MODEL.md 9.2.
 */
#ifndef MODELS_FLUX_FLUX_FLOP_H
#define MODELS_FLUX_FLUX_FLOP_H

#include "models/flux/flux.h"

double flux_block_products_flop(const struct flux_config *c, double n); /* of one block, of either kind */
double flux_block_attention_flop(const struct flux_config *c, double n);
double flux_step_flop(const struct flux_config *c, double n_txt, double n_img);

#endif
