#include "test/support/shim/shim_case.h"

#include <math.h>
#include <string.h>

const struct shim_form shim_forms[N_SHIM_FORMS] = {
    { DT_F32, DT_F32, 0, 0, 0 },   { DT_F32, DT_BF16, 8, 4, 0 },  { DT_BF16, DT_F32, 4, 8, 0 },
    { DT_BF16, DT_BF16, 8, 8, 8 }, { DT_BF16, DT_BF16, 3, 5, 0 }, { DT_F32, DT_BF16, 1, 8, 4 },
    { DT_F32, DT_F32, 3, 0, 1 },   { DT_BF16, DT_F32, 8, 8, 2 },
};

static struct tensor make(enum dtype t, int64_t gap, int64_t lead, int64_t rows, int64_t cols)
{
    struct tensor all = sample_2d(t, rows, cols + lead, gap);

    return lead ? tensor_col_view(&all, lead, cols) : all;
}

struct tensor shim_x(const struct shim_form *f, int64_t rows, int64_t cols)
{
    return make(f->x, f->gap_x, f->lead, rows, cols);
}

struct tensor shim_y(const struct shim_form *f, int64_t rows, int64_t cols)
{
    return make(f->y, f->gap_y, f->lead, rows, cols);
}

struct tensor shim_twin(const struct tensor *t)
{
    struct tensor twin;

    if (t->n_dims == 2) {
        /* Data after the guard are aligned to 16 bytes; the remainder is the offset of the first column. */
        int64_t bytes = dtype_info(t->dtype)->block_bytes, lead = (int64_t)((uintptr_t)t->data % 16) / bytes;

        twin = make(t->dtype, t->row_stride - tensor_cols(t) - lead < 0 ? 0 : t->row_stride - tensor_cols(t) - lead,
                    lead, tensor_rows(t), tensor_cols(t));
    } else {
        twin = t->n_dims == 3 ? sample_3d(t->dtype, t->dims[0], t->dims[1], t->dims[2]) : sample_1d(t->dims[0]);
    }
    for (int64_t r = 0; r < tensor_rows(t); r++)
        for (int64_t c = 0; c < tensor_cols(t); c++)
            sample_put(&twin, r, c, sample_at(t, r, c));
    return twin;
}

struct backend *shim_plain(void)
{
    static struct backend *be;
    struct err err = { 0 };

    if (!be)
        CHECK_OK(backend_open(BACKEND_PLAIN, PRECISION_F32, &be, &err), err);
    return be;
}

void shim_check_same(const struct tensor *a, const struct tensor *b)
{
    for (int64_t r = 0; r < tensor_rows(a); r++)
        for (int64_t c = 0; c < tensor_cols(a); c++) {
            float va = sample_at(a, r, c), vb = sample_at(b, r, c);

            if (memcmp(&va, &vb, sizeof va) != 0)
                test_fail(__FILE__, __LINE__, "[%lld, %lld] is %.9g or %.9g", (long long)r, (long long)c, (double)va,
                          (double)vb);
        }
}

void shim_check_close(const char *what, const struct tensor *got, const struct tensor *want, double limit)
{
    double rel = sample_rel(got, want);

    if (got->dtype == DT_BF16)
        limit += 0x1p-11;
    if (!(rel <= limit))
        test_fail(__FILE__, __LINE__, "%s, %s [%lld, %lld]: relative error %.3g, limit %.3g", what,
                  dtype_info(got->dtype)->name, (long long)tensor_rows(got), (long long)tensor_cols(got), rel, limit);
}
