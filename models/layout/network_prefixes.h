/*
 * network_prefixes - what tools put in front of the names of a network's tensors: the loaders take these off
 * (weight_set_init), and whoever classifies files knows them (file_kind.h).
 */
#ifndef MODELS_LAYOUT_NETWORK_PREFIXES_H
#define MODELS_LAYOUT_NETWORK_PREFIXES_H

enum network_kind { NETWORK_TRANSFORMER, NETWORK_VAE, NETWORK_T5, NETWORK_CLIP, NETWORK_KIND_COUNT };

/* The longest first, with a NULL behind the last; names without any of them are read, too, and "" is not listed. */
const char *const *network_prefixes(enum network_kind kind);

#endif
