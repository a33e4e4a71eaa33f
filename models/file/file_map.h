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

/* Maps a regular file that is not empty; the mapping lives until the arena is rewound. ERR_NOT_FOUND, ERR_IO,
 * ERR_CORRUPT (empty), ERR_TOO_LARGE (too many files). */
MUST_CHECK enum err_code file_map_open(const char *path, struct arena *a, struct span *ret, struct err *err);

/* ERR_IO, with the name of the file, when a file that is mapped was changed or could not be read, or one that is mapped
 * no more could not be read. From any thread; takes microseconds. */
MUST_CHECK enum err_code file_map_check(struct err *err);
/* The verdict on work that ended with `rc` and `err`: the same, or what file_map_check() says. Lost bytes look like a
 * damaged file, like NaN or like a device that failed. */
MUST_CHECK enum err_code file_map_verdict(enum err_code rc, struct err *err);

#endif
