/*
 * The choice of the type that matrix products take on this processor.
 *
 * The speed of oneDNN's bf16 differs by an order of magnitude between processors: a Xeon with AMX reaches 3 to 6 times
 * the speed of f32, without AMX 0.5 to 0.8 of it. So where there is AMX, PRECISION_AUTO measures one product on every
 * thread, of the shape that linear uses, and takes the best time of each type, because other work on the machine can
 * only add to a time.
 */
#include <math.h>
#include <stdio.h>

#include "kernels/cpu/fast.h"

/* One trial is 0.2 GFLOP, about a millisecond of a core in f32. */
enum { TRIAL_ROWS = 512, TRIAL_TILE = 64, TRIAL_WIDTH = 3072, TRIALS = 6 };

struct trial {
    struct onednn_matmul shape;
    struct cpu_buffer a, b;
    double *seconds; /* the best time of each task */
};

enum err_code fast_sample(struct cpu_buffer *b, enum dtype t, int64_t n, struct err *err)
{
    TRY(cpu_buffer_fit(b, (size_t)n, dtype_row_bytes(t, 1), err));
    for (int64_t i = 0; i < n; i++) {
        float value = 1.0f + (float)(i % 251) / 251.0f;

        if (t == DT_F32)
            ((float *)b->p)[i] = value;
        else
            ((uint16_t *)b->p)[i] = f32_to_bf16(value);
    }
    return ERR_OK;
}

static enum err_code trial_make(struct trial *t, enum dtype type, struct err *err)
{
    t->shape = (struct onednn_matmul){
        .m = TRIAL_ROWS,
        .n = TRIAL_TILE,
        .k = TRIAL_WIDTH,
        .lda = TRIAL_WIDTH,
        .ldb = TRIAL_WIDTH,
        .ldc = TRIAL_TILE,
        .in_type = type,
        .out_type = type,
        .b_transposed = true,
    };
    TRY(fast_sample(&t->a, type, (int64_t)TRIAL_ROWS * TRIAL_WIDTH, err));
    return fast_sample(&t->b, type, (int64_t)TRIAL_TILE * TRIAL_WIDTH, err);
}

static enum err_code trial_task(const void *ctx, struct onednn *d, char *scratch, int64_t i, struct err *err)
{
    const struct trial *t = ctx;
    double begin = cpu_clock(), seconds;

    TRY(onednn_matmul(d, &t->shape, t->a.p, t->b.p, NULL, scratch, err));
    seconds = cpu_clock() - begin;
    if (seconds < t->seconds[i])
        t->seconds[i] = seconds;
    return ERR_OK;
}

/* The types alternate, so that both meet the machine in the same state. The first trial of each makes the primitive. */
static enum err_code run_trials(struct fast *f, struct trial t[2], struct err *err)
{
    TRY(trial_make(&t[0], DT_F32, err));
    TRY(trial_make(&t[1], DT_BF16, err));
    for (int i = 0; i < 2 * TRIALS; i++)
        TRY(fast_run(f, trial_task, &t[i % 2], f->n_threads, (size_t)TRIAL_ROWS * TRIAL_TILE * sizeof(float), err));
    return ERR_OK;
}

static double least(const double *seconds, int n)
{
    double best = INFINITY;

    for (int i = 0; i < n; i++)
        best = fmin(best, seconds[i]);
    return best;
}

enum err_code fast_bf16_gain(struct fast *f, double *ret, struct err *err)
{
    double seconds[2][FAST_MAX_THREADS];
    struct trial t[2] = { { .seconds = seconds[0] }, { .seconds = seconds[1] } };
    enum err_code rc;

    for (int i = 0; i < FAST_MAX_THREADS; i++)
        seconds[0][i] = seconds[1][i] = INFINITY;
    rc = run_trials(f, t, err);
    for (int i = 0; i < 2; i++) {
        cpu_buffer_done(&t[i].a);
        cpu_buffer_done(&t[i].b);
    }
    if (!rc)
        *ret = least(seconds[0], f->n_threads) / least(seconds[1], f->n_threads);
    return rc;
}

static struct fast_choice choose_measured(double gain)
{
    struct fast_choice c = { .act = DT_F32, .products = DT_F32 };

    if (gain >= FAST_BF16_PAYS) {
        c.act = c.products = DT_BF16;
        (void)snprintf(c.why, sizeof c.why, "products in bf16, measured at %.1f times the speed of f32", gain);
    } else if (gain > 0) {
        (void)snprintf(c.why, sizeof c.why, "products in f32, bf16 measured at %.1f times their speed", gain);
    } else {
        (void)snprintf(c.why, sizeof c.why, "products in f32, since bf16 could not be measured");
    }
    return c;
}

struct fast_choice fast_choose(enum precision precision, enum onednn_bf16 has, double gain)
{
    static const char *const words[] = {
        [ONEDNN_BF16_NONE] = "products in f32, since this processor has no bf16 products",
        [ONEDNN_BF16_AVX512] = "products in f32, since this processor has no AMX",
        [ONEDNN_BF16_AMX] = "products in bf16",
    };
    struct fast_choice c = { .act = DT_F32, .products = DT_F32, .why = "products in f32" };

    if (precision == PRECISION_AUTO && has == ONEDNN_BF16_AMX)
        return choose_measured(gain);
    if (precision == PRECISION_DEFAULT || precision == PRECISION_F32)
        return c;
    if (precision == PRECISION_BF16)
        c.act = DT_BF16;
    if (has == ONEDNN_BF16_AMX)
        c.products = DT_BF16;
    (void)snprintf(c.why, sizeof c.why, "%s", words[has]);
    return c;
}
