/* The next call after a fault of the device reports it as such, whatever the call is, and the backend still closes. */
#include "test/gpu/device.h"
#include "test/gpu/dry/fake_cuda.h"

enum { N = 256 };

TEST(dry_fault__every_call_after_it_is_a_gpu_error)
{
    float values[N] = { 0 };
    struct weight host = { .dtype = DT_F32, .rows = 1, .cols = N, .data = values };
    struct backend *be = NULL;
    struct err err = { 0 };
    struct weight w;
    void *p = NULL, *more = NULL;
    double ms = 0;

    (void)device();
    CHECK_OK(backend_open(BACKEND_CUDA, PRECISION_DEFAULT, &be, &err), err);
    CHECK_OK(be->ops->mem_alloc(be, sizeof values, &p, &err), err);
    CHECK_OK(be->ops->mark(be, 0, &err), err);
    CHECK(backend_memory(be).available > 0 && backend_memory(be).used > 0);
    fake_cuda_fault(true);
    CHECK_INT(be->ops->sync(be, NULL), ERR_GPU);
    CHECK_INT(be->ops->upload(be, p, values, sizeof values, NULL), ERR_GPU);
    CHECK_INT(be->ops->download(be, values, p, sizeof values, NULL), ERR_GPU);
    CHECK_INT(be->ops->mark(be, 1, NULL), ERR_GPU);
    CHECK_INT(be->ops->elapsed(be, 0, 1, &ms, NULL), ERR_GPU);
    CHECK_INT(be->ops->mem_alloc(be, sizeof values, &more, NULL), ERR_GPU);
    CHECK_INT(be->ops->weight_load(be, &host, &w, NULL), ERR_GPU);
    CHECK_INT(backend_memory(be).available, -1);
    be->ops->mem_free(be, p);
    backend_close(be);
    fake_cuda_fault(false);
    CHECK_OK(device()->ops->sync(device(), &err), err);
}
