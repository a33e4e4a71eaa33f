#include "kernels/backend.h"

#include <math.h>
#include <string.h>

const char *const backend_kind_names[] = { "auto", "cpu", "plain", "cuda", NULL };

enum err_code backend_cpu_open(enum precision precision, struct backend **ret, struct err *err)
{
#ifdef HAVE_ONEDNN
    return backend_fast_open(precision, ret, err);
#else
    return backend_plain_open(precision, ret, err);
#endif
}

/* CUDA where a device answers; else the CPU, with the reason in `without_cuda`. A device that is there and does not
 * work is an error: the CPU in its place would be a hundred times slower, and would compute other bytes. */
static enum err_code open_best(enum precision precision, struct backend **ret, struct err *err)
{
    struct err why = { 0 };
    enum err_code rc = backend_cuda_open(precision, ret, &why);

    if (rc == ERR_OK)
        return ERR_OK;
    if (rc != ERR_UNAVAILABLE)
        return err_set(err, rc, "%s", why.msg);
    TRY(backend_cpu_open(precision, ret, err));
    memcpy((*ret)->without_cuda, why.msg, sizeof why.msg);
    return ERR_OK;
}

enum err_code backend_open(enum backend_kind kind, enum precision precision, struct backend **ret, struct err *err)
{
    switch (kind) {
    case BACKEND_CUDA:
        return backend_cuda_open(precision, ret, err);
    case BACKEND_PLAIN:
        return backend_plain_open(precision, ret, err);
    case BACKEND_AUTO:
        return open_best(precision, ret, err);
    case BACKEND_CPU:
        break;
    }
    return backend_cpu_open(precision, ret, err);
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
