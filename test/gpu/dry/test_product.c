/*
 * Products that the stand-in for cuBLASLt refuses: the result must have the same bytes as without a refusal (the
 * stand-in sums in the same order), and the refusal must be counted and reported.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/product.h"
#include "models/bench/bench_rates.h"
#include "test/gpu/device.h"

struct shape {
    int64_t m, n, k;
    enum dtype d_type;
    bool transposed, add, in_place, bias, gelu;
};

static const struct shape shapes[] = {
    { 5, 7, 9, DT_F32, false, false, false, true, false }, { 130, 33, 16, DT_BF16, false, false, false, true, true },
    { 9, 64, 24, DT_BF16, true, true, true, true, false }, { 17, 20, 40, DT_F32, false, true, true, true, false },
    { 3, 12, 8, DT_BF16, false, true, false, true, true }, { 1100, 4096, 4, DT_BF16, false, true, true, true, false },
    { 6, 3, 8, DT_F32, false, true, false, false, true },
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0], GAP = 3 };

static int n_told;
static char told[ERR_MESSAGE_MAX];

static void note(const char *line)
{
    n_told++;
    (void)strcpy(told, line);
}

/* A backend of its own, so that other tests do not see its refusals, with a library that refuses `what`; NULL: nothing.
 */
static struct backend *open_refusing(const char *what)
{
    struct backend *be = NULL;
    struct err err = { 0 };

    (void)device();
    if (what)
        CHECK_INT(setenv("FAKE_CUBLASLT", what, 1), 0);
    CHECK_OK(backend_open(BACKEND_CUDA, PRECISION_DEFAULT, &be, &err), err);
    be->warn = note;
    n_told = 0;
    return be;
}

static void close_refusing(struct backend *be)
{
    CHECK_INT(unsetenv("FAKE_CUBLASLT"), 0);
    backend_close(be);
}

/* The stand-in's memory is the host's. Values are the same each time; the result has a gap between its rows. */
static struct cuda_product make(const struct shape *s, struct tensor *ret)
{
    int64_t b_rows = s->transposed ? s->k : s->n, b_cols = s->transposed ? s->n : s->k;
    struct tensor a, b, add, bias, f32;

    sample_seed(1);
    a = sample_2d(DT_BF16, s->m, s->k, GAP);
    b = sample_2d(DT_BF16, b_rows, b_cols, GAP);
    *ret = sample_2d(s->d_type, s->m, s->n, GAP);
    add = s->in_place ? *ret : sample_2d(s->d_type, s->m, s->n, GAP);
    f32 = sample_1d(s->n);
    bias = sample_2d(s->d_type, 1, s->n, 0);
    for (int64_t c = 0; c < s->n; c++)
        sample_put(&bias, 0, c, sample_at(&f32, 0, c));
    return (struct cuda_product){ .m = s->m,
                                  .n = s->n,
                                  .k = s->k,
                                  .a_stride = a.row_stride,
                                  .b_stride = b.row_stride,
                                  .d_stride = ret->row_stride,
                                  .a = a.data,
                                  .b = b.data,
                                  .add = s->add ? add.data : NULL,
                                  .bias = s->bias ? bias.data : NULL,
                                  .d = ret->data,
                                  .d_type = s->d_type,
                                  .b_transposed = s->transposed,
                                  .gelu_tanh = s->gelu };
}

static void run(struct backend *be, const struct cuda_product *p)
{
    struct err err = { 0 };

    CHECK_OK(cuda_product_run(cuda_of(be), p, &err), err);
}

/* `limit` 0: the same bytes as without refusals. */
static void refused_case(const char *what, double limit)
{
    for (int i = 0; i < N_SHAPES; i++) {
        struct tensor want, got;
        struct cuda_product sure = make(&shapes[i], &want), p = make(&shapes[i], &got);
        struct backend *be = open_refusing(NULL);

        run(be, &sure);
        CHECK_INT(be->refused.shapes, 0);
        CHECK_INT(be->refused.plain_runs, 0);
        backend_close(be);
        be = open_refusing(what);
        run(be, &p);
        if (limit == 0)
            device_check_same(what, &want, &got);
        else
            device_check(what, &got, &want, limit);
        CHECK((be->refused.plain_runs > 0) == !strcmp(what, "none"));
        CHECK_INT(n_told, be->refused.shapes);
        if (n_told)
            CHECK(strstr(told, "refuses a product: m ") && strstr(told, "an error"));
        close_refusing(be);
        CHECK(sample_done());
    }
}

TEST(dry_product__refused_epilogues_are_done_by_a_kernel_of_ours)
{
    refused_case("whole", 0);
    refused_case("state", 0);
    refused_case("late", 0);
}

TEST(dry_product__refused_sums_are_added_by_a_kernel_of_ours)
{
    refused_case("sum", 0);
}

/* Computed with sums in another order. */
TEST(dry_product__what_is_refused_in_every_form_is_done_by_plain_loops)
{
    refused_case("none", 1e-6);
}

TEST(dry_product__a_refused_shape_is_counted_and_reported_once)
{
    struct backend *be = open_refusing("whole");
    struct tensor y[2];
    struct cuda_product p = make(&shapes[1], &y[0]), other = make(&shapes[2], &y[1]);

    run(be, &p);
    run(be, &p);
    CHECK_INT(be->refused.shapes, 1);
    CHECK_INT(n_told, 1);
    be->warn = NULL;
    run(be, &other);
    CHECK_INT(be->refused.shapes, 2);
    CHECK_INT(n_told, 1);
    close_refusing(be);
    CHECK(sample_done());
}

/* An algorithm that was chosen for one bias must not be used for another bias with a smaller alignment. */
TEST(dry_product__an_algorithm_is_kept_for_biases_of_one_alignment)
{
    struct backend *be = open_refusing(NULL);
    struct shape s = { 4, 8, 16, DT_F32, false, false, false, true, false };
    _Alignas(256) float bias[64] = { 0 };
    struct tensor y;
    struct cuda_product p = make(&s, &y);

    p.bias = bias;
    run(be, &p);
    p.bias = bias + 4;
    run(be, &p);
    close_refusing(be);
    CHECK(sample_done());
}

/* A product that gets an algorithm but does not run must not keep other products from being measured. */
TEST(dry_product__rates_that_are_refused_when_they_run_are_missing)
{
    struct bench_options o = { .repeats = 1 };
    struct bench_rates b;
    struct err err = { 0 };

    (void)device();
    CHECK_OK(backend_open(BACKEND_CUDA, PRECISION_DEFAULT, &o.be, &err), err);
    CHECK(setenv("FAKE_CUBLASLT", "run", 1) == 0);
    CHECK_OK(bench_rates(&o, 64, &b, &err), err);
    CHECK(unsetenv("FAKE_CUBLASLT") == 0);
    CHECK(b.kinds[RATE_BF16].n_runs == 0 && strstr(b.missing[RATE_BF16], "bf16"));
    CHECK(b.kinds[RATE_INT8].n_runs == 0 && b.kinds[RATE_COPY].n_runs > 0);
    backend_close(o.be);
}
