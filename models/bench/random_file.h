/*
 * random_file - a GGUF of random matrices [12288, 3072] on disk, for measuring how fast such a file loads.
 */
#ifndef MODELS_BENCH_RANDOM_FILE_H
#define MODELS_BENCH_RANDOM_FILE_H

#include <stdint.h>

#include "kernels/tensor.h"

enum { RANDOM_FILE_PATH = 32 };

/*
 * Writes matrices of `type`, at least one and about `bytes` in all, to $TMPDIR or /tmp and to the disk. The file has no
 * name: ret_path leads to it while *ret_fd, which is the caller's, is open, and closing that removes it. ERR_IO,
 * ERR_NOMEM; ERR_INVALID for too many bytes.
 */
MUST_CHECK enum err_code random_file_open(enum dtype type, int64_t bytes, char ret_path[RANDOM_FILE_PATH], int *ret_fd,
                                          struct err *err);

#endif
