/*
 * file - opens, reads or writes a regular file; lists a folder; and what a message calls a file.
 *
 * Whoever reads model files does it through this interface: a path may also lead to a file in the memory of this
 * process (memory_file.h), which the system's own calls do not know.
 */
#ifndef KERNELS_BASE_FILE_H
#define KERNELS_BASE_FILE_H

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

struct stat;

/* Opens a regular file for reading by pread(). It never waits, as for somebody who writes into a pipe. The caller
 * closes *ret_fd. ERR_NOT_FOUND, ERR_IO, ERR_INVALID when it is something else, which the message names. */
MUST_CHECK enum err_code file_open(const char *path, int *ret_fd, struct stat *ret_stat, struct err *err);

/* Reads a regular file into the arena; a NUL follows the bytes. ERR_NOT_FOUND, ERR_IO, ERR_TOO_LARGE over max_bytes,
 * ERR_INVALID when it is not a regular file. */
MUST_CHECK enum err_code file_read(const char *path, size_t max_bytes, struct arena *a, struct span *ret,
                                   struct err *err);

/* The path without its folders; from the path itself. */
const char *file_short_name(const char *path);

/* The folder a path lies in: "." where it names none, "/" of the root. */
MUST_CHECK enum err_code file_folder(const char *path, struct arena *a, const char **ret, struct err *err);

/* stat(2); false: errno says why not. */
bool file_stat(const char *path, struct stat *ret);
/* Whether something has that name, be it a link that leads nowhere; false: errno says why not. */
bool file_is_named(const char *path);
bool file_is_folder(const char *path); /* false also where it cannot be asked */
/* Whether what lies in a folder can be listed and opened; false: errno says why not. */
bool file_folder_is_readable(const char *path);

/* Calls `take` with each name in a folder, in any order, "." and ".." among them. The errors of `take` end it.
 * ERR_NOT_FOUND: there is no such folder; ERR_IO. */
MUST_CHECK enum err_code file_list(const char *dir, enum err_code (*take)(void *ctx, const char *name, struct err *err),
                                   void *ctx, struct err *err);

/* Whether two paths lead to one file or folder, which may have several. */
bool file_is_same(const char *path, const char *other);

/* Writes the file whole or not at all (out_file.h). ERR_IO. */
MUST_CHECK enum err_code file_write(const char *path, struct span body, struct err *err);

#endif
