/*
 * device.c - opening a device, its memory and its table of operations.
 */
#include <stdlib.h>

#include "kernels/cuda/dnn.h"
#include "kernels/cuda/nvml.h"
#include "kernels/cuda/product.h"

enum { WORKSPACE_BYTES = 64 << 20, OLDEST_SM = 80 /* the first with bf16 tensor cores and asynchronous copies */ };

/*
 * Left for what the backend takes later, in MiB: 512 the ring and its spot; 526 the rounding of every matrix up to 2
 * MiB (FLUX.1-Fill and T5-XXL as Q8_0, counted); the rest spares, and kernels, ours and the libraries', which the
 * runtime loads at their first launch: some of them during the first job.
 */
static const size_t own_bytes = (size_t)1280 << 20;

enum err_code cuda_order(struct cuda *cuda, cudaStream_t first, cudaStream_t later, struct err *err)
{
    cudaError_t status = cudaEventRecord(cuda->turn, first);

    if (!status)
        status = cudaStreamWaitEvent(later, cuda->turn, 0);
    return cuda_status(status, "order of streams", err);
}

static enum err_code mem_alloc(struct backend *be, size_t bytes, void **ret, struct err *err)
{
    size_t n_free = 0, n_total = 0;
    void *p = NULL;
    cudaError_t status = cudaMalloc(&p, bytes ? bytes : 1);

    if (status == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        (void)cudaMemGetInfo(&n_free, &n_total);
        return err_set(err, ERR_NOMEM, "cuda: no memory for %zu MiB, %zu of %zu MiB are free", bytes >> 20,
                       n_free >> 20, n_total >> 20);
    }
    if (!status)
        status = cudaMemsetAsync(p, 0, bytes, cuda_of(be)->stream);
    if (status) {
        (void)cudaFree(p);
        return cuda_status(status, "memory", err);
    }
    *ret = p;
    return ERR_OK;
}

/* Waits for what still uses it. */
static void mem_free(struct backend *be, void *p)
{
    (void)be;
    (void)cudaFree(p);
}

static struct backend_memory memory(struct backend *be)
{
    size_t n_free = 0, n_total = 0;

    (void)be;
    if (cudaMemGetInfo(&n_free, &n_total)) {
        (void)cudaGetLastError();
        return (struct backend_memory){ .available = -1 };
    }
    return (struct backend_memory){ .available = n_free > own_bytes ? (int64_t)(n_free - own_bytes) : 0,
                                    .used = (int64_t)(n_total - n_free) };
}

static enum err_code sync(struct backend *be, struct err *err)
{
    return cuda_status(cudaStreamSynchronize(cuda_of(be)->stream), "sync", err);
}

/* The host's memory is the caller's again when this returns. */
static enum err_code upload(struct backend *be, void *dst, const void *src, size_t bytes, struct err *err)
{
    enum err_code rc =
        cuda_status(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, cuda_of(be)->stream), "upload", err);

    return rc ? rc : sync(be, err);
}

static enum err_code download(struct backend *be, void *dst, const void *src, size_t bytes, struct err *err)
{
    enum err_code rc =
        cuda_status(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, cuda_of(be)->stream), "download", err);

    return rc ? rc : sync(be, err);
}

static enum err_code mark(struct backend *be, int slot, struct err *err)
{
    struct cuda *cuda = cuda_of(be);

    return cuda_status(cudaEventRecord(cuda->marks[slot], cuda->stream), "mark", err);
}

static enum err_code elapsed(struct backend *be, int from, int to, double *ret_ms, struct err *err)
{
    const cudaEvent_t *marks = cuda_of(be)->marks;
    float ms = 0;
    cudaError_t status = cudaEventSynchronize(marks[to]);

    if (!status)
        status = cudaEventElapsedTime(&ms, marks[from], marks[to]);
    if (!status)
        *ret_ms = (double)ms;
    return cuda_status(status, "time between marks", err);
}

static void cuda_close(struct backend *be)
{
    struct cuda *cuda = cuda_of(be);

    if (cuda->stream)
        (void)cudaStreamSynchronize(cuda->stream);
    cuda_weights_close(cuda);
    cuda_dnn_close(cuda);
    cuda_products_close(cuda);
    nvml_close(cuda->nvml);
    (void)cudaFree(cuda->workspace);
    if (cuda->turn)
        (void)cudaEventDestroy(cuda->turn);
    for (int i = 0; i < BACKEND_MARKS; i++)
        if (cuda->marks[i])
            (void)cudaEventDestroy(cuda->marks[i]);
    if (cuda->expand)
        (void)cudaStreamDestroy(cuda->expand);
    if (cuda->stream)
        (void)cudaStreamDestroy(cuda->stream);
    free(cuda);
}

