/*
 * onednn - matrix products and convolutions by oneDNN, behind plain structs.
 *
 * A struct onednn is for one caller at a time. Primitives are made on first use for the number of threads that OpenMP
 * has there and then, so one used by a single thread of a team must be used so always (onednn_alone). Each keeps its
 * last ONEDNN_CACHE_MAX primitives by shape: a job of one size takes some sixty, and each holds up to 0.7 MB of code.
 * oneDNN's own cache, through which threads share them, is held to the same number. Source: oneDNN C API (libdnnl),
 * versions 2 and 3.
 */
#ifndef KERNELS_CPU_ONEDNN_H
#define KERNELS_CPU_ONEDNN_H

#include "kernels/backend.h"

enum { ONEDNN_CACHE_MAX = 96 };

struct onednn;

MUST_CHECK enum err_code onednn_open(struct onednn **ret, struct err *err);
void onednn_close(struct onednn *d); /* takes NULL */

/* Says that this thread of a parallel region works by itself: oneDNN then starts no team of its own. */
void onednn_alone(void);

/* What oneDNN has for products of bf16 on this processor. Without AVX-512 BF16 it fails or imitates them, many times
 * slower than f32; with that alone it was measured at 0.5 to 0.8 of the speed of f32, with AMX at 3 to 6 times. */
enum onednn_bf16 { ONEDNN_BF16_NONE, ONEDNN_BF16_AVX512, ONEDNN_BF16_AMX };
enum onednn_bf16 onednn_bf16(void);

/* c[m,n] = act(a[m,k] b + bias) or c += a b. All members of 64 bits, so that no padding disturbs comparing. */
struct onednn_matmul {
    int64_t m, n, k;
    int64_t lda, ldb, ldc;     /* elements between rows */
    int64_t in_type, out_type; /* F32 -> F32, or BF16 -> F32 or BF16 */
    int64_t b_transposed;      /* b lies as [n,k] instead of [k,n] */
    int64_t bias;              /* F32 [n] is given */
    int64_t act;               /* enum activation */
    int64_t accumulate;        /* add to what is in c; neither bias nor act then */
};

MUST_CHECK enum err_code onednn_matmul(struct onednn *d, const struct onednn_matmul *s, const void *a, const void *b,
                                       const void *bias, void *c, struct err *err);

/* Pictures [h,w,c], dense; weights in a layout of oneDNN's choice. Types as above. */
struct onednn_conv {
    int64_t h, w, c_in, h_out, w_out, c_out, kh, kw, stride;
    int64_t pad_top, pad_left, pad_bottom, pad_right;
    int64_t in_type, out_type;
    int64_t accumulate; /* add to what is in y */
};

/* What a layout of weights is, for who keeps them. */
struct onednn_layout;

/* The layout that s wants, borrowed from the cache until the next call on d, and its size. */
MUST_CHECK enum err_code onednn_conv_layout(struct onednn *d, const struct onednn_conv *s,
                                            const struct onednn_layout **ret, size_t *ret_bytes, struct err *err);
/* *ret: a copy that lives until d is closed. */
MUST_CHECK enum err_code onednn_layout_keep(struct onednn *d, const struct onednn_layout *l, struct onednn_layout **ret,
                                            struct err *err);
bool onednn_layout_equal(const struct onednn_layout *a, const struct onednn_layout *b);
/* Into `to_layout` from another layout, or from OIHW in f32 (NULL). */
MUST_CHECK enum err_code onednn_reorder(struct onednn *d, const struct onednn_conv *s,
                                        const struct onednn_layout *from_layout, const void *from,
                                        const struct onednn_layout *to_layout, void *to, struct err *err);

/* Weights in the layout that onednn_conv_layout gives for s. */
MUST_CHECK enum err_code onednn_conv(struct onednn *d, const struct onednn_conv *s, const void *x, const void *weights,
                                     const float *bias, void *y, struct err *err);

#endif
