#include "kernels/cuda/attention_library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cudnn/cudnn_attention.h"

enum { PLANS_MAX = 32 /* each holds a compiled kernel */ };

/*
 * The generations on which cuDNN is expected to be faster, without a measurement: its attention for Hopper uses the
 * instructions of that generation. Ours uses those of Ampere, and Ada has no others. The first row whose `sm` is not
 * above the card's applies.
 */
static const struct {
    int sm;
    bool attention;
} policy[] = { { 90, true }, { 0, false } };

struct kept {
    struct cudnn_shape shape;
    struct cudnn_plan plan; /* zeroed: cuDNN refused the shape */
};

struct cuda_attention_library {
    struct cudnn lib;
    bool attention; /* the library is to be used */
    int n_kept, n_refused;
    char why[ERR_MESSAGE_MAX]; /* why there is no library, or why the first shape was refused */
    char words[2 * ERR_MESSAGE_MAX];
    struct kept kept[PLANS_MAX];
};

/* --- the library, and whether it is used --- */

static void forget_plans(struct cuda_attention_library *d)
{
    while (d->n_kept > 0)
        cudnn_plan_done(&d->lib, &d->kept[--d->n_kept].plan);
}

static void open_library(struct cuda *cuda)
{
    struct cuda_attention_library *d = cuda->attention_library;
    struct err err = { 0 };

    if (d->lib.handle)
        return;
    if (cudnn_open(CUDART_VERSION / 1000, &d->lib, &err) || cudnn_use_device(&d->lib, cuda->stream, &err))
        memcpy(d->why, err.msg, sizeof d->why);
}

void cuda_attention_library_use(struct backend *be, enum library_use use)
{
    struct cuda *cuda = cuda_of(be);
    int at = 0;

    if (!cuda->attention_library)
        return;
    while (policy[at].sm > cuda->sm)
        at++;
    cuda->attention_library->attention = use == LIBRARY_ALWAYS || (use == LIBRARY_AUTO && policy[at].attention);
    if (cuda->attention_library->attention)
        open_library(cuda);
}

void cuda_attention_library_open(struct cuda *cuda)
{
    cuda->attention_library = calloc(1, sizeof *cuda->attention_library);
    cuda_attention_library_use(&cuda->base, LIBRARY_AUTO);
}

void cuda_attention_library_close(struct cuda *cuda)
{
    if (!cuda->attention_library)
        return;
    forget_plans(cuda->attention_library);
    cudnn_close(&cuda->attention_library->lib);
    free(cuda->attention_library);
    cuda->attention_library = NULL;
}

size_t cuda_attention_library_version(const struct cuda *cuda)
{
    return cuda->attention_library && cuda->attention_library->lib.handle
               ? cuda->attention_library->lib.cudnnGetVersion()
               : 0;
}

const char *cuda_attention_library_describe(struct backend *be)
{
    struct cuda_attention_library *d = cuda_of(be)->attention_library;
    size_t version;

    if (!d || !d->attention)
        return "attention: own kernel";
    if (!d->lib.handle) {
        (void)snprintf(d->words, sizeof d->words, "attention: own kernel (%s)", d->why);
        return d->words;
    }
    version = d->lib.cudnnGetVersion();
    (void)snprintf(d->words, sizeof d->words, "attention: cuDNN %zu.%zu.%zu%s%s%s", version / 10000,
                   version / 100 % 100, version % 100, d->n_refused ? ", but own kernel (" : "",
                   d->n_refused ? d->why : "", d->n_refused ? ")" : "");
    return d->words;
}

/* --- plans --- */

/* Only the first refusal is reported; backend_describe() shows it. */
static void refuse(struct cuda *cuda, const struct err *why)
{
    struct cuda_attention_library *d = cuda->attention_library;

    if (d->n_refused++)
        return;
    memcpy(d->why, why->msg, sizeof d->why);
    if (cuda->base.warn)
        cuda->base.warn(d->why);
}

/* The plan for this shape, kept or made now; a zeroed plan where cuDNN refuses the shape. */
static struct cudnn_plan *find_plan(struct cuda *cuda, const struct cudnn_shape *shape)
{
    struct cuda_attention_library *d = cuda->attention_library;
    struct err err = { 0 };
    struct kept *k;

    for (k = d->kept; k < d->kept + d->n_kept; k++)
        if (!memcmp(&k->shape, shape, sizeof *shape))
            return &k->plan;
    /*
     * Drops all plans when the cache is full: most belong to earlier requests, and the current one's are soon made
     * again.
     */
    if (d->n_kept == PLANS_MAX) {
        (void)cudaStreamSynchronize(cuda->stream);
        forget_plans(d);
    }
    k = &d->kept[d->n_kept++];
    *k = (struct kept){ .shape = *shape };
    if (cudnn_attention_plan(&d->lib, shape, cuda->workspace_bytes, &k->plan, &err))
        refuse(cuda, &err);
    return &k->plan;
}

/* Where the device still works, a plan that failed was refused; our kernel overwrites what it may have queued. */
static bool device_works(struct cuda *cuda)
{
    cudaError_t status = cudaStreamQuery(cuda->stream);

    (void)cudaGetLastError(); /* the query records "not ready" as an error */
    return status == cudaSuccess || status == cudaErrorNotReady;
}

enum err_code cuda_attention_library_run(struct cuda *cuda, const struct attention_call *c, bool *ret_done,
                                         struct err *err)
{
    static const int64_t uids[] = { CUDNN_Q, CUDNN_K, CUDNN_V, CUDNN_OUT, CUDNN_SCALE };
    float scale = c->args->scale;
    void *const data[] = { c->q->data, c->k->data, c->v->data, c->out->data, &scale };
    struct cuda_attention_library *d = cuda->attention_library;
    struct cudnn_plan *plan = NULL;
    struct cudnn_shape shape;
    struct err why = { 0 };

    *ret_done = false;
    if (!d || !d->attention || !d->lib.handle || !cudnn_attention_shape(c->out, c->q, c->k, c->v, c->args, &shape))
        return ERR_OK;
    plan = find_plan(cuda, &shape);
    if (!plan->plan)
        return ERR_OK;
    *ret_done = !cudnn_plan_run(&d->lib, plan, (int)(sizeof uids / sizeof *uids), uids, data, cuda->workspace, &why);
    if (*ret_done)
        return ERR_OK;
    if (!device_works(cuda))
        return err_set(err, ERR_GPU, "%s", why.msg);
    (void)cudaStreamSynchronize(cuda->stream); /* earlier uses of this plan may be queued */
    cudnn_plan_done(&d->lib, plan);
    refuse(cuda, &why);
    return ERR_OK;
}
