/* cuDNN computes attention where it is to be used and can, otherwise our kernels do; plans are made once for a shape,
 * and all their parts are destroyed. */
#include <string.h>

#include "kernels/cuda/cuda.h"
#include "test/gpu/device.h"
#include "test/gpu/dry/fake_cuda.h"
#include "test/gpu/dry/fake_cudnn.h"

static struct backend *open_device(enum fake_cudnn_mood mood, enum library_use use)
{
    struct backend *be = NULL;
    struct err err = { 0 };

    fake_cudnn = (struct fake_cudnn){ .mood = mood };
    CHECK_OK(backend_open(BACKEND_CUDA, PRECISION_DEFAULT, &be, &err), err);
    backend_use_library(be, use);
    return be;
}

static void close_device(struct backend *be)
{
    backend_close(be);
    fake_cudnn.mood = CUDNN_WORKS;
    CHECK_INT(fake_cudnn.n_parts, 0);
}

/* One key, so that every row of the result is v. */
static enum err_code attend(struct backend *be, int64_t tokens, struct err *err)
{
    struct attention_args args = { .n_heads = 1, .head_dim = 64, .scale = 1 };
    struct tensor q, k, v, out;
    uint16_t values[64];
    char *memory = NULL;
    enum err_code rc;

    for (int i = 0; i < 64; i++)
        values[i] = (uint16_t)(0x3f80 + i);
    CHECK_OK(be->ops->mem_alloc(be, (size_t)(2 * tokens + 2) * sizeof values, (void **)&memory, err), *err);
    q = tensor_2d(DT_BF16, tokens, 64, memory);
    out = tensor_2d(DT_BF16, tokens, 64, memory + (size_t)tokens * sizeof values);
    k = tensor_2d(DT_BF16, 1, 64, memory + (size_t)(2 * tokens) * sizeof values);
    v = tensor_2d(DT_BF16, 1, 64, memory + (size_t)(2 * tokens + 1) * sizeof values);
    CHECK_OK(be->ops->upload(be, v.data, values, sizeof values, err), *err);
    rc = op_attention(be, &out, &q, &k, &v, &args, err);
    for (int64_t i = 0; i < tokens && !rc; i++) {
        uint16_t got[64];

        CHECK_OK(be->ops->download(be, got, (char *)out.data + (size_t)i * sizeof got, sizeof got, err), *err);
        CHECK(!memcmp(got, values, sizeof got));
    }
    be->ops->mem_free(be, memory);
    return rc;
}

TEST(cudnn__is_left_alone_on_a_card_where_our_kernel_is_as_good)
{
    struct backend *be = open_device(CUDNN_WORKS, LIBRARY_AUTO);
    struct err err = { 0 };

    CHECK_OK(attend(be, 3, &err), err);
    CHECK_INT(fake_cudnn.n_runs, 0);
    CHECK(!strcmp(backend_describe(be), "attention: own kernel"));
    close_device(be);
}

TEST(cudnn__makes_a_plan_once_a_shape)
{
    struct backend *be = open_device(CUDNN_WORKS, LIBRARY_ALWAYS);
    struct err err = { 0 };

    CHECK(!strcmp(backend_describe(be), "attention: cuDNN 9.19.0"));
    for (int i = 0; i < 6; i++)
        CHECK_OK(attend(be, 2 + i % 2, &err), err);
    CHECK_INT(fake_cudnn.n_runs, 6);
    CHECK_INT(fake_cudnn.n_heuristics, 2);
    for (int i = 0; i < 100; i++) /* more shapes than are kept */
        CHECK_OK(attend(be, 1 + i, &err), err);
    CHECK_INT(fake_cudnn.n_runs, 106);
    CHECK_INT(fake_cudnn.n_heuristics, 100);
    close_device(be);
}

static int n_warnings;

static void count_warning(const char *line)
{
    CHECK(strstr(line, "none of 0 engines"));
    n_warnings++;
}

TEST(cudnn__a_shape_without_a_plan_is_reported_once)
{
    struct backend *be = open_device(CUDNN_HAS_NO_PLAN, LIBRARY_ALWAYS);
    struct err err = { 0 };

    be->warn = count_warning;
    for (int i = 0; i < 4; i++)
        CHECK_OK(attend(be, 1 + i, &err), err);
    CHECK_INT(n_warnings, 1);
    close_device(be);
}

TEST(cudnn__without_a_library_or_a_plan_our_kernel_computes)
{
    static const struct {
        enum fake_cudnn_mood mood;
        const char *word;
    } moods[] = { { CUDNN_IS_MISSING, "there is none" },
                  { CUDNN_HAS_NO_PLAN, "engines may be used: the engine is not supported)" },
                  { CUDNN_WANTS_TOO_MUCH, "none of 2 engines" } };

    for (size_t i = 0; i < sizeof moods / sizeof *moods; i++) {
        struct backend *be = open_device(moods[i].mood, LIBRARY_ALWAYS);
        struct err err = { 0 };

        CHECK_OK(attend(be, 3, &err), err);
        CHECK_OK(attend(be, 3, &err), err);
        CHECK_INT(fake_cudnn.n_runs, 0);
        CHECK(fake_cudnn.n_heuristics <= 1);
        CHECK(strstr(backend_describe(be), moods[i].word));
        close_device(be);
    }
}

TEST(cudnn__a_run_that_fails_is_done_by_our_kernel_and_not_tried_again)
{
    struct backend *be = open_device(CUDNN_WORKS, LIBRARY_ALWAYS);
    struct err err = { 0 };

    CHECK_OK(attend(be, 3, &err), err);
    fake_cudnn.mood = CUDNN_FAILS;
    CHECK_OK(attend(be, 3, &err), err);
    CHECK(strstr(backend_describe(be), "but own kernel ("));
    fake_cudnn.mood = CUDNN_WORKS;
    CHECK_OK(attend(be, 3, &err), err);
    CHECK_INT(fake_cudnn.n_runs, 1);
    close_device(be);
}

TEST(cudnn__a_run_that_breaks_the_device_is_a_fault)
{
    struct backend *be = open_device(CUDNN_BREAKS, LIBRARY_ALWAYS);
    struct err err = { 0 };

    CHECK_INT(attend(be, 3, &err), ERR_GPU);
    fake_cuda_fault(false);
    close_device(be);
}
