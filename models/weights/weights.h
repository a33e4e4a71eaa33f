/*
 * weights - tensors by name, checked for shape and loaded into a backend.
 *
 * A matrix whose bytes are in a file as they are is used where it lies in the mapping, or uploaded from there. One that
 * must be put together, or that a patch changes, is made in memory first (weight_make.h): for good where the backend
 * uses weights in place, for the time of its upload otherwise.
 */
#ifndef MODELS_WEIGHTS_WEIGHTS_H
#define MODELS_WEIGHTS_WEIGHTS_H

#include "kernels/backend.h"
#include "kernels/devarena.h"
#include "models/weights/weight_set.h"

struct weight_loader {
    const struct weight_set *set;
    struct backend *be;
    struct devarena *mem;  /* growing; holds vectors */
    struct arena *scratch; /* host; rewound after each call */
    struct arena *made;    /* host; keeps matrices that are in no file, as long as the network is used */
    bool prove;            /* proof_tensor() looks at every tensor */
    bool read_now;         /* for a backend that uses matrices in place: reads them from disk while loading */
    bool in_file;          /* matrices are only checked, and stay in the mapping; their user calls weight_load */
    bool is_unused;        /* ... and nobody uses their values: what would have to be made is not */
    _Atomic int64_t *loaded_bytes; /* progress, for another thread: each tensor's bytes are added. NULL: none */
    _Atomic int64_t *read_bytes;   /* the same without those that stay in their file. NULL: none */
    int *not_taken;                /* weights_finish() adds the number of tensors that no network took. NULL: none */
};

/* A matrix by name, rows x cols; -1 accepts any size, which is then in ret. [o,i,1,1] counts as [o,i].
 * ERR_NOT_FOUND names the tensor, ERR_CORRUPT both shapes, or what `prove` found. A matrix's values are proven by
 * samples, because all of them would be the whole file; vectors and convolutions, whose values are converted anyway,
 * are refused if they hold NaN or infinity. */
MUST_CHECK enum err_code weights_matrix(struct weight_loader *l, struct weight *ret, int64_t rows, int64_t cols,
                                        struct err *err, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* A vector of n values (-1: any) as F32 in backend memory. */
MUST_CHECK enum err_code weights_vector(struct weight_loader *l, struct tensor *ret, int64_t n, struct err *err,
                                        const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* The bias of a product, n values (-1: any): as F32, and also as BF16 on a backend whose products take bf16. */
MUST_CHECK enum err_code weights_bias(struct weight_loader *l, struct bias *ret, int64_t n, struct err *err,
                                      const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* A convolution of `shape` [c_out, c_in, kh, kw] (-1: any), repacked by the backend. */
MUST_CHECK enum err_code weights_conv(struct weight_loader *l, struct conv_weight *ret, const int64_t shape[4],
                                      struct err *err, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* After all tensors of a network: weight_set_check_taken(). */
MUST_CHECK enum err_code weights_finish(struct weight_loader *l, struct err *err);

#endif
