/*
 * bench_kinds - what the operations of the transformer's blocks take by kinds. While it watches a backend, each of them
 * stands between two marks and is waited for, so a run takes longer on the whole, but not they.
 *
 * A product's time is that of the whole operation: converted inputs, waiting for weights that are expanded.
 */
#ifndef MODELS_BENCH_BENCH_KINDS_H
#define MODELS_BENCH_BENCH_KINDS_H

#include "kernels/backend.h"

enum bench_kind { BENCH_PRODUCTS, BENCH_ATTENTION, BENCH_REST, BENCH_KINDS };

struct bench_kinds {
    struct backend_ops ops; /* in the place of the backend's own; first, so that they lead here */
    const struct backend_ops *own;
    double ms[BENCH_KINDS];
};

void bench_kinds_watch(struct bench_kinds *k, struct backend *be); /* from zero on */
void bench_kinds_leave(struct bench_kinds *k, struct backend *be);

#endif
