/*
 * dnn - what cuDNN computes in the place of our own kernels, where it is there and faster: attention, on Hopper and
 * later. Plans are kept by shape. A shape that cuDNN has no plan for, or only one that wants more than the workspace or
 * does not run, is computed by our kernels, and the words of backend_describe() say so; nothing fails for want of a
 * plan.
 *
 * Making a plan takes the host about half a second: it is compiled for the shape. It happens at the shape's first use.
 */
#ifndef KERNELS_CUDA_DNN_H
#define KERNELS_CUDA_DNN_H

#include "kernels/cuda/cuda.cuh"

/* Opens the library where this card is to use it. Never fails: without it there are our own kernels. */
void cuda_dnn_open(struct cuda *cuda);
void cuda_dnn_close(struct cuda *cuda);

/* For backend_ops. */
void cuda_dnn_use(struct backend *be, enum library_use use);
const char *cuda_dnn_describe(struct backend *be);

size_t cuda_dnn_version(const struct cuda *cuda); /* as 10000 * major + 100 * minor + patch; 0: not in use */

/* Queues it and says so, or leaves it to others. ERR_GPU. */
MUST_CHECK enum err_code cuda_dnn_attention(struct cuda *cuda, struct tensor *out, const struct tensor *q,
                                            const struct tensor *k, const struct tensor *v,
                                            const struct attention_args *args, bool *ret_done, struct err *err);

#endif
