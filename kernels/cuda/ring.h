/*
 * ring - bf16 copies of matrices that are kept quantised, expanded ahead of their use on the second stream.
 *
 * Announced matrices wait in a queue, in the order of use. As many as fit are expanded into a ring of bytes while the
 * products before them run. A place is used again when the products that read it are done; events make the streams wait
 * for each other, and the host never waits. A matrix that was not announced, or is used out of order, is expanded on
 * the work's stream into a separate buffer, the spot.
 */
#ifndef KERNELS_CUDA_RING_H
#define KERNELS_CUDA_RING_H

#include "kernels/cuda/cuda.h"

enum {
    RING_MATRIX_BYTES = 128 << 20, /* linear1 of FLUX is 126 MiB in bf16 */
    RING_MATRICES = 3
};

/* A whole matrix on the device, in its storage type. */
struct stored_matrix {
    enum dtype dtype;
    int64_t rows, cols;
    void *data;
    float scale; /* as in struct weight */
};

struct ring;

/* matrix_bytes: the expanded size of the largest matrix, a multiple of 256. The ring is RING_MATRICES times as large,
 * and the spot is matrix_bytes large. */
MUST_CHECK enum err_code ring_open(struct cuda *cuda, size_t matrix_bytes, struct ring **ret, struct err *err);
void ring_close(struct ring *r); /* takes NULL; the streams must be idle */

bool ring_takes(size_t matrix_bytes, int64_t rows, int64_t cols);
void ring_announce(struct ring *r, const struct stored_matrix *m);
/* Must be called before the values of `m` change, and only while `m` is not announced. */
void ring_forget(struct ring *r, const struct stored_matrix *m);
/* Sets *ret to the matrix as bf16, valid for work that is queued on the work's stream before the next call. */
MUST_CHECK enum err_code ring_use(struct ring *r, const struct stored_matrix *m, const void **ret, struct err *err);

#endif