static const struct backend_ops cuda_ops = {
    .close = cuda_close,
    .mem_alloc = mem_alloc,
    .mem_free = mem_free,
    .memory = memory,
    .upload = upload,
    .download = download,
    .sync = sync,
    .mark = mark,
    .elapsed = elapsed,
    .card = cuda_card,
    .use_library = cuda_dnn_use,
    .describe = cuda_dnn_describe,
    .weights_expect = cuda_weights_expect,
    .weight_load = cuda_weight_load,
    .weight_unload = cuda_weight_unload,
    .weight_prefetch = cuda_weight_prefetch,
    .conv_weight_load = cuda_conv_weight_load,
    .linear = cuda_linear,
    .attention = cuda_attention,
    .layer_norm = cuda_layer_norm,
    .modulate = cuda_modulate,
    .rms_norm = cuda_rms_norm,
    .group_norm = cuda_group_norm,
    .qk_norm_rope = cuda_qk_norm_rope,
    .gate_add = cuda_gate_add,
    .gate_add_modulate = cuda_gate_add_modulate,
    .mul = cuda_mul,
    .silu = cuda_silu,
    .axpy = cuda_axpy,
    .copy = cuda_copy,
    .embed_rows = cuda_embed_rows,
    .conv2d = cuda_conv2d,
    .upsample2x = cuda_upsample2x,
};

/* Device 0: which card that is, CUDA_VISIBLE_DEVICES says. Every thread works on device 0 unless it chooses another,
 * so those that come to the backend later need not choose. */
static enum err_code find_device(struct cuda *cuda, struct err *err)
{
    int n = 0, major = 0, minor = 0;
    cudaError_t status = cudaGetDeviceCount(&n);

    if (!status)
        status = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, cuda->device);
    if (!status)
        status = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, cuda->device);
    if (!status)
        status = cudaDeviceGetAttribute(&cuda->n_multiprocessors, cudaDevAttrMultiProcessorCount, cuda->device);
    if (!status)
        status = cudaDeviceGetAttribute(&cuda->l2_bytes, cudaDevAttrL2CacheSize, cuda->device);
    if (!status)
        status = cudaSetDevice(cuda->device);
    if (status) {
        (void)cudaGetLastError();
        return err_set(err, ERR_UNAVAILABLE, "cuda: %s", cudaGetErrorString(status));
    }
    cuda->sm = 10 * major + minor;
    if (cuda->sm < OLDEST_SM)
        return err_set(err, ERR_UNAVAILABLE, "cuda: compute capability %d.%d, needed is 8.0", major, minor);
    return ERR_OK;
}

/*
 * Streams that do not wait for the default one. The work comes first: where both have thread blocks ready, those of the
 * expansion take what the work leaves free. Who waits for a mark waits long, so the thread sleeps.
 */
static enum err_code open_streams(struct cuda *cuda, struct err *err)
{
    int least = 0, greatest = 0; /* the lower the number, the higher the priority */
    cudaError_t status = cudaDeviceGetStreamPriorityRange(&least, &greatest);

    if (!status)
        status = cudaStreamCreateWithPriority(&cuda->stream, cudaStreamNonBlocking, greatest);
    if (!status)
        status = cudaStreamCreateWithPriority(&cuda->expand, cudaStreamNonBlocking, least);
    if (!status)
        status = cudaEventCreateWithFlags(&cuda->turn, cudaEventDisableTiming);
    for (int i = 0; i < BACKEND_MARKS && !status; i++)
        status = cudaEventCreateWithFlags(&cuda->marks[i], cudaEventBlockingSync);
    if (!status)
        status = cudaMalloc(&cuda->workspace, WORKSPACE_BYTES);
    cuda->workspace_bytes = WORKSPACE_BYTES;
    return cuda_status(status, "streams and workspace", err);
}

enum err_code backend_cuda_open(enum precision precision, struct backend **ret, struct err *err)
{
    struct cuda *cuda;
    enum err_code rc;

    if (precision == PRECISION_F32)
        return err_set(
            err, ERR_UNAVAILABLE,
            "cuda: f32 was asked for, and matrix products take bf16 there: set the precision to auto or bf16 "
            "for CUDA, or the backend to cpu for f32");
    cuda = calloc(1, sizeof *cuda);
    if (!cuda)
        return err_set(err, ERR_NOMEM, "cuda: no memory for the backend");
    cuda->base =
        (struct backend){ .ops = &cuda_ops, .name = "cuda", .act = DT_BF16, .executes = true, .runs_behind = true };
    rc = find_device(cuda, err);
    if (!rc)
        rc = open_streams(cuda, err);
    if (!rc)
        rc = cuda_products_open(cuda, err);
    if (!rc)
        rc = cuda_weights_open(cuda, err);
    if (rc) {
        cuda_close(&cuda->base);
        return rc;
    }
    cuda_dnn_open(cuda); /* after cuBLASLt, which it looks for among what is loaded */
    *ret = &cuda->base;
    return ERR_OK;
}
