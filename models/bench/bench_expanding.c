#include "models/bench/bench_expanding.h"

#include "models/bench/random_model.h"

enum { SHAPES_MAX = 16, STAND_IN_ROWS = 1 << 14, STAND_IN_COLS = 1 << 12 /* 64 Mi values: more than linear1 has */ };

bool bench_expands(const struct flux *f)
{
    const struct weight *list[FLUX_BLOCK_MAX_WEIGHTS];

    return f->be->runs_behind && flux_block_weights(f, 0, list) > 0 && list[0]->dtype != DT_BF16;
}

/* --- expanding alone --- */

/* A product of no rows makes its matrix ready and computes nothing. */
static enum err_code make_ready(const struct flux *f, const struct weight *w, struct err *err)
{
    struct tensor x = tensor_2d(f->be->act, 0, w->cols, NULL), y = tensor_2d(f->be->act, 0, w->rows, NULL);

    return f->be->ops->linear(f->be, &y, &x, w, NULL, ACT_NONE, err);
}

/* In the order of a step, announced as there. */
static enum err_code expand_all(void *ctx, struct err *err)
{
    const struct flux *f = ctx;
    int n_blocks = f->config.n_double + f->config.n_single;
    enum err_code rc = ERR_OK;

    flux_prefetch_block(f, 0);
    for (int i = 0; i < n_blocks && !rc; i++) {
        const struct weight *list[FLUX_BLOCK_MAX_WEIGHTS];
        int n = flux_block_weights(f, i, list);

        flux_prefetch_block(f, i + 1);
        for (int k = 0; k < n && !rc; k++)
            rc = make_ready(f, list[k], err);
    }
    return rc;
}

/* --- a step without --- */

/* Stands in front of the backend's operations; one matrix a shape, loaded when the shape is first met. */
struct stand_in {
    struct backend_ops ops; /* first: the backend's table leads here */
    const struct backend_ops *own;
    const void *values; /* BF16, as many as any matrix has */
    int n;
    struct weight weights[SHAPES_MAX];
};

static enum err_code find(struct backend *be, struct stand_in *s, const struct weight *w, const struct weight **ret,
                          struct err *err)
{
    struct weight host = { .dtype = DT_BF16, .rows = w->rows, .cols = w->cols, .data = (void *)(uintptr_t)s->values };
    enum err_code rc;

    for (int i = 0; i < s->n; i++)
        if (s->weights[i].rows == w->rows && s->weights[i].cols == w->cols) {
            *ret = &s->weights[i];
            return ERR_OK;
        }
    if (s->n == SHAPES_MAX || w->rows * w->cols > (int64_t)STAND_IN_ROWS * STAND_IN_COLS)
        return err_set(err, ERR_TOO_LARGE, "bench: nothing stands in for a matrix of %lld by %lld", (long long)w->rows,
                       (long long)w->cols);
    rc = s->own->weight_load(be, &host, &s->weights[s->n], err);
    if (!rc)
        *ret = &s->weights[s->n++];
    return rc;
}

static enum err_code linear(struct backend *be, struct tensor *y, const struct tensor *x, const struct weight *w,
                            const struct bias *bias, enum activation act, struct err *err)
{
    struct stand_in *s = (struct stand_in *)(uintptr_t)be->ops;
    const struct weight *other = NULL;
    enum err_code rc = find(be, s, w, &other, err);

    return rc ? rc : s->own->linear(be, y, x, other, bias, act, err);
}

static void announce_nothing(struct backend *be, const struct weight *const *w, int n)
{
    (void)be, (void)w, (void)n;
}

static enum err_code make_values(struct arena *host, struct random_model *made_up, const void **ret, struct err *err)
{
    enum err_code rc = random_model_init(made_up, host, DT_BF16, false, err);

    if (!rc)
        rc = random_model_add(made_up, "any", 2, (int64_t[]){ STAND_IN_ROWS, STAND_IN_COLS }, err);
    if (!rc)
        *ret = made_up->entries[0].data;
    return rc;
}

static enum err_code run_without(const struct bench_options *o, struct backend *be, bench_run_fn *step, void *step_ctx,
                                 struct arena *host, struct bench_figure *f, struct err *err)
{
    struct stand_in s = { .ops = *be->ops, .own = be->ops };
    struct random_model made_up;
    enum err_code rc = make_values(host, &made_up, &s.values, err);

    if (rc)
        return rc;
    s.ops.linear = linear;
    s.ops.weight_prefetch = announce_nothing;
    be->ops = &s.ops;
    rc = step(step_ctx, err); /* loads them */
    if (!rc)
        rc = bench_sustain(o, f, step, step_ctx, err);
    be->ops = s.own;
    return rc;
}

enum err_code bench_expanding(const struct bench_options *o, const struct flux *f, bench_run_fn *step, void *step_ctx,
                              struct arena *host, struct bench_step *ret, struct err *err)
{
    struct arena_mark mark = arena_mark(host);
    enum err_code rc = bench_sustain(o, &ret->expanding, expand_all, (void *)(uintptr_t)f, err);

    if (!rc)
        rc = run_without(o, f->be, step, step_ctx, host, &ret->without_expanding, err);
    arena_rewind(host, mark);
    return rc;
}
