/*
 * bench_load - how fast a file comes into memory, cold: read() as a measure, and its mapping touched page by page and
 * by mapping_read(). Before each the system is asked to forget the file, which works for pages that nobody has mapped.
 */
#ifndef MODELS_BENCH_LOAD_H
#define MODELS_BENCH_LOAD_H

#include <stdint.h>

#include "kernels/base/err.h"

struct bench_load {
    int64_t bytes;
    double read_seconds, touch_seconds, mapped_seconds;
};

MUST_CHECK enum err_code bench_load(const char *path, struct bench_load *ret, struct err *err);

#endif
