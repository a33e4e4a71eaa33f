#include "models/bench/bench_expanding.h"

#include "models/bench/random_model.h"

enum { SHAPES_MAX = 16, STAND_IN_ROWS = 1 << 14, STAND_IN_COLS = 1 << 12 }; /* 64 Mi values: more than linear1 has */

bool bench_expands(const struct flux *f)
{
    const struct weight *list[FLUX_BLOCK_MAX_WEIGHTS];

    return f->be->runs_behind && flux_block_weights(f, 0, list) > 0 && list[0]->dtype != DT_BF16;
}

/* --- expanding alone --- */

/* A product with no rows of x: the backend expands the matrix and computes nothing. */
static enum err_code make_ready(const struct flux *f, const struct weight *w, struct err *err)
{
    struct tensor x = tensor_2d(f->be->act, 0, w->cols, NULL), y = tensor_2d(f->be->act, 0, w->rows, NULL);

    return f->be->ops->linear(f->be, &y, &x, w, NULL, ACT_NONE, err);
}

/* In the order of a step, and announced as in a step. */
static enum err_code expand_all(void *ctx, struct err *err)
{
    const struct flux *f = ctx;
    int n_blocks = f->config.n_double + f->config.n_single;

    flux_prefetch_block(f, 0);
    for (int i = 0; i < n_blocks; i++) {
        const struct weight *list[FLUX_BLOCK_MAX_WEIGHTS];
        int n = flux_block_weights(f, i, list);

        flux_prefetch_block(f, i + 1);
        for (int k = 0; k < n; k++)
            TRY(make_ready(f, list[k], err));
    }
    return ERR_OK;
}

enum err_code bench_expanding_alone(const struct bench_options *o, const struct flux *f, struct bench_figure *ret,
                                    struct err *err)
{
    return bench_sustain(o, ret, expand_all, (void *)(uintptr_t)f, err);
}

/* --- a step without expanding --- */

/* Takes the place of the backend's table of operations. Products get one matrix for each shape, which is loaded when
 * the shape first occurs. */
struct stand_in {
    struct backend_ops ops; /* first, so that be->ops also points to this struct */
    const struct backend_ops *own;
    const void *values; /* BF16, as many as any matrix has */
    int n;
    struct weight weights[SHAPES_MAX];
};

static enum err_code find(struct backend *be, struct stand_in *s, const struct weight *w, const struct weight **ret,
                          struct err *err)
{
    struct weight host = { .dtype = DT_BF16, .rows = w->rows, .cols = w->cols, .data = (void *)(uintptr_t)s->values };

    for (int i = 0; i < s->n; i++)
        if (s->weights[i].rows == w->rows && s->weights[i].cols == w->cols) {
            *ret = &s->weights[i];
            return ERR_OK;
        }
    if (s->n == SHAPES_MAX || w->rows * w->cols > (int64_t)STAND_IN_ROWS * STAND_IN_COLS)
        return err_set(err, ERR_TOO_LARGE, "bench: no matrix can take the place of one of %lld x %lld",
                       (long long)w->rows, (long long)w->cols);
    TRY(s->own->weight_load(be, &host, &s->weights[s->n], err));
    *ret = &s->weights[s->n++];
    return ERR_OK;
}

static enum err_code linear(struct backend *be, struct tensor *y, const struct tensor *x, const struct weight *w,
                            const struct bias *bias, enum activation act, struct err *err)
{
    struct stand_in *s = (struct stand_in *)(uintptr_t)be->ops;
    const struct weight *other = NULL;

    TRY(find(be, s, w, &other, err));
    return s->own->linear(be, y, x, other, bias, act, err);
}

static void announce_nothing(struct backend *be, const struct weight *const *w, int n)
{
    (void)be, (void)w, (void)n;
}

static enum err_code make_values(struct arena *host, const void **ret, struct err *err)
{
    struct random_model made_up;

    TRY(random_model_init(&made_up, host, DT_BF16, RANDOM_WEIGHTS_OWN, err));
    TRY(random_model_add(&made_up, "any", 2, (int64_t[]){ STAND_IN_ROWS, STAND_IN_COLS }, err));
    *ret = made_up.entries[0].data;
    return ERR_OK;
}

enum err_code bench_without_expanding(const struct bench_options *o, bench_run_fn *step, void *step_ctx,
                                      struct arena *host, struct bench_figure *ret, struct err *err)
{
    ARENA_SCRATCH(host);
    struct stand_in s = { .ops = *o->be->ops, .own = o->be->ops };
    enum err_code rc;

    TRY(make_values(host, &s.values, err));
    s.ops.linear = linear;
    s.ops.weight_prefetch = announce_nothing;
    o->be->ops = &s.ops;
    rc = step(step_ctx, err); /* loads the matrices */
    if (rc == ERR_OK)
        rc = bench_sustain(o, ret, step, step_ctx, err);
    o->be->ops = s.own;
    return rc;
}
