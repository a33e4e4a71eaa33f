#include "kernels/backend.h"

#include <math.h>
#include <string.h>

const char *const backend_kind_names[] = { "auto", "cpu", "plain", "cuda", NULL };

/* CUDA where there is a device; else the CPU, and why. */
static enum err_code open_best(enum precision precision, struct backend **ret, struct err *err)
{
    struct err why = { 0 };
    enum err_code rc;

    if (!backend_cuda_open(precision, ret, &why))
        return ERR_OK;
    rc = backend_cpu_open(true, precision, ret, err);
    if (!rc)
        memcpy((*ret)->without_cuda, why.msg, sizeof why.msg);
    return rc;
}

enum err_code backend_open(enum backend_kind kind, enum precision precision, struct backend **ret, struct err *err)
{
    switch (kind) {
    case BACKEND_CUDA:
        return backend_cuda_open(precision, ret, err);
    case BACKEND_PLAIN:
        return backend_cpu_open(false, precision, ret, err);
    case BACKEND_AUTO:
        return open_best(precision, ret, err);
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

struct backend_memory backend_memory(struct backend *be)
{
    return be->ops->memory ? be->ops->memory(be) : (struct backend_memory){ .available = -1 };
}

bool backend_card(struct backend *be, struct backend_card *ret)
{
    if (!be->ops->card)
        return false;
    *ret = (struct backend_card){ "", "", "", NAN, NAN, NAN, NAN, NAN };
    be->ops->card(be, ret);
    return true;
}

void backend_use_library(struct backend *be, enum library_use use)
{
    if (be->ops->use_library)
        be->ops->use_library(be, use);
}

const char *backend_describe(struct backend *be)
{
    return be->ops->describe ? be->ops->describe(be) : "";
}

const char *backend_precision(const struct backend *be)
{
    return be->act == DT_BF16 ? "bf16" : "f32";
}
