/*
 * cudnn_graph - a cuDNN graph of one operation, and its plan: how it is computed on one card, for one shape.
 *
 * A graph is described by parts, each created, set and finished, the operation last. The first failure is kept and
 * makes later calls do nothing, so only the result of cudnn_plan_make() is to be checked. Engines are skipped whose
 * result depends on timing, or that round inputs or sums further than their types say. cuDNN's heuristics do not
 * measure: the plan is the same in every process on the same card.
 */
#ifndef KERNELS_CUDA_CUDNN_CUDNN_GRAPH_H
#define KERNELS_CUDA_CUDNN_CUDNN_GRAPH_H

#include <stdbool.h>

#include "kernels/cuda/cudnn/cudnn.h"
#include "kernels/tensor.h"

/* The constants have the library's names. They are not in cudnn_abi.h, because cudnn.c includes the library's headers.
 */
enum {
#define X(name, value) CUDNN_##name = value,
    CUDNN_CONSTANTS(X) CUDNN_CONSTANTS_OF_9_8(X) CUDNN_CONSTANTS_OF_9_13(X)
#undef X
};

enum { CUDNN_PARTS_MAX = 32, CUDNN_TENSOR_DIMS = 4 };

/* Zeroed before use, except for `lib`. */
struct cudnn_graph {
    const struct cudnn *lib;
    int status, n_parts;
    const char *failed; /* the step that failed: a constant */
    void *parts[CUDNN_PARTS_MAX], *op;
};

struct cudnn_tensor {
    int64_t uid;      /* identifies the tensor in cudnn_plan_run() */
    enum dtype dtype; /* F32 or BF16 */
    bool by_value;    /* a single value in the host's memory */
    int n_dims;
    int64_t dims[CUDNN_TENSOR_DIMS], strides[CUDNN_TENSOR_DIMS];
};

void *cudnn_part(struct cudnn_graph *g, int type, const char *what); /* `what` names the part in messages: a constant */
void cudnn_set_part(struct cudnn_graph *g, void *part, int attribute, void *value);
void cudnn_finish_op(struct cudnn_graph *g, void *op); /* finishes it and makes it the graph's operation */
void *cudnn_describe(struct cudnn_graph *g, const struct cudnn_tensor *t);

/* --- plans --- */

/* A zeroed plan says that cuDNN refused the graph; cudnn_plan_done() accepts one. */
struct cudnn_plan {
    void *plan; /* NULL: cuDNN has no engine for the graph, or none that may be used */
    int64_t workspace_bytes;
    int n_parts;
    void *parts[CUDNN_PARTS_MAX];
};

/* Ends the graph, whose parts the plan takes over. ERR_UNSUPPORTED with the reason where there is no plan. */
MUST_CHECK enum err_code cudnn_plan_make(struct cudnn_graph *g, size_t workspace_bytes, struct cudnn_plan *ret,
                                         struct err *err);
void cudnn_plan_done(const struct cudnn *lib, struct cudnn_plan *p);

/* Queues the plan. data[i] is the address of the tensor uids[i]; `workspace` has plan->workspace_bytes, 256-byte
 * aligned. ERR_GPU. */
MUST_CHECK enum err_code cudnn_plan_run(const struct cudnn *lib, const struct cudnn_plan *p, int n, const int64_t *uids,
                                        void *const *data, void *workspace, struct err *err);

#endif
