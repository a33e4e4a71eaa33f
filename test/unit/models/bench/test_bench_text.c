#include "models/bench/bench_text.h"

#include <math.h>

#include "test/support/check.h"

static struct bench_text on_plan(int max_layers)
{
    struct bench_options o = { .quant = DT_Q8_0, .n_txt = 512, .max_layers = max_layers, .repeats = 1 };
    struct bench_text b = { 0 };
    struct err err = { 0 };

    CHECK_OK(backend_measure_open(DT_BF16, &o.be, &err), err);
    CHECK_OK(bench_text(&o, &b, &err), err);
    backend_close(o.be);
    return b;
}

/* T5-XXL's encoder has 4.76e9 parameters, CLIP-L's text half 123e6: MODEL.md 5.1, 7.1. */
TEST(bench_text__runs_encoders_of_the_real_size_on_the_measuring_backend)
{
    struct bench_text b = on_plan(0), part = on_plan(3);

    CHECK_INT(b.t5_layers, 24);
    CHECK_INT(b.clip_layers, 12);
    CHECK(fabs((double)b.weight_bytes - (4.76e9 * 34 / 32 + 123e6 * 2)) < 0.02e9);
    CHECK(fabs(b.t5.flop - 4.84e12) < 0.05e12); /* 2 * 512 * (4.76e9 - embeddings), and attention */
    CHECK(b.t5.n_runs > 0 && b.clip.n_runs > 0 && b.product.n_runs > 0 && b.step_bytes > 0);
    CHECK_INT(part.t5_layers, 3);
    CHECK_INT(part.clip_layers, 3);
    CHECK(fabs(part.t5.flop * 8 - b.t5.flop) < 1e6 && fabs(part.clip.flop * 4 - b.clip.flop) < 1e6);
}
