/*
 * tensor - a dtype, a shape and a pointer. The pointer is host memory for the CPU backends and device memory
 * for CUDA; only the backend that allocated it dereferences it. A tensor owns nothing.
 *
 * Row-major; dims[n_dims - 1] is contiguous. Matrices may be views: `row_stride` elements lie between the
 * starts of neighbouring rows (a row is one run of the last axis). Where row_stride == last dim, the tensor
 * is dense. Only 2-D tensors may have row_stride > last dim.
 */
#ifndef KERNELS_TENSOR_H
#define KERNELS_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum { TENSOR_MAX_DIMS = 4 };

/* Storage types. block_elems consecutive values of the last axis take block_bytes. */
#define DTYPE_MAP(X)                         \
    /*  dtype       name      elems bytes */ \
    X(DT_F32, "F32", 1, 4)                   \
    X(DT_F16, "F16", 1, 2)                   \
    X(DT_BF16, "BF16", 1, 2)                 \
    X(DT_F8_E4M3, "F8_E4M3", 1, 1)           \
    X(DT_F8_E5M2, "F8_E5M2", 1, 1)           \
    X(DT_I32, "I32", 1, 4)                   \
    X(DT_I64, "I64", 1, 8)                   \
    X(DT_U8, "U8", 1, 1)                     \
    X(DT_Q8_0, "Q8_0", 32, 34)               \
    X(DT_Q4_0, "Q4_0", 32, 18)               \
    X(DT_Q4_1, "Q4_1", 32, 20)               \
    X(DT_Q5_0, "Q5_0", 32, 22)               \
    X(DT_Q5_1, "Q5_1", 32, 24)               \
    X(DT_Q2_K, "Q2_K", 256, 84)              \
    X(DT_Q3_K, "Q3_K", 256, 110)             \
    X(DT_Q4_K, "Q4_K", 256, 144)             \
    X(DT_Q5_K, "Q5_K", 256, 176)             \
    X(DT_Q6_K, "Q6_K", 256, 210)             \
    X(DT_IQ4_NL, "IQ4_NL", 32, 18)           \
    X(DT_IQ4_XS, "IQ4_XS", 256, 136)

enum dtype {
#define X(id, name, elems, bytes) id,
    DTYPE_MAP(X)
#undef X
        DT_COUNT
};

struct dtype_info {
    const char *name;
    int block_elems, block_bytes;
};

const struct dtype_info *dtype_info(enum dtype t);
/* The type of this name, in letters of either case; false when there is none. */
bool dtype_from_name(const char *name, enum dtype *ret);
bool dtype_is_activation(enum dtype t); /* F32 or BF16: what operations compute with */
bool dtype_is_integer(enum dtype t);    /* I32, I64 or U8: ids and flags, which are never weights */
/* Bytes of a row of n values; 0 when n is not a positive multiple of the block, or the size overflows. */
size_t dtype_row_bytes(enum dtype t, int64_t n);

struct tensor {
    enum dtype dtype;
    int n_dims;
    int64_t dims[TENSOR_MAX_DIMS];
    int64_t row_stride; /* elements */
    void *data;
};

struct tensor tensor_make(enum dtype t, int n_dims, const int64_t *dims, void *data);
struct tensor tensor_1d(enum dtype t, int64_t n, void *data);
struct tensor tensor_2d(enum dtype t, int64_t rows, int64_t cols, void *data);
struct tensor tensor_3d(enum dtype t, int64_t d0, int64_t d1, int64_t d2, void *data);

int64_t tensor_cols(const struct tensor *t);  /* last dim */
int64_t tensor_rows(const struct tensor *t);  /* product of the others, 1 for a vector */
int64_t tensor_count(const struct tensor *t); /* number of values */
bool tensor_is_dense(const struct tensor *t);
bool tensor_same_shape(const struct tensor *a, const struct tensor *b); /* rows and cols agree */

/* Views of a matrix (float types only): rows [r0, r0+n) or columns [c0, c0+n). Out of range asserts. */
struct tensor tensor_row_view(const struct tensor *t, int64_t r0, int64_t n);
struct tensor tensor_col_view(const struct tensor *t, int64_t c0, int64_t n);
/* A dense tensor seen as [rows, cols]; rows * cols must equal its count. */
struct tensor tensor_as_2d(const struct tensor *t, int64_t rows, int64_t cols);

/*
 * weight - a matrix [rows, cols] as stored in the file, ready for one backend.
 * On the CPU `data` points into the read-only mapping and blocks are expanded as they are used; on CUDA it is
 * device memory. `handle` is the backend's own record, shared by all views of one uploaded weight.
 * A file with values of 8 bits may keep one `scale` for a whole matrix beside them. Expanding a value multiplies it in
 * f32 and then rounds it once where bf16 is wanted; a backend that expands while it uploads returns a weight with
 * scale 0.
 */
struct weight {
    enum dtype dtype;
    int64_t rows, cols;
    const void *data; /* first row of this view */
    float scale;      /* values are multiplied with it in f32 as they are expanded; 0: they are not */
    void *handle;
    int64_t row0; /* first row of this view inside the uploaded weight */
};

struct weight weight_row_view(const struct weight *w, int64_t r0, int64_t n);

/*
 * bias - the vector [n] that a matrix product adds, for one backend. `bf16` holds the same values rounded to nearest
 * even, or its data is NULL. A backend whose products add a bias in the type of their result takes the one of the two
 * that has this type.
 */
struct bias {
    struct tensor f32, bf16;
};

struct bias bias_row_view(const struct bias *b, int64_t r0, int64_t n);

#endif
