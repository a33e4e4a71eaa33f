/*
 * file_digest - the SHA-256 of a file of any size, read once from its begin to its end. About 1.5 GB a second on a
 * processor with instructions for SHA, and 0.4 GB without.
 */
#ifndef WORKER_VERIFY_FILE_DIGEST_H
#define WORKER_VERIFY_FILE_DIGEST_H

#include <stdatomic.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum { FILE_DIGEST_SIZE = 65 }; /* 64 small hex digits and a NUL */

/* Who is told how far it has come, and who may end it; both may be NULL. */
struct file_digest_watch {
    void (*progress)(void *ctx, const char *path, int64_t done_bytes, int64_t total_bytes);
    void *ctx;
    const atomic_bool *stop;
};

/* ERR_NOT_FOUND, ERR_INVALID (no regular file), ERR_IO (also for a file that changes its size meanwhile),
 * ERR_CANCELLED. `watch` may be NULL. */
MUST_CHECK enum err_code file_digest(const char *path, const struct file_digest_watch *watch,
                                     char ret[FILE_DIGEST_SIZE], int64_t *ret_bytes, struct err *err);

#endif
