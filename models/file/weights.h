/*
 * weights - tensors by name, from one file or several shards, with the shape they must have, put into a backend.
 *
 * A weight_set joins files and hides the prefix a tool put before the names: the longest of the prefixes given that
 * occurs is stripped; where any tensor has `model.diffusion_model.` those without it are ignored.
 */
#ifndef MODELS_FILE_WEIGHTS_H
#define MODELS_FILE_WEIGHTS_H

#include "kernels/backend.h"
#include "kernels/devarena.h"
#include "models/file/tensor_file.h"

enum { WEIGHT_SET_MAX_FILES = 64 };

struct weight_set {
    const struct tensor_file *files[WEIGHT_SET_MAX_FILES];
    int n_files;
    char prefix[64]; /* in front of every name looked up */
};

/* prefixes: NULL-terminated list of at most 15 candidates, tried longest first; "" is always tried last. `probe` is a
 * name that must exist (without prefix), which decides. The files are borrowed. ERR_NOT_FOUND when the probe is
 * nowhere, ERR_CORRUPT when a name is in two files, ERR_UNSUPPORTED for fp8 files with separate scales. */
MUST_CHECK enum err_code weight_set_init(struct weight_set *ws, const struct tensor_file *files, int n_files,
                                         const char *const *prefixes, const char *probe, struct err *err);
/* printf-style names; NULL: absent. */
const struct tensor_entry *weight_set_find(const struct weight_set *ws, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

struct weight_loader {
    const struct weight_set *set;
    struct backend *be;
    struct devarena *mem;  /* growing; holds vectors */
    struct arena *scratch; /* host; rewound after each call */
    bool read_now;         /* a backend uses matrices in place: brings them into memory, not at their first use */
    bool in_file;          /* matrices are checked and stay in the mapping: weight_load is left to who uses them */
    /* progress: bytes loaded so far are added to *loaded_bytes when not NULL (read by another thread) */
    _Atomic int64_t *loaded_bytes;
};

/* A matrix by name, rows x cols; -1 accepts any size (it is then in ret). [o,i,1,1] counts as [o,i].
 * ERR_NOT_FOUND names the tensor, ERR_CORRUPT names both shapes. Values are not looked at: that would read the whole
 * file; vectors and convolutions, which are expanded anyway, are refused when they hold NaN or infinity. */
MUST_CHECK enum err_code weights_matrix(struct weight_loader *l, struct weight *ret, int64_t rows, int64_t cols,
                                        struct err *err, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* A vector of n values (-1: any) as F32 in backend memory. */
MUST_CHECK enum err_code weights_vector(struct weight_loader *l, struct tensor *ret, int64_t n, struct err *err,
                                        const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* The bias of a product, n values (-1: any): a vector, and beside it the same rounded where products take bf16. */
MUST_CHECK enum err_code weights_bias(struct weight_loader *l, struct bias *ret, int64_t n, struct err *err,
                                      const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* A convolution [c_out, c_in, kh, kw] (-1: any), repacked by the backend. */
MUST_CHECK enum err_code weights_conv(struct weight_loader *l, struct conv_weight *ret, int c_out, int c_in, int kh,
                                      int kw, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 8, 9)));

#endif
