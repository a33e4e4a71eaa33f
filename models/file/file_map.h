/*
 * file_map - maps files for reading, and notices when a mapped file is lost.
 *
 * A file that is shortened while it is mapped, or whose disk fails, raises SIGBUS where it is read, in any thread and
 * in the middle of a product. The handler of that signal puts zeros in the place of what is lost, so that the
 * computation ends; what it computed is worthless. A file that is overwritten, or shortened and written again, raises
 * no signal: its size and its time of modification tell. So whoever has computed from mapped files calls
 * file_map_check() before the result is used. Once a file is lost, every check fails: the process must be replaced.
 *
 * A SIGBUS that has nothing to do with these mappings takes its usual course.
 */
#ifndef MODELS_FILE_FILE_MAP_H
#define MODELS_FILE_FILE_MAP_H

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

enum { FILE_MAP_MAX = 512 }; /* files that a process has mapped at a time */

/* Maps a regular file that is not empty; the mapping lives until the arena is rewound, and so long the path must.
 * ERR_NOT_FOUND, ERR_IO, ERR_CORRUPT (empty), ERR_TOO_LARGE (too many files). */
MUST_CHECK enum err_code file_map_open(const char *path, struct arena *a, struct span *ret, struct err *err);

/* Waits until bytes of a mapping are there, which those of a file on a disk always are: a file in memory may be opened
 * while it is arriving. Whoever reads more than the directory of a file asks first. Its error, once it has failed, is
 * that of every later call, so one whose caller cannot fail may be ignored. ERR_UNAVAILABLE and others. */
MUST_CHECK enum err_code file_map_wait(const void *p, size_t bytes, struct err *err);

/* Says of bytes of a mapping that they have been copied elsewhere and will not be read again. Of a file in memory
 * (kernels/base/memory_file.h) they are noted; the pages of a file on a disk are the system's to take in any case. */
void file_map_drop(const void *p, size_t bytes);

/* ERR_IO, with the name of the file, when a file that is mapped was changed or could not be read, or one that is mapped
 * no more could not be read. From any thread; takes microseconds. */
MUST_CHECK enum err_code file_map_check(struct err *err);
/* The verdict on work that ended with `rc` and `err`: the same, or what file_map_check() says. Lost bytes look like a
 * damaged file, like NaN or like a device that failed. */
MUST_CHECK enum err_code file_map_verdict(enum err_code rc, struct err *err);

#endif
