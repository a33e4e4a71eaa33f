/*
 * cuda - what the files of the CUDA backend share: the backend's record and its operations.
 *
 * One device, one stream for the work and one for expanding weights ahead of use. Precision: inputs of matrix products
 * bf16 with f32 accumulation, everything else (residual streams, statistics, softmax, modulation) f32. No atomics in
 * sums and no split of a sum that depends on timing: the same input gives the same bytes on the same card.
 * Runs on CUDA 12.2 to 13.x, sm_80 and up.
 */
#ifndef KERNELS_CUDA_CUDA_CUH
#define KERNELS_CUDA_CUDA_CUH

#include <cublasLt.h>
#include <cuda_runtime.h>
#include <cudnn.h>

extern "C" {
#include "kernels/backend.h"
}

struct cuda_plans; /* cuBLASLt plans by shape (linear.cu) */
struct cuda_convs; /* cuDNN plans by shape (conv2d.cu) */
struct cuda_ring;  /* buffers that quantised weights are expanded into ahead of use (weight.cu) */

struct cuda {
    struct backend base;
    int device, sm, n_multiprocessors;
    cudaStream_t stream, expand;
    cublasLtHandle_t lt;
    cudnnHandle_t dnn;
    void *workspace; /* of cuBLASLt and cuDNN; allocated once */
    size_t workspace_bytes;
    struct cuda_plans *plans;
    struct cuda_convs *convs;
    struct cuda_ring *ring;
};

static inline struct cuda *cuda_of(struct backend *be) { return (struct cuda *)be; }

/* A CUDA status as an error: cudaErrorMemoryAllocation is ERR_NOMEM, all else ERR_GPU. ERR_OK passes. */
enum err_code cuda_status(cudaError_t status, const char *what, struct err *err);

/* The operations of backend.h, one file each or a few that belong together; the table is in device.cu. */
#define CUDA_OP(name, ...) enum err_code cuda_##name(struct backend *be, __VA_ARGS__, struct err *err)
CUDA_OP(linear, struct tensor *y, const struct tensor *x, const struct weight *w, const struct tensor *bias,
        enum activation act);
CUDA_OP(attention, struct tensor *out, const struct tensor *q, const struct tensor *k, const struct tensor *v,
        const struct attention_args *args);
CUDA_OP(layer_norm, struct tensor *y, const struct tensor *x, const struct tensor *w, const struct tensor *b, float eps);
CUDA_OP(modulate, struct tensor *y, const struct tensor *x, const struct tensor *shift, const struct tensor *scale,
        float eps);
CUDA_OP(rms_norm, struct tensor *y, const struct tensor *x, const struct tensor *w, float eps);
CUDA_OP(group_norm, struct tensor *y, const struct tensor *x, const struct tensor *w, const struct tensor *b,
        int n_groups, float eps, bool silu);
CUDA_OP(qk_norm_rope, struct tensor *x, const struct tensor *scale, const struct tensor *rope, int n_heads, float eps);
CUDA_OP(gate_add, struct tensor *x, const struct tensor *gate, const struct tensor *y);
CUDA_OP(mul, struct tensor *y, const struct tensor *a, const struct tensor *b);
CUDA_OP(silu, struct tensor *y, const struct tensor *x);
CUDA_OP(axpy, struct tensor *x, float a, const struct tensor *v);
CUDA_OP(copy, struct tensor *y, const struct tensor *x);
CUDA_OP(embed_rows, struct tensor *y, const struct weight *table, const int32_t *ids);
CUDA_OP(conv2d, struct tensor *y, const struct tensor *x, const struct conv_weight *w, const struct tensor *bias,
        const struct tensor *residual, const struct conv_args *args);
CUDA_OP(upsample2x, struct tensor *y, const struct tensor *x);

/* Weights (weight.cu): resident as bf16, or quantised and expanded ahead of use. */
enum err_code cuda_weight_load(struct backend *be, const struct weight *host, struct weight *ret, struct err *err);
void cuda_weight_prefetch(struct backend *be, const struct weight *const *w, int n);
enum err_code cuda_conv_weight_load(struct backend *be, const float *oihw, struct conv_weight *cw, struct err *err);
/* The bf16 values of a weight view on the device, ready on be's stream: `ret` [rows, cols], dense rows. */
enum err_code cuda_weight_bf16(struct backend *be, const struct weight *w, const void **ret, struct err *err);

/* n values of storage type t, expanded to bf16 on the given stream (dequantise.cu). n is a multiple of t's block. */
cudaError_t cuda_dequantise_bf16(enum dtype t, const void *src, void *dst, int64_t n, cudaStream_t stream);

#endif
