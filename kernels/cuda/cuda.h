/*
 * cuda - what the files of the CUDA backend share: the backend's record and its operations. The host's part is C; the
 * kernels are called through the launchers of kernels.h.
 *
 * A backend has one device, one stream for the work and one for weights: their uploads and expansion. Inputs of matrix
 * products are bf16 with f32 accumulation; everything else (residual streams, statistics, softmax, modulation) is f32.
 * Sums use no atomics, and no sum is split in a way that depends on timing: the same input gives the same bytes on the
 * same card.
 * Runs on CUDA 12.2 to 13.x, sm_80 and up.
 */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include <cuda_runtime_api.h>

#include "kernels/backend.h"

struct cuda_products;          /* cuBLASLt and its plans by shape (product.c) */
struct cuda_attention_library; /* cuDNN and its plans, or why it is not used (attention_library.c) */
struct nvml;                   /* clock and power (nvml.c) */
struct cuda_weights;           /* matrices and convolutions on the device (weight.c) */

struct cuda {
    struct backend base;
    int device, sm, n_multiprocessors, l2_bytes; /* sm: 10 * major + minor */
    cudaStream_t stream, expand;                 /* the work; uploads and expansion of weights */
    cudaEvent_t order;                           /* lets one stream wait for the other */
    cudaEvent_t marks[BACKEND_MARKS];            /* the only events that record times */
    void *workspace;                             /* scratch of the operation that runs; 256-byte aligned */
    size_t workspace_bytes;
    struct cuda_products *products;
    struct cuda_attention_library *attention_library;
    struct cuda_weights *weights;
    struct nvml *nvml; /* NULL: not asked for yet, or missing */
    bool nvml_asked;
};

static inline struct cuda *cuda_of(struct backend *be)
{
    return (struct cuda *)be;
}

/* A CUDA status as an error: cudaErrorMemoryAllocation is ERR_NOMEM, all else ERR_GPU. cudaSuccess is ERR_OK. */
enum err_code cuda_status(cudaError_t status, const char *what, struct err *err);
/* Both streams, the events and the marks of the record; closing takes what is open. */
MUST_CHECK enum err_code cuda_streams_open(struct cuda *cuda, struct err *err);
void cuda_streams_close(struct cuda *cuda);
/* Work queued on `later` from now on starts after all that is queued on `first` now. */
enum err_code cuda_order(struct cuda *cuda, cudaStream_t first, cudaStream_t later, struct err *err);

/* The operations of backend.h; the table is in device.c. */
#define CUDA_OP(name, ...) enum err_code cuda_##name(struct backend *be, __VA_ARGS__, struct err *err)
CUDA_OP(linear, struct tensor *y, const struct tensor *x, const struct weight *w, const struct bias *bias,
        enum activation act);
CUDA_OP(attention, struct tensor *out, const struct tensor *q, const struct tensor *k, const struct tensor *v,
        const struct attention_args *args);
CUDA_OP(layer_norm, struct tensor *y, const struct tensor *x, const struct tensor *w, const struct tensor *b,
        float eps);
CUDA_OP(modulate, struct tensor *y, const struct tensor *x, const struct tensor *shift, const struct tensor *scale,
        float eps);
CUDA_OP(rms_norm, struct tensor *y, const struct tensor *x, const struct tensor *w, float eps);
CUDA_OP(group_norm, struct tensor *y, const struct tensor *x, const struct tensor *w, const struct tensor *b,
        const struct group_norm_args *args);
CUDA_OP(qk_norm_rope, struct tensor *x, const struct tensor *scale, const struct tensor *rope, int n_heads, float eps);
CUDA_OP(gate_add, struct tensor *x, const struct tensor *gate, const struct tensor *y);
CUDA_OP(gate_add_modulate, struct tensor *a, struct tensor *x, const struct tensor *y,
        const struct gate_modulate_args *args);
CUDA_OP(mul, struct tensor *y, const struct tensor *a, const struct tensor *b);
CUDA_OP(silu, struct tensor *y, const struct tensor *x);
CUDA_OP(axpy, struct tensor *x, float a, const struct tensor *v);
CUDA_OP(copy, struct tensor *y, const struct tensor *x);
CUDA_OP(embed_rows, struct tensor *y, const struct weight *table, const int32_t *ids);
CUDA_OP(conv2d, struct tensor *y, const struct tensor *x, const struct conv_weight *w, const struct tensor *bias,
        const struct conv_args *args);
CUDA_OP(upsample2x, struct tensor *y, const struct tensor *x);

/* The rest of the table: stream.c, memory.c and card.c. */
CUDA_OP(mem_alloc, size_t bytes, void **ret);
void cuda_mem_free(struct backend *be, void *p);
struct backend_memory cuda_memory(struct backend *be);
CUDA_OP(upload, void *dst, const void *src, size_t bytes);
CUDA_OP(download, void *dst, const void *src, size_t bytes);
enum err_code cuda_sync(struct backend *be, struct err *err);
CUDA_OP(mark, int slot);
CUDA_OP(elapsed, int from, int to, double *ret_ms);
void cuda_card(struct backend *be, struct backend_card *ret);

/* Weights (weight.c): resident as bf16, or as stored and expanded ahead of use. */
enum err_code cuda_weights_open(struct cuda *cuda, struct err *err);
void cuda_weights_close(struct cuda *cuda);
void cuda_weights_expect(struct backend *be, enum weight_mode mode, size_t expanded_bytes);
enum err_code cuda_weight_load(struct backend *be, const struct weight *host, struct weight *ret, struct err *err);
void cuda_weight_unload(struct backend *be, struct weight *w);
void cuda_weight_prefetch(struct backend *be, const struct weight *const *w, int n);
enum err_code cuda_conv_weight_load(struct backend *be, const float *oihw, struct conv_weight *cw, struct err *err);
/* Sets *ret to the bf16 values of a weight view on the device, [rows, cols] dense, ready on be's stream. They may be
 * overwritten after the next call, so the work that reads them must be queued before. */
enum err_code cuda_weight_bf16(struct backend *be, const struct weight *w, const void **ret, struct err *err);
/* The length of a row of a convolution's weights on the device, bf16 [c_out, length]: taps by channels, then zeros. */
int64_t cuda_conv_row(const struct conv_weight *w);

/* n values of storage type t, expanded to bf16 on the given stream (expand.c), multiplied with `scale` before unless it
 * is 0. n is a multiple of t's block. */
cudaError_t cuda_dequantise_bf16(enum dtype t, const void *src, float scale, void *dst, int64_t n, cudaStream_t stream);

#endif
