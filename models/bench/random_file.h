/*
 * random_file - a GGUF of random matrices [12288, 3072] on disk, for measuring how fast such a file loads.
 */
#ifndef MODELS_BENCH_RANDOM_FILE_H
#define MODELS_BENCH_RANDOM_FILE_H

#include <stdint.h>

#include "kernels/tensor.h"

enum { RANDOM_FILE_PATH = 32 };

/*
 * About `bytes` of matrices of `type` (one at least), in $TMPDIR or /tmp, without a name: it is reached by ret_path as
 * long as *ret_fd, the caller's, is open, and gone after that. All of it is on the disk. ERR_IO, ERR_NOMEM.
 */
MUST_CHECK enum err_code random_file_open(enum dtype type, int64_t bytes, char ret_path[RANDOM_FILE_PATH], int *ret_fd,
                                          struct err *err);

#endif
