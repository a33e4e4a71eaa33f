/*
 * device.c - opening a device, and its table of operations.
 */
#include <stdlib.h>

#include "kernels/cuda/attention_library.h"
#include "kernels/cuda/nvml.h"
#include "kernels/cuda/product.h"

enum { WORKSPACE_BYTES = 64 << 20, OLDEST_SM = 80 /* the first with bf16 tensor cores and asynchronous copies */ };

static void cuda_close(struct backend *be)
{
    struct cuda *cuda = cuda_of(be);

    if (cuda->stream)
        (void)cudaStreamSynchronize(cuda->stream);
    cuda_weights_close(cuda);
    cuda_attention_library_close(cuda);
    cuda_products_close(cuda);
    nvml_close(cuda->nvml);
    (void)cudaFree(cuda->workspace);
    cuda_streams_close(cuda);
    free(cuda);
}

static const struct backend_ops cuda_ops = {
    .close = cuda_close,
    .mem_alloc = cuda_mem_alloc,
    .mem_free = cuda_mem_free,
    .memory = cuda_memory,
    .upload = cuda_upload,
    .download = cuda_download,
    .sync = cuda_sync,
    .mark = cuda_mark,
    .elapsed = cuda_elapsed,
    .card = cuda_card,
    .use_library = cuda_attention_library_use,
    .describe = cuda_attention_library_describe,
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

/* The backend uses device 0; CUDA_VISIBLE_DEVICES decides which card that is. Every thread works on device 0 unless it
 * chooses another, so threads that use the backend later need not choose. */
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
        return err_set(err, ERR_UNAVAILABLE, "cuda: the card has compute capability %d.%d, and 8.0 is needed", major,
                       minor);
    return ERR_OK;
}

static enum err_code open_workspace(struct cuda *cuda, struct err *err)
{
    cuda->workspace_bytes = WORKSPACE_BYTES;
    return cuda_status(cudaMalloc(&cuda->workspace, WORKSPACE_BYTES), "workspace", err);
}

static enum err_code open_parts(struct cuda *cuda, struct err *err)
{
    TRY(find_device(cuda, err));
    TRY(cuda_streams_open(cuda, err));
    TRY(open_workspace(cuda, err));
    TRY(cuda_products_open(cuda, err));
    TRY(cuda_weights_open(cuda, err));
    cuda_attention_library_open(cuda); /* after cuBLASLt, which cuDNN expects to be loaded */
    return ERR_OK;
}

enum err_code backend_cuda_open(enum precision precision, struct backend **ret, struct err *err)
{
    struct cuda *cuda;
    enum err_code rc;

    if (precision == PRECISION_F32)
        return err_set(
            err, ERR_UNAVAILABLE,
            "cuda: f32 was asked for, but CUDA computes matrix products in bf16: set the precision to auto or bf16 "
            "for CUDA, or the backend to cpu for f32");
    cuda = calloc(1, sizeof *cuda);
    if (!cuda)
        return err_set(err, ERR_NOMEM, "cuda: no memory for the backend");
    cuda->base =
        (struct backend){ .ops = &cuda_ops, .name = "cuda", .act = DT_BF16, .executes = true, .runs_behind = true };
    rc = open_parts(cuda, err);
    if (rc)
        cuda_close(&cuda->base);
    else
        *ret = &cuda->base;
    return rc;
}
