/*
 * out_file - writes a file as a stream, whole or not at all: under a temporary name next to its own, then renamed.
 *
 * A path that exists and is not a regular file (/dev/stdout, a pipe) is written in place, since it must not be
 * replaced.
 */
#ifndef KERNELS_BASE_OUT_FILE_H
#define KERNELS_BASE_OUT_FILE_H

#include <stddef.h>

#include "kernels/base/err.h"

enum { OUT_FILE_PATH_MAX = 4096 };

struct out_file;

/* ERR_IO: the message names path and reason. */
MUST_CHECK enum err_code out_file_open(struct out_file **ret, const char *path, struct err *err);

/* Errors are kept, and returned by out_file_close(). */
void out_file_write(struct out_file *f, const void *data, size_t bytes);
/* The error that is kept, for a writer that would go on for minutes. Bytes in a buffer have not failed yet. */
MUST_CHECK enum err_code out_file_check(const struct out_file *f, struct err *err);

/* Ends the file and frees `f`. A file that is kept takes its name if nothing failed; otherwise it is removed. */
enum out_file_end { OUT_FILE_DISCARD, OUT_FILE_KEEP };
MUST_CHECK enum err_code out_file_close(struct out_file *f, enum out_file_end end, struct err *err);

#endif
