/*
 * attention_library - attention by cuDNN instead of our own kernels, where the library is installed and faster: on
 * Hopper and later. Plans are kept by shape. Our kernels compute a shape for which cuDNN has no plan, or only one that
 * needs more than the workspace or fails when it runs; backend_describe() reports this, and nothing fails for lack of a
 * plan.
 *
 * Making a plan takes the host about half a second, since a kernel is compiled for the shape. It happens at the first
 * use of the shape.
 */
#ifndef KERNELS_CUDA_ATTENTION_LIBRARY_H
#define KERNELS_CUDA_ATTENTION_LIBRARY_H

#include "kernels/cuda/cuda.h"

/* Opens the library where it is to be used on this card. Never fails: without the library our own kernels compute. */
void cuda_attention_library_open(struct cuda *cuda);
void cuda_attention_library_close(struct cuda *cuda);

/* Entries of backend_ops. */
void cuda_attention_library_use(struct backend *be, enum library_use use);
const char *cuda_attention_library_describe(struct backend *be);

/* 10000 * major + 100 * minor + patch; 0: the library is not in use. */
size_t cuda_attention_library_version(const struct cuda *cuda);

/* The arguments of one op_attention(). */
struct attention_call {
    struct tensor *out;
    const struct tensor *q, *k, *v;
    const struct attention_args *args;
};

/* Queues the call and sets *ret_done, or leaves it to our kernels. ERR_GPU. */
MUST_CHECK enum err_code cuda_attention_library_run(struct cuda *cuda, const struct attention_call *c, bool *ret_done,
                                                    struct err *err);

#endif
