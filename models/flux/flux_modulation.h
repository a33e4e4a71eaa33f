/*
 * flux_modulation - where a block finds its shift, scale and gate in the table of a request's modulations.
 *
 * The table is F32 [n_steps, flux_modulation_cols]; flux_modulate (flux.h) computes it.
 */
#ifndef MODELS_FLUX_FLUX_MODULATION_H
#define MODELS_FLUX_FLUX_MODULATION_H

#include "models/flux/flux_ops.h"

/* The modulations of both streams at one place of the network. */
struct flux_mods {
    struct flux_mod txt, img;
};

/* The modulations that `block` begins with, numbered as in flux_run_block. In a single block and in the final layer
 * both streams share one modulation. The final layer has no gate, so `gate` must not be read. */
struct flux_mods flux_first_mods(const struct flux_prepared *p, int step, int block);
/* The modulations of the second half of a double block, the MLP. */
struct flux_mods flux_second_mods(const struct flux_prepared *p, int step, int block);

#endif
