/*
 * onednn - matrix products and convolutions by oneDNN, behind plain structs.
 *
 * Where memory is short, every call returns ERR_NOMEM before the library, which does not survive it, can notice.
 *
 * A struct onednn has one caller at a time. Primitives are made on first use, for the number of threads that OpenMP has
 * at that moment; so one that a single thread of a team uses must always be used by a single thread (onednn_alone).
 * Each struct keeps its last ONEDNN_CACHE_MAX primitives by shape: a picture of one size needs about sixty, each of
 * which holds up to 0.7 MB of code. oneDNN's own cache, through which threads share them, has the same limit.
 *
 * Source: oneDNN C API (libdnnl), versions 2 and 3.
 */
#ifndef KERNELS_CPU_ONEDNN_H
#define KERNELS_CPU_ONEDNN_H

#include "kernels/backend.h"

enum { ONEDNN_CACHE_MAX = 160 };

struct onednn;

MUST_CHECK enum err_code onednn_open(struct onednn **ret, struct err *err);
void onednn_close(struct onednn *d); /* takes NULL */

/* Declares that this thread of a parallel region works alone: oneDNN then starts no team of its own. */
void onednn_alone(void);

/* The instructions that oneDNN has for products of bf16 on this processor. Without AVX-512 BF16 it fails, or emulates
 * them many times slower than f32. Measured speeds relative to f32: 0.5 to 0.8 with AVX-512 BF16, 3 to 6 with AMX. */
enum onednn_bf16 { ONEDNN_BF16_NONE, ONEDNN_BF16_AVX512, ONEDNN_BF16_AMX };
enum onednn_bf16 onednn_bf16(void);

/* c[m,n] = act(a[m,k] b + bias) or c += a b. All members have 64 bits: shapes are compared as bytes, without padding.
 */
struct onednn_matmul {
    int64_t m, n, k;
    int64_t lda, ldb, ldc;     /* elements between rows */
    int64_t in_type, out_type; /* F32 -> F32, or BF16 -> F32 or BF16 */
    int64_t b_transposed;      /* b is stored as [n,k] instead of [k,n] */
    int64_t bias;              /* there is a bias, F32 [n] */
    int64_t act;               /* enum activation */
    int64_t accumulate;        /* the product is added to c; without bias and act */
};

MUST_CHECK enum err_code onednn_matmul(struct onednn *d, const struct onednn_matmul *s, const void *a, const void *b,
                                       const void *bias, void *c, struct err *err);

/* Pictures [h,w,c], dense; weights in a layout of oneDNN's choice. Types as in struct onednn_matmul. */
struct onednn_conv {
    int64_t h, w, c_in, h_out, w_out, c_out, kh, kw, stride;
    int64_t pad_top, pad_left, pad_bottom, pad_right;
    int64_t in_type, out_type;
    int64_t accumulate; /* the result is added to y */
};

/* The layout of a convolution's weights. */
struct onednn_layout;

/* The layout that s needs, borrowed from the cache until the next call on d, and the size of the weights in it. */
MUST_CHECK enum err_code onednn_conv_layout(struct onednn *d, const struct onednn_conv *s,
                                            const struct onednn_layout **ret, size_t *ret_bytes, struct err *err);
/* *ret is a copy of the layout that lives until d is closed. */
MUST_CHECK enum err_code onednn_layout_keep(struct onednn *d, const struct onednn_layout *l, struct onednn_layout **ret,
                                            struct err *err);
bool onednn_layout_equal(const struct onednn_layout *a, const struct onednn_layout *b);
/* Rearranges weights into `to_layout`, from another layout or, with from_layout NULL, from OIHW in f32. */
MUST_CHECK enum err_code onednn_reorder(struct onednn *d, const struct onednn_conv *s,
                                        const struct onednn_layout *from_layout, const void *from,
                                        const struct onednn_layout *to_layout, void *to, struct err *err);

/* `weights` have the layout that onednn_conv_layout returns for s. */
MUST_CHECK enum err_code onednn_conv(struct onednn *d, const struct onednn_conv *s, const void *x, const void *weights,
                                     const float *bias, void *y, struct err *err);

#endif
