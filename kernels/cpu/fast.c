#include "kernels/cpu/fast.h"

enum err_code fast_run(struct fast *f, fast_task *task, const void *ctx, int64_t n, size_t scratch_bytes,
                       struct err *err)
{
    int n_threads = n < f->n_threads ? (int)n : f->n_threads;
    enum err_code rc;
    char *scratch;
    size_t stride;

    rc = cpu_scratch(&f->cpu.base, n_threads, scratch_bytes, &scratch, &stride, err);
    if (rc)
        return rc;
#pragma omp parallel num_threads(n_threads)
    {
        int me = cpu_thread();
        struct err mine = { 0 };

        onednn_alone();
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < n; i++)
            if (!mine.code)
                (void)task(ctx, f->solo[me], scratch + (size_t)me * stride, i, &mine);
#pragma omp critical
        if (mine.code && !rc)
            rc = err_set(err, mine.code, "%s", mine.msg);
    }
    return rc;
}

struct copy {
    struct tensor *y;
    const struct tensor *x;
};

static enum err_code copy_task(const void *ctx, struct onednn *d, char *scratch, int64_t i, struct err *err)
{
    const struct copy *c = ctx;
    int64_t n_task = fast_rows_a_task(tensor_cols(c->y)), end = (i + 1) * n_task, n_rows = tensor_rows(c->y);

    (void)d, (void)scratch, (void)err;
    for (int64_t r = i * n_task; r < end && r < n_rows; r++)
        fast_row_copy(c->y, c->x, r);
    return ERR_OK;
}

enum err_code fast_copy(struct backend *be, struct tensor *y, const struct tensor *x, struct err *err)
{
    struct copy copy = { y, x };

    return fast_run((struct fast *)be, copy_task, &copy, fast_n_tasks(y), 0, err);
}

enum err_code fast_operands(struct fast *f, int n, const struct tensor *const *x, struct tensor *ret, struct err *err)
{
    size_t value = dtype_row_bytes(f->products, 1), total = 0;
    char *to;

    for (int i = 0; i < n; i++)
        if (x[i]->dtype != f->products)
            total += (size_t)tensor_count(x[i]) * value;
    TRY(cpu_buffer_fit(&f->operands, 1, total, err));
    to = f->operands.p;
    for (int i = 0; i < n; i++) {
        if (x[i]->dtype == f->products) {
            ret[i] = *x[i];
            continue;
        }
        ret[i] = tensor_make(f->products, x[i]->n_dims, x[i]->dims, to);
        to += (size_t)tensor_count(x[i]) * value;
        TRY(fast_copy(&f->cpu.base, &ret[i], x[i], err));
    }
    return ERR_OK;
}

bool fast_writes(const struct fast *f, enum dtype t)
{
    return t == DT_F32 || f->products == DT_BF16;
}
