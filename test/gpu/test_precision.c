/* The precision in which a device is opened, and that f32, which it does not have, is refused. */
#include <string.h>

#include "test/gpu/device.h"

TEST(gpu_precision__is_bf16_unless_f32_is_asked_for)
{
    static const enum precision bf16[] = { PRECISION_DEFAULT, PRECISION_BF16, PRECISION_AUTO };
    struct backend *be = NULL;
    struct err err = { 0 };

    (void)device();
    for (int i = 0; i < 3; i++) {
        CHECK_OK(backend_open(BACKEND_AUTO, bf16[i], &be, &err), err);
        CHECK_STR(be->name, "cuda");
        CHECK_INT(be->act, DT_BF16);
        CHECK_STR(backend_precision(be), "bf16");
        backend_close(be);
    }
    CHECK_INT(backend_open(BACKEND_CUDA, PRECISION_F32, &be, &err), ERR_UNAVAILABLE);
    CHECK(strstr(err.msg, "auto or bf16 for CUDA"));
}

TEST(gpu_precision__f32_and_any_backend_is_the_cpu_and_says_so)
{
    struct backend *be = NULL;
    struct err err = { 0 };

    (void)device();
    CHECK_OK(backend_open(BACKEND_AUTO, PRECISION_F32, &be, &err), err);
    CHECK(strcmp(be->name, "cuda") != 0 && be->act == DT_F32);
    CHECK(strstr(be->without_cuda, "f32 was asked for"));
    backend_close(be);
}
