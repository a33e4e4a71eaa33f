/*
 * The type that matrix products take on a processor, and that benchmarks take the same. oneDNN reads once in a process
 * which instructions it may use, so other processors are imitated by running this program again with fewer of them.
 */
#ifdef HAVE_ONEDNN

#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "kernels/bench_product.h"
#include "kernels/cpu/fast.h"
#include "test/support/check.h"

extern char **environ;

TEST(fast_choose__takes_bf16_where_it_pays_and_says_why)
{
    static const struct {
        enum precision precision;
        enum onednn_bf16 has;
        double gain;
        enum dtype act, products;
        const char *why;
    } cases[] = {
        { PRECISION_DEFAULT, ONEDNN_BF16_AMX, 0, DT_F32, DT_F32, "" },
        { PRECISION_F32, ONEDNN_BF16_AMX, 0, DT_F32, DT_F32, "" },
        { PRECISION_BF16, ONEDNN_BF16_AMX, 0, DT_BF16, DT_BF16, "" },
        { PRECISION_BF16, ONEDNN_BF16_AVX512, 0, DT_BF16, DT_F32, ", since this processor has no AMX" },
        { PRECISION_BF16, ONEDNN_BF16_NONE, 0, DT_BF16, DT_F32, ", since this processor has no bf16 products" },
        { PRECISION_AUTO, ONEDNN_BF16_NONE, 0, DT_F32, DT_F32, ", since this processor has no bf16 products" },
        { PRECISION_AUTO, ONEDNN_BF16_AMX, 4.23, DT_BF16, DT_BF16, ", measured at 4.2 times the speed of f32" },
        { PRECISION_AUTO, ONEDNN_BF16_AMX, 1.5, DT_BF16, DT_BF16, ", measured at 1.5 times the speed of f32" },
        { PRECISION_AUTO, ONEDNN_BF16_AMX, 1.4, DT_F32, DT_F32, ", bf16 measured at 1.4 times their speed" },
        { PRECISION_AUTO, ONEDNN_BF16_AVX512, 4, DT_F32, DT_F32, ", since this processor has no AMX" },
        { PRECISION_AUTO, ONEDNN_BF16_AMX, 0, DT_F32, DT_F32, ", since bf16 could not be measured" },
        { PRECISION_AUTO, ONEDNN_BF16_AMX, NAN, DT_F32, DT_F32, ", since bf16 could not be measured" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fast_choice c = fast_choose(cases[i].precision, cases[i].has, cases[i].gain);
        char why[200];

        (void)snprintf(why, sizeof why, "products in %s%s", c.products == DT_BF16 ? "bf16" : "f32", cases[i].why);
        CHECK_INT(c.act, cases[i].act);
        CHECK_INT(c.products, cases[i].products);
        CHECK_STR(c.why, why);
    }
}

static char warned[200];
static int n_warnings;

static void keep_warning(const char *line)
{
    (void)snprintf(warned, sizeof warned, "%s", line);
    n_warnings++;
}

static struct backend *open_cpu(enum precision precision)
{
    struct backend *be = NULL;
    struct err err = { 0 };

    CHECK_OK(backend_open(BACKEND_CPU, precision, &be, &err), err);
    be->warn = keep_warning;
    n_warnings = 0;
    return be;
}

static void multiply(struct backend *be)
{
    static float x[2 * 32], w[16 * 32], y[2 * 16];
    struct tensor tx = tensor_2d(DT_F32, 2, 32, x), ty = tensor_2d(DT_F32, 2, 16, y);
    const struct weight weight = { .dtype = DT_F32, .rows = 16, .cols = 32, .data = w };
    struct err err = { 0 };

    CHECK_OK(be->ops->linear(be, &ty, &tx, &weight, NULL, ACT_NONE, &err), err);
}

/* The product that benchmarks compare with runs wherever the backend does. */
static void check_bench(const struct backend *be)
{
    struct bench_product *p = NULL;
    double seconds = INFINITY;
    struct err err = { 0 };

    CHECK_OK(bench_product_open(be, 8, 16, 32, &p, &err), err);
    CHECK_OK(bench_product_run(p, &seconds, &err), err);
    CHECK(seconds > 0 && seconds < INFINITY);
    bench_product_close(p);
}

/* Runs here, and by the tests below in processes that may use fewer instructions. */
TEST(precision_here__every_choice_opens_computes_and_is_measured)
{
    struct backend *be = open_cpu(PRECISION_AUTO);
    const char *words = backend_describe(be);

    CHECK(be->act == DT_BF16 ? strstr(words, "products in bf16, measured at ") == words
                             : strstr(words, "products in f32, ") == words);
    CHECK_STR(backend_precision(be), be->act == DT_BF16 ? "bf16" : "f32");
    if (onednn_bf16() == ONEDNN_BF16_NONE)
        CHECK_STR(words, "products in f32, since this processor has no bf16 products");
    if (onednn_bf16() == ONEDNN_BF16_AVX512)
        CHECK_STR(words, "products in f32, since this processor has no AMX");
    multiply(be);
    check_bench(be);
    CHECK_INT(n_warnings, 0);
    backend_close(be);
    be = open_cpu(PRECISION_BF16);
    CHECK_INT(be->act, DT_BF16);
    multiply(be);
    multiply(be);
    check_bench(be);
    CHECK_INT(n_warnings, strstr(backend_describe(be), "products in f32") ? 1 : 0);
    CHECK(n_warnings == 0 || (strstr(warned, "bf16 was asked for") && strstr(warned, backend_describe(be))));
    backend_close(be);
    be = open_cpu(PRECISION_F32);
    CHECK_INT(be->act, DT_F32);
    CHECK_STR(backend_describe(be), "products in f32");
    check_bench(be);
    backend_close(be);
}

/* Runs the test above, and others of that name, in a process whose oneDNN uses nothing newer than `isa`. */
static void run_with(const char *isa, const char *others)
{
    char *argv[] = { "unit-tests", "precision_here__", (char *)(uintptr_t)others, NULL };
    posix_spawn_file_actions_t quiet;
    int status = -1;
    pid_t pid;

    CHECK(setenv("DNNL_MAX_CPU_ISA", isa, 1) == 0);
    CHECK(posix_spawn_file_actions_init(&quiet) == 0);
    CHECK(posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0) == 0);
    CHECK(posix_spawn(&pid, "/proc/self/exe", &quiet, NULL, argv, environ) == 0);
    CHECK(unsetenv("DNNL_MAX_CPU_ISA") == 0);
    CHECK(posix_spawn_file_actions_destroy(&quiet) == 0);
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_INT(status, 0);
}

TEST(precision__holds_on_a_processor_without_avx512)
{
    run_with("AVX2", "cmd_bench__measures_two_blocks_in_bf16");
}

TEST(precision__holds_on_a_processor_with_avx512_alone)
{
    run_with("AVX512_CORE", NULL);
}

TEST(precision__holds_on_a_processor_without_amx)
{
    run_with("AVX512_CORE_BF16", NULL);
}

#endif

#include "kernels/backend.h"
#include "test/support/check.h"

TEST(precision__auto_is_f32_on_the_plain_backend)
{
    struct backend *be = NULL;
    struct err err = { 0 };

    CHECK_OK(backend_open(BACKEND_PLAIN, PRECISION_AUTO, &be, &err), err);
    CHECK_INT(be->act, DT_F32);
    CHECK_STR(backend_precision(be), "f32");
    backend_close(be);
}
