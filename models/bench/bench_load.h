/*
 * bench_load - how fast a file comes into memory, cold: read() as a measure, and its mapping touched page by page and
 * by mapping_read(); and into a backend, by its own loader. Before each the system is asked to forget the file, which
 * works for pages that are on the disk and that nobody has mapped. What is behind the disk does not forget: the first
 * to read a file may be the slowest by far, so read() comes twice, before and after the mappings, and its better time
 * is the measure.
 */
#ifndef MODELS_BENCH_BENCH_LOAD_H
#define MODELS_BENCH_BENCH_LOAD_H

#include "kernels/backend.h"

struct bench_load {
    int64_t bytes;
    double read_seconds[2]; /* before the mappings and after */
    double touch_seconds, mapped_seconds;
};

double bench_load_read_seconds(const struct bench_load *b); /* the better of both */

MUST_CHECK enum err_code bench_load(const char *path, struct bench_load *ret, struct err *err);

/* The matrices of a GGUF or safetensors file, cold, into a backend as a model's are: file, directory, every weight. */
struct bench_load_model {
    double seconds;
    int64_t bytes; /* of the matrices, in the file */
    int n_matrices;
    int64_t own_bytes;    /* host memory of this process when all is loaded, but for the pages of files */
    int64_t device_bytes; /* in use on the device then; 0: it has no memory of its own */
};

/* ERR_UNSUPPORTED: a file of another kind. What was loaded stays until the backend closes. */
MUST_CHECK enum err_code bench_load_model(const char *path, struct backend *be, enum weight_mode mode,
                                          struct bench_load_model *ret, struct err *err);

#endif
