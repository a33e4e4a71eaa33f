/*
 * gunzip - what gzip has packed, up to a limit. The only file over zlib.
 */
#ifndef WORKER_BASE_GUNZIP_H
#define WORKER_BASE_GUNZIP_H

#include <stdbool.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

bool gunzip_is_packed(struct span bytes); /* they begin as a gzip member does */

/*
 * Unpacks all members, one behind another, into the arena. What follows the last and is not a member is ignored, as
 * gzip(1) does. ERR_TOO_LARGE: more than max_bytes, found without unpacking the rest; ERR_CORRUPT: cut off, or a check
 * sum that does not fit; ERR_NOMEM.
 */
MUST_CHECK enum err_code gunzip(struct span packed, size_t max_bytes, struct arena *a, struct span *ret,
                                struct err *err);

#endif
