#include "models/fill/fill_speed.h"

#include "models/fill/fill_model.h"
#include "models/flux/flux_flop.h"
#include "test/support/check.h"
#include "test/support/golden.h"

/* The plain backend with a clock of the test's: every part of a request takes `part_ms`. */
static double part_ms[8];
static int n_asked;

static enum err_code show_time(struct backend *be, int from, int to, double *ret_ms, struct err *err)
{
    (void)be, (void)from, (void)to, (void)err;
    *ret_ms = part_ms[n_asked++ / 5 % 8]; /* a request of one step asks five times */
    return ERR_OK;
}

struct scene {
    struct backend *be;
    struct backend_ops ops;
    struct fill_model *m;
};

static void open_scene(struct scene *s)
{
    const struct fill_options o = { .transformer = "flux1-fill-Q8_0.gguf",
                                    .max_width = 512,
                                    .max_height = 256,
                                    .max_steps = 4,
                                    .max_t5_len = 64 };
    struct err err = { 0 };

    CHECK_OK(backend_open(BACKEND_CPU, PRECISION_F32, &s->be, &err), err);
    s->ops = *s->be->ops;
    s->ops.elapsed = show_time;
    s->be->ops = &s->ops;
    CHECK_OK(fill_model_open(golden("small/models"), &o, s->be, &s->m, &err), err);
    n_asked = 0;
}

static void close_scene(struct scene *s)
{
    fill_model_close(s->m);
    backend_close(s->be);
}

static struct fill_speed measured(struct scene *s, double known_ms, double limit_s)
{
    struct fill_timed known = { 64, 64, 64, { .steps = known_ms, .n_steps = known_ms > 0 } };
    struct fill_speed ret = { 0 };
    struct err err = { 0 };

    n_asked = 0;
    CHECK_OK(fill_speed_measure(s->m, &known, limit_s, &ret, &err), err);
    return ret;
}

static void all_take(double ms)
{
    for (int i = 0; i < 8; i++)
        part_ms[i] = ms;
}

/* The figures of MODEL.md 9.2, which are the paper's sizes multiplied out. */
TEST(flux_flop__of_a_step_of_flux_1_fill)
{
    const struct flux_config c = { .in_channels = 384,
                                   .out_channels = 64,
                                   .hidden = 3072,
                                   .mlp = 12288,
                                   .context = 4096,
                                   .n_double = 19,
                                   .n_single = 38 };
    static const struct {
        double n_img, tflop;
    } cases[] = { { 4096, 74.4 }, { 3072, 55.3 }, { 1024, 21.5 } };

    for (int i = 0; i < 3; i++) {
        double got = 1e-12 * flux_step_flop(&c, 512, cases[i].n_img);

        if (!(got > cases[i].tflop - 0.05 && got < cases[i].tflop + 0.05))
            test_fail(__FILE__, __LINE__, "%g tokens: %g TFLOP, want %g", cases[i].n_img, got, cases[i].tflop);
    }
    CHECK(1e-12 * 57 * flux_block_attention_flop(&c, 4608) > 14.85 && 1e-12 * 57 * flux_block_attention_flop(&c, 4608) < 14.95);
}

TEST(fill_speed__scales_each_part_by_what_it_depends_on)
{
    struct scene s;
    struct fill_timed t = { 256, 256, 16, { .text = 1, .encode = 10, .prepare = 100, .decode = 1000 } };
    struct fill_speed got;

    open_scene(&s);
    t.took.n_steps = 2;
    t.took.steps = 20000;
    got = fill_speed_from(s.m, &t);
    CHECK(got.width == 512 && got.height == 256 && got.steps == 4);
    CHECK(got.step_seconds > 21.1 && got.step_seconds < 44.9); /* 576 tokens and not 272: between n and n^2 */
    CHECK(got.seconds > 4 * got.step_seconds + 2.123 && got.seconds < 4 * got.step_seconds + 2.125);
    close_scene(&s);
}

TEST(fill_speed__paints_a_larger_picture_only_where_the_small_one_leaves_a_doubt)
{
    struct scene s;
    struct fill_speed got;

    open_scene(&s);
    all_take(1000);
    got = measured(&s, 1e-3, 3600); /* a bound that is low enough */
    CHECK(n_asked == 0 && got.measured_width == 64 && got.seconds < 3600);
    got = measured(&s, 1e9, 3600); /* the bound says little, the picture says the truth */
    CHECK(n_asked == 5 && got.measured_width == 256 && got.measured_height == 256 && got.n_measured == 1);
    CHECK(got.seconds > 10 && got.seconds < 40); /* 1 s a step at half the size */
    got = measured(&s, 0, 3600); /* nothing is known */
    CHECK(n_asked == 5 && got.measured_width == 256);
    close_scene(&s);
}

TEST(fill_speed__a_busy_machine_is_measured_again_and_a_hopeless_one_is_not)
{
    struct scene s;
    struct fill_speed got;
    double quiet;

    open_scene(&s);
    all_take(1000);
    quiet = measured(&s, 0, 3600).seconds;
    part_ms[0] = part_ms[1] = 2500; /* a neighbour has the processor for the first two pictures */
    got = measured(&s, 0, 1.1 * quiet);
    CHECK(got.n_measured == 3 && got.seconds <= 1.01 * quiet);
    all_take(2500);
    got = measured(&s, 0, 1.1 * quiet);
    CHECK(got.n_measured == 3 && got.seconds > 2 * quiet);
    all_take(5000);
    got = measured(&s, 0, 1.1 * quiet);
    CHECK(got.n_measured == 1 && got.seconds > 4.5 * quiet);
    close_scene(&s);
}
