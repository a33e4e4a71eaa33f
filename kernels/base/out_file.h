/*
 * out_file - writing a file as a stream, whole or not at all: under a temporary name beside its own, then renamed.
 *
 * A path that is there and is no regular file (/dev/stdout, a pipe) is written in place: it must not be replaced.
 */
#ifndef KERNELS_BASE_OUT_FILE_H
#define KERNELS_BASE_OUT_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/err.h"

enum { OUT_FILE_PATH_MAX = 4096 };

struct out_file;

/* ERR_IO names path and reason. */
MUST_CHECK enum err_code out_file_open(struct out_file **ret, const char *path, struct err *err);

/* Errors are kept and come out at the end. */
void out_file_write(struct out_file *f, const void *data, size_t bytes);

/* Ends the file. With `keep` it takes its name, if nothing failed before; else it is removed. `f` is gone after. */
MUST_CHECK enum err_code out_file_close(struct out_file *f, bool keep, struct err *err);

#endif
