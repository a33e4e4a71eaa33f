/* The steps that bench_expanding measures: one must expand every matrix and the other none. */
#include "models/bench/bench.h"
#include "test/gpu/device.h"
#include "test/gpu/dry/fake_cuda.h"

enum {
    N_DOUBLE = 2,
    N_SINGLE = 2,
    OF_BLOCKS = 8 * N_DOUBLE + 2 * N_SINGLE,
    OF_ENDS = 2, /* img_in, the final layer */
    /* The matrices of the modulations, of three embedders with two each, and txt_in; and the first block once more: the
     * previous step expanded it ahead, but the ring released it, because preparing skipped it. */
    OF_PREPARING = 2 * N_DOUBLE + N_SINGLE + 1 + 6 + 1 + 8
};

static long expansions(int repeats)
{
    const struct flux_config config = one_head(N_DOUBLE, N_SINGLE);
    struct bench_options o = { .config = &config,
                               .quant = DT_Q8_0,
                               .weights = WEIGHTS_STREAM,
                               .width = 32,
                               .height = 32,
                               .n_txt = 3,
                               .product_side = 64,
                               .repeats = repeats,
                               .ahead = 1 };
    long before = fake_cuda_expansions();
    struct bench_step b = { 0 };
    struct err err = { 0 };

    (void)device();
    CHECK_OK(backend_open(BACKEND_CUDA, PRECISION_DEFAULT, &o.be, &err), err);
    CHECK_OK(bench_step(&o, &b, &err), err);
    backend_close(o.be);
    return fake_cuda_expansions() - before;
}

/* One more repeat runs everything once more: preparation, the step, its queueing, its kinds of operation; expansion
 * alone; and a step without expansion. */
TEST(dry_expanding__one_figure_expands_every_matrix_and_the_other_none)
{
    CHECK_INT(expansions(2) - expansions(1), OF_PREPARING + 3 * (OF_BLOCKS + OF_ENDS) + OF_BLOCKS);
}
