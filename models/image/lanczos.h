/*
 * lanczos - the filter of resize.h and resample.h: which inputs an output is made of, and with which weights.
 *
 * An axis of n_in inputs becomes one of n_all outputs. Where it shrinks, the filter is stretched to the scale. Inputs
 * beyond the ends do not count, and the weights of the others add up to 1.
 *
 * Source  Pillow src/libImaging/Resample.c; Duchon 1979
 */
#ifndef MODELS_IMAGE_LANCZOS_H
#define MODELS_IMAGE_LANCZOS_H

/* The most inputs of one output. */
int lanczos_most_taps(int n_in, int n_all);

struct lanczos_taps {
    int first, count; /* inputs first to first + count - 1 */
};

/* weight: room for lanczos_most_taps(), of which `count` are set. */
struct lanczos_taps lanczos_taps_of(int output, int n_in, int n_all, double *weight);

#endif
