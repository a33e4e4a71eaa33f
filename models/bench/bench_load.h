/*
 * bench_load - how fast a file is read into memory when nothing of it is cached: by read(), for comparison, and through
 * a mapping, touched page by page and by mapping_read(); and how fast it is loaded into a backend. Before each the
 * system is asked to drop the file from its cache, which works for pages that are written to the disk and not mapped.
 * Caches below the disk stay filled, so the first way to read a file may be the slowest by far. Therefore read() is
 * timed twice, before and after the mappings, and the mappings are compared with the better time.
 */
#ifndef MODELS_BENCH_BENCH_LOAD_H
#define MODELS_BENCH_BENCH_LOAD_H

#include "kernels/backend.h"

struct bench_load {
    int64_t bytes;
    double read_seconds[2]; /* before the mappings and after */
    double touch_seconds, mapped_seconds;
};

double bench_load_read_seconds(const struct bench_load *b); /* the better of the two */

MUST_CHECK enum err_code bench_load(const char *path, struct bench_load *ret, struct err *err);

/* Loads the matrices of a GGUF or safetensors file that is not cached into a backend, as a model does: opens the file,
 * reads its directory, loads every matrix. */
struct bench_load_model {
    double seconds;
    int64_t bytes; /* of the matrices in the file */
    int n_matrices;
    int64_t own_bytes;    /* host memory of this process after loading, without pages of files */
    int64_t device_bytes; /* in use on the device after loading; 0: it has no memory of its own */
};

/* ERR_UNSUPPORTED for another kind of file. The matrices stay loaded until the backend closes. */
MUST_CHECK enum err_code bench_load_model(const char *path, struct backend *be, enum weight_mode mode,
                                          struct bench_load_model *ret, struct err *err);

#endif
