#include "kernels/tensor.h"

#include <assert.h>
#include <strings.h>

static const struct dtype_info infos[] = {
#define X(id, text, elems, bytes) [id] = { text, elems, bytes },
    DTYPE_MAP(X)
#undef X
};

const struct dtype_info *dtype_info(enum dtype t)
{
    assert((unsigned)t < DT_COUNT);
    return &infos[t];
}

bool dtype_from_name(const char *name, enum dtype *ret)
{
    for (int t = 0; t < DT_COUNT; t++)
        if (strcasecmp(name, infos[t].name) == 0) {
            *ret = (enum dtype)t;
            return true;
        }
    return false;
}

bool dtype_is_activation(enum dtype t)
{
    return t == DT_F32 || t == DT_BF16;
}

bool dtype_is_integer(enum dtype t)
{
    return t == DT_I32 || t == DT_I64 || t == DT_U8;
}

size_t dtype_row_bytes(enum dtype t, int64_t n)
{
    const struct dtype_info *info = dtype_info(t);
    size_t bytes;

    if (n <= 0 || n % info->block_elems ||
        __builtin_mul_overflow((size_t)(n / info->block_elems), (size_t)info->block_bytes, &bytes))
        return 0;
    return bytes;
}

struct tensor tensor_make(enum dtype t, int n_dims, const int64_t *dims, void *data)
{
    struct tensor r = { .dtype = t, .n_dims = n_dims, .data = data };

    assert(n_dims >= 1 && n_dims <= TENSOR_MAX_DIMS);
    for (int i = 0; i < n_dims; i++)
        r.dims[i] = dims[i];
    r.row_stride = dims[n_dims - 1];
    return r;
}

struct tensor tensor_1d(enum dtype t, int64_t n, void *data)
{
    return tensor_make(t, 1, (int64_t[]){ n }, data);
}

struct tensor tensor_2d(enum dtype t, int64_t rows, int64_t cols, void *data)
{
    return tensor_make(t, 2, (int64_t[]){ rows, cols }, data);
}

struct tensor tensor_3d(enum dtype t, int64_t d0, int64_t d1, int64_t d2, void *data)
{
    return tensor_make(t, 3, (int64_t[]){ d0, d1, d2 }, data);
}

int64_t tensor_cols(const struct tensor *t)
{
    return t->dims[t->n_dims - 1];
}

int64_t tensor_rows(const struct tensor *t)
{
    int64_t rows = 1;

    for (int i = 0; i < t->n_dims - 1; i++)
        rows *= t->dims[i];
    return rows;
}

int64_t tensor_count(const struct tensor *t)
{
    return tensor_rows(t) * tensor_cols(t);
}

bool tensor_is_dense(const struct tensor *t)
{
    return t->row_stride == tensor_cols(t);
}

bool tensor_same_shape(const struct tensor *a, const struct tensor *b)
{
    return tensor_rows(a) == tensor_rows(b) && tensor_cols(a) == tensor_cols(b);
}

/* Address of value (row, col); float types only, where a value has an address. */
static void *value_at(const struct tensor *t, int64_t row, int64_t col)
{
    const struct dtype_info *info = dtype_info(t->dtype);

    assert(info->block_elems == 1);
    return (char *)t->data + (row * t->row_stride + col) * info->block_bytes;
}

struct tensor tensor_row_view(const struct tensor *t, int64_t r0, int64_t n)
{
    struct tensor v;

    assert(r0 >= 0 && n >= 1 && n <= tensor_rows(t) - r0);
    v = tensor_2d(t->dtype, n, tensor_cols(t), value_at(t, r0, 0));
    v.row_stride = t->row_stride;
    return v;
}

struct tensor tensor_col_view(const struct tensor *t, int64_t c0, int64_t n)
{
    struct tensor v;

    assert(c0 >= 0 && n >= 1 && n <= tensor_cols(t) - c0);
    v = tensor_2d(t->dtype, tensor_rows(t), n, value_at(t, 0, c0));
    v.row_stride = t->row_stride;
    return v;
}

struct tensor tensor_as_2d(const struct tensor *t, int64_t rows, int64_t cols)
{
    assert(tensor_is_dense(t) && rows * cols == tensor_count(t));
    return tensor_2d(t->dtype, rows, cols, t->data);
}

struct weight weight_row_view(const struct weight *w, int64_t r0, int64_t n)
{
    struct weight v = *w;

    assert(r0 >= 0 && n >= 1 && n <= w->rows - r0);
    v.rows = n;
    v.row0 += r0;
    v.data = (const char *)w->data + (size_t)r0 * dtype_row_bytes(w->dtype, w->cols);
    return v;
}

struct bias bias_row_view(const struct bias *b, int64_t r0, int64_t n)
{
    struct bias v = { 0 };

    assert(r0 >= 0 && n >= 1 && n <= b->f32.dims[0] - r0);
    v.f32 = tensor_1d(DT_F32, n, (float *)b->f32.data + r0);
    if (b->bf16.data)
        v.bf16 = tensor_1d(DT_BF16, n, (uint16_t *)b->bf16.data + r0);
    return v;
}
