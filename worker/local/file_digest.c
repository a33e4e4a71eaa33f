#include "worker/local/file_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PIECE_BYTES = 4 << 20 };

void file_digest_text(const unsigned char digest[CRYPTO_SHA256_BYTES], char ret[FILE_DIGEST_SIZE])
{
    for (int i = 0; i < CRYPTO_SHA256_BYTES; i++)
        (void)snprintf(ret + (size_t)2 * i, 3, "%02x", digest[i]);
}

static enum err_code add_file(struct crypto_sha256_stream *s, int fd, const char *path,
                              bool (*report)(void *ctx, int64_t bytes), void *ctx, struct err *err)
{
    char *piece = malloc(PIECE_BYTES);
    enum err_code rc = piece ? ERR_OK : err_set(err, ERR_NOMEM, "%s: no memory to read it", path);
    ssize_t n = 1;

    while (!rc && n > 0) {
        n = read(fd, piece, PIECE_BYTES);
        if (n < 0)
            rc = err_set(err, ERR_IO, "%s: cannot be read: %m", path);
        else if (!report(ctx, n))
            rc = err_set(err, ERR_CANCELLED, "stopped");
        else
            crypto_sha256_add(s, piece, (size_t)n);
    }
    free(piece);
    return rc;
}

enum err_code file_digest(const char *path, bool (*report)(void *ctx, int64_t bytes), void *ctx,
                          char ret[FILE_DIGEST_SIZE], struct err *err)
{
    unsigned char digest[CRYPTO_SHA256_BYTES];
    struct crypto_sha256_stream *s = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum err_code rc;

    if (fd < 0)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: cannot be read: %m", path);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    rc = crypto_sha256_open(&s, err);
    if (!rc)
        rc = add_file(s, fd, path, report, ctx, err);
    if (!rc)
        rc = crypto_sha256_end(s, digest, err);
    if (!rc)
        file_digest_text(digest, ret);
    crypto_sha256_close(s);
    (void)close(fd);
    return rc;
}
