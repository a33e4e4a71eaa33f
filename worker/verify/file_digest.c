#include "worker/verify/file_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "worker/base/crypto.h"

enum { PART_BYTES = 1 << 20 };

struct reading {
    const char *path;
    const struct file_digest_watch *watch;
    int fd;
    int64_t bytes;
    char *part; /* [PART_BYTES] */
    struct crypto_sha256 *sha;
};

static enum err_code open_file(struct reading *r, struct err *err)
{
    struct stat st;

    TRY(file_open(r->path, &r->fd, &st, err));
    r->bytes = (int64_t)st.st_size;
    (void)posix_fadvise(r->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return ERR_OK;
}

/* The bytes of the next part; 0 at the end. */
static enum err_code read_part(const struct reading *r, int64_t at, size_t *ret, struct err *err)
{
    ssize_t n;

    do
        n = pread(r->fd, r->part, PART_BYTES, (off_t)at);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_set(err, ERR_IO, "%s: %s", r->path, strerror(errno));
    *ret = (size_t)n;
    return ERR_OK;
}

static enum err_code read_all(const struct reading *r, struct err *err)
{
    const struct file_digest_watch *w = r->watch;
    int64_t done = 0;

    for (size_t n = 1; n > 0; done += (int64_t)n) {
        if (w && w->stop && *w->stop)
            return err_set(err, ERR_CANCELLED, "%s: its digest is not needed any more", r->path);
        TRY(read_part(r, done, &n, err));
        TRY(crypto_sha256_add(r->sha, (struct span){ r->part, n }, err));
        if (w && w->progress)
            w->progress(w->ctx, r->path, done + (int64_t)n, r->bytes);
    }
    if (done != r->bytes)
        return err_set(err, ERR_IO, "%s: its size changed while it was read", r->path);
    return ERR_OK;
}

_Static_assert((int)FILE_DIGEST_SIZE == (int)CRYPTO_SHA256_TEXT_SIZE, "a digest is that of crypto.h");

enum err_code file_digest(const char *path, const struct file_digest_watch *watch, char ret[FILE_DIGEST_SIZE],
                          int64_t *ret_bytes, struct err *err)
{
    struct reading r = { .path = path, .watch = watch, .fd = -1, .part = malloc(PART_BYTES) };
    unsigned char digest[CRYPTO_SHA256_BYTES];
    enum err_code rc = r.part ? ERR_OK : err_set(err, ERR_NOMEM, "%s: no memory to read it", path);

    rc = rc ? rc : open_file(&r, err);
    rc = rc ? rc : crypto_sha256_new(&r.sha, err);
    rc = rc ? rc : read_all(&r, err);
    rc = rc ? rc : crypto_sha256_end(r.sha, digest, err);
    if (!rc) {
        crypto_sha256_text(digest, ret);
        *ret_bytes = r.bytes;
    }
    crypto_sha256_free(r.sha);
    if (r.fd >= 0)
        (void)close(r.fd);
    free(r.part);
    return rc;
}
