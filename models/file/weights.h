/*
 * weights - tensors by name, from one file or several shards, checked for shape and loaded into a backend.
 *
 * A weight_set joins files and hides the prefix that a tool has put in front of the names: of the prefixes given, the
 * longest one that occurs is used. If any tensor begins with `model.diffusion_model.`, names without it are ignored.
 */
#ifndef MODELS_FILE_WEIGHTS_H
#define MODELS_FILE_WEIGHTS_H

#include "kernels/backend.h"
#include "kernels/devarena.h"
#include "models/file/shards.h"

struct weight_set {
    const struct tensor_file *files[SHARDS_MAX_FILES];
    int n_files;
    char prefix[64]; /* in front of every name looked up */
};

/* prefixes: NULL-terminated list of at most 15 candidates, tried longest first; "" is always tried last. The prefix
 * under which a tensor `probe` exists is taken. The files are borrowed. ERR_NOT_FOUND: no such tensor; ERR_CORRUPT: a
 * name is in two files; ERR_UNSUPPORTED: fp8 with separate scales. */
MUST_CHECK enum err_code weight_set_init(struct weight_set *ws, const struct tensor_file *files, int n_files,
                                         const char *const *prefixes, const char *probe, struct err *err);
/* The name is printf-style, without the prefix; NULL: absent. */
const struct tensor_entry *weight_set_find(const struct weight_set *ws, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

struct weight_loader {
    const struct weight_set *set;
    struct backend *be;
    struct devarena *mem;  /* growing; holds vectors */
    struct arena *scratch; /* host; rewound after each call */
    bool read_now;         /* for a backend that uses matrices in place: reads them from disk while loading */
    bool in_file;          /* matrices are only checked, and stay in the mapping; their user calls weight_load */
    _Atomic int64_t *loaded_bytes; /* progress, for another thread: each tensor's bytes are added. NULL: none */
};

/* A matrix by name, rows x cols; -1 accepts any size, which is then in ret. [o,i,1,1] counts as [o,i].
 * ERR_NOT_FOUND names the tensor, ERR_CORRUPT both shapes. A matrix's values are not checked, because that would read
 * the whole file; vectors and convolutions, whose values are converted anyway, are refused if they hold NaN or
 * infinity. */
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

#endif
