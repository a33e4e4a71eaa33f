/*
 * kernels - the launchers of our own CUDA kernels: operations of backend.h on a stream, without a backend. Tensors are
 * device memory, checked by ops.h, with the meaning given in backend.h. Each returns a cudaError_t as int, 0 for
 * success, because this header is also included where there is no toolkit.
 *
 * Where a kernel may run in place, the output is the same tensor as the input.
 */
#ifndef KERNELS_CUDA_GPU_KERNELS_H
#define KERNELS_CUDA_GPU_KERNELS_H

#ifdef __cplusplus
extern "C" {
#endif

#include "kernels/tensor.h"

typedef struct CUstream_st *cudaStream_t; /* as in the toolkit */
struct attention_args;
struct gate_modulate_args;
struct group_norm_args;

int k_layer_norm(struct tensor *y, const struct tensor *x, const struct tensor *w, const struct tensor *b, float eps,
                 cudaStream_t stream);
int k_modulate(struct tensor *y, const struct tensor *x, const struct tensor *shift, const struct tensor *scale,
               float eps, cudaStream_t stream);
int k_rms_norm(struct tensor *y, const struct tensor *x, const struct tensor *w, float eps, cudaStream_t stream);
int k_qk_norm_rope(struct tensor *x, const struct tensor *scale, const struct tensor *rope, int n_heads, float eps,
                   cudaStream_t stream);

int k_gate_add(struct tensor *x, const struct tensor *gate, const struct tensor *y, cudaStream_t stream);
int k_gate_add_modulate(struct tensor *a, struct tensor *x, const struct tensor *y,
                        const struct gate_modulate_args *args, cudaStream_t stream);
int k_mul(struct tensor *y, const struct tensor *a, const struct tensor *b, cudaStream_t stream);
int k_silu(struct tensor *y, const struct tensor *x, cudaStream_t stream);
int k_axpy(struct tensor *x, float a, const struct tensor *v, cudaStream_t stream);
int k_copy(struct tensor *y, const struct tensor *x, cudaStream_t stream);
int k_upsample2x(struct tensor *y, const struct tensor *x, cudaStream_t stream);

/* Device memory for the time of a launch, 16-byte aligned. */
struct k_scratch {
    void *data;
    size_t bytes;
};

/* More scratch, up to k_group_norm_scratch() bytes, keeps more of the card busy. */
size_t k_group_norm_scratch(const struct tensor *x);
int k_group_norm(struct tensor *y, const struct tensor *x, const struct tensor *w, const struct tensor *b,
                 const struct group_norm_args *args, struct k_scratch memory, cudaStream_t stream);

/* n values of storage type t, a multiple of its block, from src of any alignment, each multiplied with `scale` unless
 * it is 0; dst F32 or BF16, dense. */
int k_dequantise(enum dtype t, const void *src, float scale, enum dtype dst_type, void *dst, int64_t n,
                 cudaStream_t stream);
/* ids on the host, read before the return; table->data in the storage type table->dtype, with table->scale. */
int k_embed_rows(struct tensor *y, const struct weight *table, const int32_t *ids, cudaStream_t stream);

/* y = softmax over columns of scale * x; may run in place. */
int k_softmax_rows(struct tensor *y, const struct tensor *x, float scale, cudaStream_t stream);

/*
 * There are two kernels for attention. k_attention_plain takes any shape that ops.h accepts with a head_dim up to
 * K_ATTENTION_MAX_DIM. k_attention_flash runs on tensor cores and takes the calls that k_attention_flash_fits()
 * accepts.
 */
enum { K_ATTENTION_MAX_DIM = 512 };
int k_attention_plain(struct tensor *out, const struct tensor *q, const struct tensor *k, const struct tensor *v,
                      const struct attention_args *args, cudaStream_t stream);
bool k_attention_flash_fits(const struct tensor *out, const struct tensor *q, const struct tensor *k,
                            const struct tensor *v, const struct attention_args *args);
int k_attention_flash(struct tensor *out, const struct tensor *q, const struct tensor *k, const struct tensor *v,
                      const struct attention_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
