/*
 * files - whole files for the commands: read with a size limit, written completely or not at all.
 */
#ifndef WORKER_FILES_H
#define WORKER_FILES_H

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

/* The contents of a regular file, NUL-terminated beyond len, from the arena. ERR_NOT_FOUND, ERR_IO, ERR_TOO_LARGE. */
MUST_CHECK enum err_code files_read(struct arena *a, const char *path, size_t max_bytes, struct span *ret,
                                    struct err *err);

/* Through a new file beside `path` that takes its name when all is on the disk. ERR_IO, ERR_NOT_FOUND (the folder). */
MUST_CHECK enum err_code files_write(const char *path, struct span body, struct err *err);

#endif
