/*
 * file - a whole small file in memory.
 */
#ifndef KERNELS_BASE_FILE_H
#define KERNELS_BASE_FILE_H

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

/* Reads a regular file into the arena, NUL-terminated beyond len. ERR_NOT_FOUND, ERR_IO, ERR_TOO_LARGE over
 * max_bytes, ERR_INVALID when it is no regular file. */
MUST_CHECK enum err_code file_read(const char *path, size_t max_bytes, struct arena *a, struct span *ret,
                                   struct err *err);

#endif
