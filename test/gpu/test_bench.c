/*
 * The benchmarks on a device, with a small transformer and a small picture: all printed figures must be measured. The
 * speed of the real model is measured by gpu-bench.
 */
#include <math.h>
#include <string.h>

#include "models/bench/bench.h"
#include "models/bench/bench_rates.h"
#include "models/bench/bench_sustain.h"
#include "test/gpu/device.h"

static struct backend *open_device(void)
{
    struct backend *be = NULL;
    struct err err = { 0 };

    CHECK_OK(backend_open(BACKEND_CUDA, PRECISION_DEFAULT, &be, &err), err);
    return be;
}

static void check_measured(const struct bench_figure *f, int least_runs)
{
    CHECK(f->n_runs >= least_runs);
    CHECK(f->least > 0 && f->least <= f->mean && f->mean <= f->most && bench_deviation(f) >= 0);
    CHECK(isfinite(f->most));
}

static struct bench_step step(enum weight_mode mode)
{
    const struct flux_config config = one_head(2, 2);
    struct backend *be = open_device();
    struct bench_options o = { .be = be,
                               .config = &config,
                               .quant = DT_Q8_0,
                               .weights = mode,
                               .width = 48,
                               .height = 32,
                               .n_txt = 5,
                               .product_side = 256,
                               .repeats = 2 };
    struct bench_step b = { 0 };
    struct err err = { 0 };

    CHECK_OK(bench_step(&o, &b, &err), err);
    backend_close(be);
    check_measured(&b.step, 2);
    check_measured(&b.product, 2);
    check_measured(&b.queueing, 2);
    check_measured(&b.prepare, 2);
    CHECK(b.step.by_mean && b.queueing.by_mean && bench_seconds(&b.step) == b.step.mean);
    for (int i = 0; i < BENCH_KINDS; i++)
        check_measured(&b.kinds[i], 2);
    return b;
}

TEST(gpu_bench__a_step_reports_how_much_of_the_expanding_is_not_hidden)
{
    struct bench_step b = step(WEIGHTS_STREAM);

    check_measured(&b.expanding, 2);
    check_measured(&b.without_expanding, 2);
    b = step(WEIGHTS_DEQUANT);
    CHECK(b.expanding.n_runs == 0 && b.without_expanding.n_runs == 0);
}

struct counted {
    struct backend *be;
    struct tensor x, y;
    int n;
};

static enum err_code run(void *ctx, struct err *err)
{
    struct counted *c = ctx;

    c->n++;
    return op_axpy(c->be, &c->x, 0.5f, &c->y, err);
}

TEST(gpu_bench__keeps_as_many_runs_as_were_asked_for_and_queues_some_more)
{
    struct tensor x = sample_2d(DT_F32, 64, 256, 0), y = sample_2d(DT_F32, 64, 256, 0);
    struct counted c = { .be = device(), .x = device_copy(&x), .y = device_copy(&y) };
    struct bench_options o = { .be = device(), .repeats = 7, .ahead = 3 };
    struct bench_figure f = { 0 };
    struct err err = { 0 };

    CHECK_OK(bench_sustain(&o, &f, run, &c, &err), err);
    check_measured(&f, 7);
    CHECK_INT(f.n_runs, 7);
    CHECK_INT(c.n, 7 + 3);
    CHECK(device_done());
}

TEST(gpu_bench__counts_nothing_before_the_warm_up_is_over)
{
    struct tensor x = sample_2d(DT_F32, 64, 256, 0), y = sample_2d(DT_F32, 64, 256, 0);
    struct counted c = { .be = device(), .x = device_copy(&x), .y = device_copy(&y) };
    struct bench_options o = { .be = device(), .repeats = 1, .warm_up_s = 0.2, .measure_s = 0.01 };
    struct bench_figure f = { 0 };
    struct err err = { 0 };

    CHECK_OK(bench_sustain(&o, &f, run, &c, &err), err);
    CHECK(f.n_runs >= 1 && c.n > f.n_runs + 4);
    CHECK(f.mean * f.n_runs >= o.measure_s);
    CHECK(device_done());
}

TEST(gpu_bench__measures_the_rate_of_every_kind_or_says_why_not)
{
    struct backend *be = open_device();
    struct bench_options o = { .be = be, .repeats = 2 };
    struct bench_rates b;
    struct err err = { 0 };

    CHECK_OK(bench_rates(&o, 64, &b, &err), err);
    backend_close(be);
    check_measured(&b.kinds[RATE_BF16], 2);
    check_measured(&b.kinds[RATE_INT8], 2);
    check_measured(&b.kinds[RATE_COPY], 2);
    for (int i = 0; i < RATE_KINDS; i++)
        CHECK((b.kinds[i].n_runs > 0) == (b.missing[i][0] == '\0'));
}

TEST(cuda_card__reports_its_name_and_readings)
{
    struct backend_card card, later;

    CHECK(backend_card(device(), &card));
    CHECK(card.name[0] && strstr(card.libraries, "cuBLASLt "));
    if (isnan(card.power_w))
        SKIP("there is no libnvidia-ml.so.1 beside the driver");
    CHECK(card.driver[0]);
    CHECK(card.power_w > 0 && card.power_w < 2000 && card.clock_mhz > 0 && card.clock_mhz < 10000);
    CHECK(backend_card(device(), &later));
    CHECK(isnan(card.energy_j) || later.energy_j >= card.energy_j);
}
