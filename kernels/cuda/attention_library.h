/*
 * dnn - what cuDNN computes in the place of our own kernels, where it is there and faster: attention, on Hopper and
 * later. Plans are kept by shape. A shape that cuDNN has no plan for, or only one that wants more than the workspace or
 * does not run, is computed by our kernels, and the words of backend_describe() say so; nothing fails for want of a
 * plan.
 *
 * Making a plan takes the host about half a second: it is compiled for the shape. It happens at the shape's first use.
 */
#ifndef KERNELS_CUDA_ATTENTION_LIBRARY_H
#define KERNELS_CUDA_ATTENTION_LIBRARY_H

#include "kernels/cuda/cuda.h"

/* Opens the library where this card is to use it. Never fails: without it there are our own kernels. */
void cuda_attention_library_open(struct cuda *cuda);
void cuda_attention_library_close(struct cuda *cuda);

/* For backend_ops. */
void cuda_attention_library_use(struct backend *be, enum library_use use);
const char *cuda_attention_library_describe(struct backend *be);

size_t
cuda_attention_library_version(const struct cuda *cuda); /* as 10000 * major + 100 * minor + patch; 0: not in use */

/* The tensors and numbers of one op_attention(). */
struct attention_call {
    struct tensor *out;
    const struct tensor *q, *k, *v;
    const struct attention_args *args;
};

/* Queues the call and sets *ret_done, or leaves it to our kernels. ERR_GPU. */
MUST_CHECK enum err_code cuda_attention_library_run(struct cuda *cuda, const struct attention_call *c, bool *ret_done,
                                                    struct err *err);

#endif
