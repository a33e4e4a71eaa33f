/*
 * ring - bf16 copies of matrices that are kept quantised, made ahead of their use on the second stream.
 *
 * Announced matrices wait in a queue, in the order of use. As many as find room are expanded into a ring of bytes while
 * the products before them run; a place is used again when the products that were queued while it was in use are done,
 * which the streams find out from each other: the host waits for nothing. What was not announced, or in another order,
 * is expanded on the spot into a buffer of its own.
 */
#ifndef KERNELS_CUDA_RING_H
#define KERNELS_CUDA_RING_H

#include "kernels/cuda/cuda.h"

enum {
    RING_MATRIX_BYTES = 128 << 20, /* linear1 of FLUX has 126 MiB */
    RING_MATRICES = 3
};

/* A whole matrix as it lies on the device. */
struct stored_matrix {
    enum dtype dtype;
    int64_t rows, cols;
    void *data;
};

struct ring;

/* matrix_bytes: of the largest that is taken, expanded; a multiple of 256. The ring holds RING_MATRICES times as much,
 * and the other buffer this much. */
MUST_CHECK enum err_code ring_open(struct cuda *cuda, size_t matrix_bytes, struct ring **ret, struct err *err);
void ring_close(struct ring *r); /* takes NULL; the streams must be idle */

bool ring_takes(size_t matrix_bytes, int64_t rows, int64_t cols);
void ring_announce(struct ring *r, const struct stored_matrix *m);
/* `m` will hold other values. It was not announced since its last use. */
void ring_forget(struct ring *r, const struct stored_matrix *m);
/* The matrix as bf16 for what is queued on the work's stream before the next call. */
MUST_CHECK enum err_code ring_use(struct ring *r, const struct stored_matrix *m, const void **ret, struct err *err);

#endif
