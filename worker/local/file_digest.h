/*
 * file_digest - the SHA-256 of a file, as text. It is read in pieces, so that it takes no memory and no address space.
 */
#ifndef WORKER_LOCAL_FILE_DIGEST_H
#define WORKER_LOCAL_FILE_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "worker/base/crypto.h"

enum { FILE_DIGEST_SIZE = 2 * CRYPTO_SHA256_BYTES + 1 };

void file_digest_text(const unsigned char digest[CRYPTO_SHA256_BYTES], char ret[FILE_DIGEST_SIZE]);

/* `report` is told of every piece; when it returns false, the end is ERR_CANCELLED. ERR_NOT_FOUND, ERR_IO, ERR_NOMEM.
 */
MUST_CHECK enum err_code file_digest(const char *path, bool (*report)(void *ctx, int64_t bytes), void *ctx,
                                     char ret[FILE_DIGEST_SIZE], struct err *err);

#endif
