/*
 * bench_kinds - the time of the transformer's operations by kind. While a backend is watched, each operation is queued
 * between two marks and waited for, so a step as a whole takes longer, but the operations do not.
 *
 * A product's time is that of the whole operation, including the conversion of inputs and the wait for weights that are
 * expanded.
 */
#ifndef MODELS_BENCH_BENCH_KINDS_H
#define MODELS_BENCH_BENCH_KINDS_H

#include "kernels/backend.h"

enum bench_kind { BENCH_PRODUCTS, BENCH_ATTENTION, BENCH_REST, BENCH_KINDS };

struct bench_kinds {
    struct backend_ops ops; /* takes the place of the backend's table; first, so that be->ops points to this struct */
    const struct backend_ops *own;
    double ms[BENCH_KINDS];
};

void bench_kinds_watch(struct bench_kinds *k, struct backend *be); /* starts from zero */
void bench_kinds_leave(struct bench_kinds *k, struct backend *be);

#endif
