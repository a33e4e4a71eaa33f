#include "kernels/backend.h"

enum err_code backend_open(enum backend_kind kind, enum precision precision, struct backend **ret, struct err *err)
{
    switch (kind) {
    case BACKEND_CUDA:
        return backend_cuda_open(precision, ret, err);
    case BACKEND_PLAIN:
        return backend_cpu_open(false, precision, ret, err);
    case BACKEND_AUTO:
        if (!backend_cuda_open(precision, ret, NULL))
            return ERR_OK;
        break;
    case BACKEND_CPU:
        break;
    }
    return backend_cpu_open(true, precision, ret, err);
}

void backend_close(struct backend *be)
{
    if (be)
        be->ops->close(be);
}

void backend_expect_weights(struct backend *be, enum weight_mode mode, size_t expanded_bytes)
{
    if (be->ops->weights_expect)
        be->ops->weights_expect(be, mode, expanded_bytes);
}

size_t backend_memory_used(struct backend *be)
{
    size_t n_free = 0, n_total = 0;

    if (!be->ops->mem_info || be->ops->mem_info(be, &n_free, &n_total, NULL))
        return 0;
    return n_total - n_free;
}
