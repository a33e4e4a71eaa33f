/*
 * memory_file - files that are in the memory of this process alone, under paths that no disk has.
 *
 * Their paths begin with a scheme, "gs://bucket/models/ae.safetensors"; whoever opens a path through file.h finds them
 * there, and their folders. The bytes lie in an anonymous file (memfd_create(2)): it can be mapped, takes memory where
 * it was written to, and is gone with the process. A file is as long as it was announced from the beginning on; what
 * has not been written reads as zeros, so its owner writes whatever will be read before anybody is let at it.
 *
 * A file may be opened while its bytes are still arriving: between memory_file_begin() and memory_file_end() whoever
 * wants bytes of it waits for them by memory_file_wait().
 *
 * What has been read and is not needed again may be given back: memory_file_drop() notes it, and it goes back with
 * memory_files_free_dropped(), when nobody reads these files any more in full.
 *
 * Thread-safe. Errors  ERR_NOMEM, ERR_TOO_LARGE (too many files), ERR_INVALID (the path), ERR_IO.
 */
#ifndef KERNELS_BASE_MEMORY_FILE_H
#define KERNELS_BASE_MEMORY_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum { MEMORY_FILES_MAX = 4096 };

struct memory_file;
struct stat;

/* Whether a path is one of theirs, be there such a file or not: it begins with "scheme://". */
bool memory_file_is_path(const char *path);

/* Adds an absent file of this length. It lives until memory_files_remove(). */
MUST_CHECK enum err_code memory_file_add(const char *path, int64_t bytes, struct memory_file **ret, struct err *err);
/* Closes all. Mappings and descriptors that others have stay valid. */
void memory_files_remove(void);

/* Writes bytes to their place; different places from any threads. */
MUST_CHECK enum err_code memory_file_write(struct memory_file *f, int64_t at, const void *bytes, size_t n,
                                           struct err *err);

/* From now on bytes are waited for, all but those that have arrived. */
void memory_file_begin(struct memory_file *f);
/* They have been written. Told once of each byte, before memory_file_begin() or after it. */
void memory_file_arrived(struct memory_file *f, int64_t at, int64_t bytes);
void memory_file_end(struct memory_file *f); /* all of them have */
/* Nothing more will arrive of any file: whoever waits gets this error, now and later, until memory_files_remove(). */
void memory_files_fail(const struct err *why);

/* Waits until these bytes of the file with this path have arrived. Does nothing for any other file. Takes nanoseconds
 * where nothing is arriving. The error of memory_files_fail(). */
MUST_CHECK enum err_code memory_file_wait(const char *path, int64_t at, int64_t bytes, struct err *err);
bool memory_files_arriving(void); /* whether any file is between its begin and its end, or one has failed */

/* A descriptor of a file of which something has been written, which the caller closes; read it by pread(), because its
 * position is shared. ERR_NOT_FOUND; ERR_INVALID for a folder; ERR_IO where nothing has been written. */
MUST_CHECK enum err_code memory_file_open(const char *path, int *ret_fd, struct stat *ret_stat, struct err *err);

/* As stat(2): kind and size. false: there is neither such a file nor such a folder. */
bool memory_file_stat(const char *path, struct stat *ret);

/* Calls `take` with the name of each file that lies directly in the folder. The errors of `take` end it. ERR_NOT_FOUND.
 */
MUST_CHECK enum err_code memory_file_list(const char *dir,
                                          enum err_code (*take)(void *ctx, const char *name, struct err *err),
                                          void *ctx, struct err *err);

/* Notes that these bytes of the file with this path will not be read again. */
void memory_file_drop(const char *path, int64_t at, int64_t bytes);
/* Gives the whole pages of all that is noted back to the system. Returns how many bytes that are. */
int64_t memory_files_free_dropped(void);

#endif
